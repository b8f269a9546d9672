"""Backends that run applications of others: a twisted.web resource, a WSGI application."""
from edgegw.applications.channel import connection_info

__all__ = ["connection_info"]
