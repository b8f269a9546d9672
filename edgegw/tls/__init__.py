"""TLS on the socket: contexts, the transport, the listening port."""
