# The commands of the house. Each target makes the environment that it needs.

VENV := .venv
BIN := $(VENV)/bin
# What is installed leaves a stamp: nothing is done again until pyproject.toml changes.
APP := $(VENV)/.ready
TOOLS := $(VENV)/.ready-tools
PEERS := $(VENV)/.ready-bench
PYTHON ?= $(shell tools/find-python.sh)
PYTEST_ARGS ?=
# Much of the suite waits, for brokers and browsers: one process more than cores does not crowd.
# Those tests come first, in the order of their folders (--no-loadscope-reorder): files of few tests
# that take long would end up last, one after another, if files of many tests came before them.
TEST_PROCESSES ?= $(shell expr 1 + $$(nproc 2>/dev/null || echo 2))
MODELS ?= build/models
# The floor stands a little under what the suite reaches, so that it catches what is untested.
COVERAGE_FLOOR ?= 85

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo demo-browser run models test check format contract assets \
    bench bench-accuracy bench-anomalies bench-browser bench-drift bench-exploration bench-little \
    bench-ledger bench-loop bench-pauses bench-strategies clean

help: ## Say what can be made (this list)
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: $(TOOLS) ## Make the environment in .venv

demo: $(APP) ## Run the agent on a shipped sample of real measurements, under two minutes
	$(BIN)/placewise demo

demo-browser: models ## Run real models in real browser tabs under every strategy, and learn
	tools/browser-test-setup.sh
	$(BIN)/python tools/demo_browser.py

run: $(APP) ## Run the agent with its own broker, until Ctrl-C
	$(BIN)/placewise run

models: $(TOOLS) ## Get real models to run, out of packages, into build/models
	$(BIN)/python -m agent.worker.making $(MODELS)

test: check ## Check everything, then run every test with coverage, under ten minutes
	-$(BIN)/python -m agent.worker.making $(MODELS) # without them some tests are skipped, by name
	tools/test-setup.sh
	tools/browser-test-setup.sh
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder \
	    --cov --cov-report=term --cov-fail-under=$(COVERAGE_FLOOR) $(PYTEST_ARGS)

check: $(TOOLS) ## Style, types, imports, contract: everything that needs no test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m schemas.contract --check
	tools/check-page.sh

format: $(TOOLS) ## Put the source into the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

contract: $(TOOLS) ## Write the AsyncAPI document and the JSON Schemas anew
	$(BIN)/python -m schemas.contract

assets: ## Put the parts of the page for browsers in place, from the npm lock file
	tools/browser-assets.sh

bench: $(PEERS) ## Measure speed: requests, learning, prediction
	$(BIN)/python -m tests.benchmarks.speed

bench-accuracy: $(PEERS) ## Measure accuracy against the baseline in the tree
	$(BIN)/python -m tests.benchmarks.accuracy

bench-little: $(PEERS) ## Measure accuracy while little is measured
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.little

bench-strategies: $(PEERS) models ## Measure the choice of strategies: real models, run for real; and pairs
	$(BIN)/python -m tests.benchmarks.strategies

bench-drift: $(PEERS) ## Measure how fast a lasting change is noticed and made up for
	$(BIN)/python -m tests.benchmarks.drift

bench-loop: $(PEERS) models ## Measure the closed loop: real workers and tabs, with exploration and without
	tools/browser-test-setup.sh
	$(BIN)/python -m tests.benchmarks.loop

bench-ledger: $(PEERS) ## Measure the ledger of validations: a million rows asked, and added to
	$(BIN)/python -m tests.benchmarks.ledger

bench-anomalies: $(PEERS) ## Measure whether each kind of trouble gets its right name
	$(BIN)/python -m tests.benchmarks.anomalies

bench-pauses: $(PEERS) ## Measure how long the event loop stands still under load
	$(BIN)/python -m tests.benchmarks.pauses

bench-exploration: $(PEERS) ## Measure what active learning saves: replays of real tables
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.exploration --picture docs/exploration.svg

bench-browser: $(PEERS) models ## Measure browsers, backends and models, and write docs/browsers.md
	tools/browser-test-setup.sh
	$(BIN)/python -m tests.benchmarks.browsers

clean: ## Remove the environment and everything that was made
	rm -rf $(VENV) build dist .coverage .coverage.* htmlcov .pytest_cache .mypy_cache .ruff_cache \
	    .hypothesis .import_linter_cache tools/asyncapi/node_modules \
	    tools/browser/node_modules tools/browser/webnn-chromium web_bridge/browser/vendor
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(APP): pyproject.toml tools/make-venv.sh
	tools/make-venv.sh "$(PYTHON)" $(VENV)
	@touch $@

$(TOOLS): $(APP)
	tools/make-venv.sh "$(PYTHON)" $(VENV) test check
	@touch $@

$(PEERS): $(APP)
	tools/make-venv.sh "$(PYTHON)" $(VENV) test bench
	@touch $@
