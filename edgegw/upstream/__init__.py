"""Upstreams: their endpoints, whether those work, the connections to them, and which one is next."""
