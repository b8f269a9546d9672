"""The tests of edgegw; ``make test`` runs them all."""
import os

from hypothesis import HealthCheck, settings

# How long a machine takes says nothing about the code.  Examples are others in each run.
settings.register_profile("edgegw", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)
settings.load_profile("edgegw")

# grpcio, which looks when it is imported, tells the standard error of every handshake that fails as it is to.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
