"""A request's way from a client to an upstream and back."""
