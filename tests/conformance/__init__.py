"""Runs the Gateway API's conformance cases against a running gateway, without a cluster.

``python -m tests.conformance --cases DIRECTORY [NAME …]``: the cases are data (``edgegw.conformance-case/v1``), the
manifests stand beside them.  A gateway runs as a process of its own on a directory of manifests; what a cluster's
controllers would do is done here: pods get addresses of 127.2.0.0/16, Services with a selector get EndpointSlices.
"""
