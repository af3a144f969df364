# The commands of the house. Each target makes the environment that it needs.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
BENCH_STAMP := $(VENV)/.ready-bench
PYTHON ?= $(shell tools/find-python.sh)
PYTEST_ARGS ?=
# The floor stands a little under what the suite reaches, so that it catches what is untested.
COVERAGE_FLOOR ?= 85

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo run test check format contract bench bench-accuracy clean

help: ## Say what can be made (this list)
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: $(STAMP) ## Make the environment in .venv

demo: $(STAMP) ## Run the agent on a shipped sample of real measurements, under two minutes
	$(BIN)/placewise demo

run: $(STAMP) ## Run the agent with its own broker, until Ctrl-C
	$(BIN)/placewise run

test: $(STAMP) ## Run every test with coverage, under ten minutes
	tools/test-setup.sh
	$(BIN)/python -m pytest --cov --cov-report=term --cov-fail-under=$(COVERAGE_FLOOR) $(PYTEST_ARGS)

check: $(STAMP) ## Style, types, imports, contract: everything that needs no test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m schemas.contract --check

format: $(STAMP) ## Put the source into the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

contract: $(STAMP) ## Write the AsyncAPI document and the JSON Schemas anew
	$(BIN)/python -m schemas.contract

bench: $(BENCH_STAMP) ## Measure speed: requests, learning, prediction
	$(BIN)/python -m tests.benchmarks.speed

bench-accuracy: $(BENCH_STAMP) ## Measure accuracy against the baseline in the tree
	$(BIN)/python -m tests.benchmarks.accuracy

clean: ## Remove the environment and everything that was made
	rm -rf $(VENV) build dist .coverage .coverage.* htmlcov .pytest_cache .mypy_cache .ruff_cache \
	    .hypothesis .import_linter_cache tools/asyncapi/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml tools/make-venv.sh
	tools/make-venv.sh "$(PYTHON)" $(VENV) test check
	@touch $@

$(BENCH_STAMP): $(STAMP)
	tools/make-venv.sh "$(PYTHON)" $(VENV) bench
	@touch $@
