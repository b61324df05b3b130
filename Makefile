# `make` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test test-all check format golden generate bench build lock deps deps-all clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

run: $(VENV)/run ## set up and serve this host's metrics on :19100 (ARGS="--flag ...")
	$(BIN)/netperf-exporter $(ARGS)

test: deps $(VENV)/dev ## set up and run the checks and all tests (ARGS="-k name" for some)
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -m "not guest" $(ARGS)

test-all: deps-all $(VENV)/dev ## the same, and what boots other kernels in a virtual machine
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/dev ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev ## put the code in its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: $(VENV)/dev ## rewrite the expected outputs of the captured hosts: read the diff
	$(BIN)/python -m pytest tests/hosts --update-golden -q

generate: $(VENV)/dev ## rewrite what is made from the code: docs/METRICS.md
	$(BIN)/python -m netperf_exporter.generate

bench: deps-all $(VENV)/dev ## measure against prometheus_client and node_exporter
	$(BIN)/python -m tests.bench.bench $(ARGS)

build: $(VENV)/dev ## sdist and wheel in dist/
	$(BIN)/python -m build

lock: $(VENV)/dev ## pin what is installed, with hashes, for users and for development
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 -o requirements.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --group dev -o requirements-dev.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --extra systemd --no-deps -o requirements-systemd.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --group build --constraint requirements-dev.txt -o requirements-build.txt

deps: ## as root: Debian packages that the tests use; otherwise say which are missing
	@./tests/debian-packages.sh test

deps-all: ## the same with those that benchmarks and virtual machines use
	@./tests/debian-packages.sh test bench guest

clean: ## remove what the targets above made
	rm -rf $(VENV) .cache dist build .hypothesis .mypy_cache .pytest_cache .ruff_cache

# What `make run` needs, and what development needs: pinned and checked by hash.
$(VENV)/run: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/dev: requirements-dev.txt requirements-systemd.txt $(VENV)/run
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@if pkg-config --exists libsystemd 2>/dev/null; then \
		$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-systemd.txt; \
	else echo "libsystemd-dev or pkg-config is missing: tests of systemd-python will be skipped"; fi
	@touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) must be Python 3.11 or newer with venv (Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
