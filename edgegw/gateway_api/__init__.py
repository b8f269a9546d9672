"""Kubernetes Gateway API manifests as a configuration.

Objects, as :mod:`edgegw.gateway_api.objects` has them, are compiled to a document of the native language and to the
status of each of them, as a pure function: wherever they come from, files or an API server.
"""
