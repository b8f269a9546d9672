"""From plain functions and classes to plugin kinds: the decorators behind :mod:`edgegw.api`."""
