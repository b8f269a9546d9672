"""Configuration: text → :mod:`edgegw.model`, with every fault and its place in the file.

The native YAML is read by :func:`load`.  A dialect of its own kind brings its own translation and
shares the reader, the shapes, the certificates and the words for faults.
"""
from edgegw.config.description import describe
from edgegw.config.faults import ConfigError, Fault, Severity
from edgegw.config.native import Loaded, load, schema, schema_text

__all__ = ["ConfigError", "Fault", "Loaded", "Severity", "describe", "load", "schema", "schema_text"]
