# Everything needs only python3 (3.11 to 3.13), pip and a package registry. `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
HOME_DIR ?= .visual-search
# A file's tests stay together, since they share what their fixtures made. In order of name, not of size: the whole runs, few
# but long, would otherwise come last and leave one core idle.
PARALLEL ?= -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install demo test test-long check format lock golden images check-pythons clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 14

install: $(VENV)/.installed  ## make the virtual environment from the hashed lock

# The lock is complete, so pip resolves nothing (--no-deps) and every file is checked by its hash.
$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "visual-search needs Python 3.11 to 3.13; say for example make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

# pyspark and the benchmarks' partners; only where there is Java is pyspark of use.
$(VENV)/.optional: benchmarks/requirements.lock $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r benchmarks/requirements.lock
	touch $@

demo: install  ## render a catalogue, train on it, register a release, show the report
	$(BIN)/visual-search demo --home $(HOME_DIR)

test: install  ## all checks and the whole test suite
	@if command -v java > /dev/null && $(BIN)/python -c 'import setuptools'; then \
	  $(MAKE) --no-print-directory $(VENV)/.optional || echo "no pyspark: the tests that need it will say that they are skipped"; fi
	$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -m "not long" $(PARALLEL)

test-long: install  ## the long forms of the tests as well
	$(BIN)/python -m pytest $(PARALLEL)

check: install  ## style, types, import rules and the English of texts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/prose.py

format: install  ## let ruff format the code and fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: install  ## rewrite the golden files of pipelines and manifests (check the difference before you commit it)
	REGENERATE=1 $(BIN)/python -m pytest tests/pipelines/graphs/test_golden.py tests/manifests/test_golden.py

# The base may be any image with Python 3.11; CERTIFICATES: a company's own certificate authority, if there is one.
# DOCKER: the first client on the PATH that has BuildKit: its own (before version 23) or by the plugin buildx.
COMMA := ,
BASE ?= python:3.11-slim-bookworm
CERTIFICATES ?=
DOCKER ?= $(shell IFS=:; for each in $$PATH; do test -x "$$each/docker" || continue; \
  version=$$("$$each/docker" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/'); \
  if "$$each/docker" buildx version > /dev/null 2>&1 || test "$$version" -lt 23; then echo "$$each/docker"; break; fi; done)
images:  ## build the four container images (BASE=… chooses another base, DOCKER=… a client) and print their sizes
	@test -n "$(DOCKER)" || { echo "make images: no docker client with BuildKit is on the PATH; install docker.io and docker-buildx (Debian) or docker-buildx-plugin, or name a client: make images DOCKER=/usr/bin/docker" >&2; exit 1; }
	@$(DOCKER) version > /dev/null 2>&1 || { echo "make images: $(DOCKER) reaches no Docker Engine; start it, or set DOCKER_HOST" >&2; exit 1; }
	@set -e; for each in encoder:serving/encoder transformer:serving/transformer pipeline-python:pipelines monitoring-python:monitoring; do \
	  DOCKER_BUILDKIT=1 $(DOCKER) build --network host --build-arg BASE=$(BASE) $(if $(CERTIFICATES),--secret id=certificates$(COMMA)src=$(CERTIFICATES)) \
	    --file $${each#*:}/Dockerfile --tag visual-search-$${each%%:*} . ; done
	@$(DOCKER) images --format '{{.Repository}}: {{.Size}}' | grep '^visual-search-'

# Only for maintainers, with uv: no download addresses stand in the lock.
UV_COMPILE := uv pip compile pyproject.toml --generate-hashes --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header --quiet
lock:  ## resolve the dependencies again (needs uv)
	$(UV_COMPILE) --extra pipelines --extra training --extra serving --extra monitoring --extra dev -o requirements.lock
	$(UV_COMPILE) --extra spark --extra benchmarks -c requirements.lock -o benchmarks/requirements.lock
	$(UV_COMPILE) --extra encoder -c requirements.lock -o serving/encoder/requirements.lock
	$(UV_COMPILE) --extra transformer -c requirements.lock -o serving/transformer/requirements.lock
	$(UV_COMPILE) --extra pipelines --extra training --extra monitoring -c requirements.lock -o pipelines/requirements.lock
	$(UV_COMPILE) --extra monitoring -c requirements.lock -o monitoring/requirements.lock

check-pythons:  ## resolve the lock for every Python that is supported (needs uv)
	@for version in 3.11 3.12 3.13; do \
	  uv pip compile requirements.lock --no-deps --python-version $$version --no-header --quiet > /dev/null && \
	  echo "the lock resolves for Python $$version" || exit 1; done

clean:  ## remove the environment and all work on this machine
	rm -rf $(VENV) $(HOME_DIR)
