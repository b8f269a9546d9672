"""Makes ``edgegw:`` exist in strings of server endpoints, nothing else."""
from edgegw.endpoint_parser import EndpointParser

edgegw_endpoint = EndpointParser()
