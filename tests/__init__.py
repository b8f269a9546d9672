"""The tests of edgegw; ``make test`` runs them all."""
