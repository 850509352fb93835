# Needs Python 3.10 or later with venv, and make. The first run of a target makes .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# uv finds versions that fit in seconds; pip needs minutes for some clients.
INSTALL = { $(BIN)/uv pip install --quiet --python $(BIN)/python $(1) || $(PIP) install $(1); }

# Hundreds of processes import the same packages: each compiles them anew where the environment forbids to keep that.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/$(VENV)/pycache

# What runs the tests: with MEASURE=1 their coverage is recorded.
RUN = $(if $(MEASURE),coverage run -m,python -m)

.PHONY: help demo serve console test test-all e2e coexistence backends frameworks coverage measure coverage-report compile lint types docs pictures bench clean

help:  ## Show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

$(BIN)/python:
	@echo "Making $(VENV) with $(PYTHON) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip uv

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "Installing trisignal with its demo ..."
	@$(call INSTALL,--editable '.[demo]')
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	@echo "Installing trisignal with what its tests need ..."
	@$(call INSTALL,--editable . --group test)
	@# arq asks for an older redis than Celery does, and works with the newer one.
	@$(call INSTALL,--no-deps arq)
	@touch $@

demo: $(VENV)/.demo  ## Real calls against a loopback provider: span, metrics and log line side by side
	@$(BIN)/trisignal demo

serve: $(VENV)/.demo  ## The demo, with /metrics left up until Ctrl-C
	@$(BIN)/trisignal demo --serve

console: $(VENV)/.demo  ## The demo, then what it left in the console, until Ctrl-C
	@$(BIN)/trisignal demo --console

test: $(VENV)/.test  ## Run the tests that take no long time; says at the end what it left out
	@# Plugins for load tests and fuzzing take seconds to load, and those tests are left out. Half of the time tests wait
	@# for a server or a process: two workers more than there are processors keep these busy.
	@$(BIN)/python -m pytest -q -n $$($(BIN)/python -c "import os; print((os.cpu_count() or 1) + 2)") --dist worksteal -p no:locust -p no:schemathesis --fast

test-all: $(VENV)/.test  ## Run every test that needs neither other environments nor servers
	@$(BIN)/$(RUN) pytest -q -n auto --dist worksteal --durations=20 -m "not e2e and not nightly"

e2e: $(VENV)/.test  ## Real servers: Prometheus, Alertmanager, gunicorn, collectors (needs the Debian packages in .ci/run)
	@$(call INSTALL,--group e2e)
	@$(BIN)/$(RUN) pytest -q --durations=10 -m e2e tests/e2e tests/queues

coexistence: $(VENV)/.test  ## Frameworks and other instrumentations beside trisignal, each in its own environment
	@$(BIN)/python scripts/environments.py $(VENV)/environments
	@TRISIGNAL_ENVIRONMENTS=$(abspath $(VENV)/environments) $(BIN)/python -m pytest -q tests/coexistence

backends: $(VENV)/.test  ## The analyser's contract on ClickHouse and the rest, and the tests of packages that stay out of .venv
	@$(BIN)/python scripts/environments.py $(VENV)/backends chdb optional
	@TRISIGNAL_BACKENDS=$(abspath $(VENV)/backends) $(BIN)/python -m pytest -q -n 2 --dist loadgroup -m nightly tests/analysis tests/coexistence/test_optional.py

frameworks: $(VENV)/.test  ## Agent frameworks on a model server of this machine, each in its own environment
	@$(BIN)/python scripts/frameworks.py $(VENV)/frameworks --check

coverage: $(VENV)/.test  ## Lines and branches of src that the tests run, everything but coexistence; fails below what pyproject.toml asks for
	@$(MAKE) measure coverage-report

measure: $(VENV)/.test  ## Run them, and record which lines and branches they run
	@$(BIN)/coverage erase
	@$(MAKE) test-all e2e MEASURE=1

coverage-report: $(VENV)/.test  ## What was recorded last
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

compile: $(BIN)/python  ## Compile everything with the oldest Python that is supported, where it is at hand
	@$(BIN)/python scripts/interpreters.py compile

lint: $(VENV)/.test  ## Check style
	@$(call INSTALL,--group lint)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.test  ## Check types
	@$(BIN)/mypy && $(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/.test  ## Build the documentation into site/
	@$(call INSTALL,--group docs)
	@$(BIN)/mkdocs build --strict

pictures: $(VENV)/.test  ## Draw the pictures of README and docs again (needs Debian's prometheus and chromium; eight minutes)
	@$(call INSTALL,--group docs)
	@$(BIN)/trisignal demo --svg docs/images/demo.svg
	@$(BIN)/python scripts/render_dashboards.py docs/images
	@PYTHONPATH=src:tests $(BIN)/python scripts/console_pictures.py docs/images

bench: $(VENV)/.test  ## Measure overhead
	@$(BIN)/python -m bench

clean:  ## Remove .venv and what builds leave
	@rm -rf $(VENV) site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .nox
