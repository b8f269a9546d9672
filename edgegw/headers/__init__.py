"""Request and response headers: who is calling, which way a request came, what never passes on."""
