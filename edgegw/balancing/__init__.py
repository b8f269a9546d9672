"""Which endpoint gets a request: policies, priorities and sessions, without sockets and clocks."""
