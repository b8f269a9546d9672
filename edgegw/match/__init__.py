"""Which listener and which route: pure tables."""
