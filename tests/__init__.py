"""The tests of edgegw; ``make test`` runs them all."""
from hypothesis import HealthCheck, settings

# How long a machine takes says nothing about the code.
settings.register_profile("edgegw", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edgegw")
