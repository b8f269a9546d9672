"""Bytes to events and back: pure, without sockets."""
