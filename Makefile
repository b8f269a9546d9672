# make run    a virtual environment in .venv, the gateway in it, and a demonstration to try with curl
# make test   all tests
# make lint   ruff and mypy
# make conformance  the Gateway API's conformance cases alone
# make bench  the gateway beside nginx, HAProxy and Envoy (benchmarks/README.rst says what it needs)
# make docs   the documentation as HTML in docs/_build
# make clean  remove everything that the others made
#
# PYTHON=python3.12 chooses the interpreter of a new .venv; TESTS=tests.test_packaging some of the tests;
# BENCH='--only new,keep --rounds 1' options of the comparison; CASES=DIR the folder of the conformance cases.

PYTHON ?= python3
TESTS ?= tests
BENCH ?=
CASES ?= ../shared/conformance
VENV := .venv
BIN := $(VENV)/bin

# Whoever starts the gateway a hundred times, as the tests do, wants it compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test conformance lint bench docs clean
.DELETE_ON_ERROR:

run: $(VENV)/.installed
	@$(BIN)/edgegw demo

test: $(VENV)/.installed-test
	$(BIN)/python -m twisted.trial -j4 $(TESTS)

conformance: $(VENV)/.installed-test
	$(BIN)/python -m tests.conformance --cases $(CASES)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy edgegw twisted/plugins

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/compare.py --target edgegw='$(CURDIR)/benchmarks/edgegw-target {dir} {port}' \
	  --only new,new-rsa,new-12,resume,keep,plain,down,up,pass,pass-down,h2,idle $(BENCH)

docs: $(VENV)/.installed-docs
	$(BIN)/sphinx-build -n -W --keep-going -q -b html docs docs/_build

clean:
	rm -rf $(VENV) build dist *.egg-info docs/_build _trial_temp* .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache

# One stamp for each thing that was installed, so that it happens once and again when a dependency changed.

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@
