"""Upstreams: connections, their pools, and which endpoint is next."""
