# The commands that people, hooks and CI share. `make help` lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
# Written last, so that an interrupted installation is taken up again.
STAMP := $(VENV)/.installed

.PHONY: help demo test test-postgres check format docs bench clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml tools/python.sh
	@python="$$(PYTHON='$(PYTHON)' tools/python.sh)" || exit 1; \
	echo "setting up $(VENV) with $$python"; \
	"$$python" -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## Run the whole path on a few hundred colour images
	@$(BIN)/gramserve demo

test: $(STAMP) ## Run all tests
	@command -v $(CXX) >/dev/null || { echo "make test runs the sources of CUDA kernels on the CPU and needs a C++ compiler, but $(CXX) is not there: install one (apt-get install g++) or name one (make test CXX=/path/to/g++)" >&2; exit 1; }
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-postgres: $(STAMP) ## Run the tests of the catalog and of several servers on PostgreSQL
	PYTHON=$(BIN)/python tools/with_postgres.sh $(BIN)/python -m pytest tests/unit/catalog \
		tests/unit/service/test_two_dispatchers.py tests/faults/test_two_servers.py

check: $(STAMP) ## Format, lint, types, import contracts, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	bash -n .ci/run
	sh -n tools/python.sh
	sh -n tools/with_postgres.sh
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(STAMP) ## Format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## Serve the documentation on this machine
	$(BIN)/mkdocs serve

# peers.py needs an environment of its own, cifar_ridge.py images, and cuda.py a card, without which it
# says so; docs/benchmarks.md says how to run them. Without a safe path, cuda.py would hide the package
# that is called cuda from all of them.
bench: $(STAMP) ## Run all benchmarks (several minutes; see docs/benchmarks.md)
	@for script in $(filter-out %/peers.py %/cifar_ridge.py %/cuda.py,$(wildcard tests/benchmarks/*.py)); do echo "== $$script"; PYTHONSAFEPATH=1 PYTHONPATH=tests $(BIN)/python $$script || exit 1; done
	@echo "== tests/benchmarks/cuda.py"; PYTHONPATH=tests $(BIN)/python tests/benchmarks/cuda.py --if-card

clean: ## Remove the environment and everything that was made
	rm -rf $(VENV) site dist demo-output cuda-benchmark .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find gramserve tests -name __pycache__ -prune -exec rm -rf {} +
