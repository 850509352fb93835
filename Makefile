# Needs Python 3.10 or later with venv, and make. The first run of a target makes .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo serve test e2e coexistence lint types docs bench clean

help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(BIN)/python:
	@echo "Making $(VENV) with $(PYTHON) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "Installing trisignal with its demo ..."
	@$(PIP) install --editable '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	@echo "Installing trisignal with what its tests need ..."
	@$(PIP) install --editable . --group test
	@touch $@

demo: $(VENV)/.demo  ## Real calls against a loopback provider: span, metrics and log line side by side
	@$(BIN)/trisignal demo

serve: $(VENV)/.demo  ## The demo, with /metrics left up until Ctrl-C
	@$(BIN)/trisignal demo --serve

test: $(VENV)/.test  ## Run the tests
	@$(BIN)/python -m pytest -q -n auto --dist worksteal --durations=20 -m "not e2e and not nightly"

e2e: $(VENV)/.test  ## Real servers: Prometheus, Alertmanager, gunicorn, collectors (needs the Debian packages in .ci/run)
	@$(PIP) install --group e2e
	@$(BIN)/python -m pytest -q --durations=10 -m e2e tests/e2e

coexistence: $(VENV)/.test  ## Frameworks and other instrumentations beside trisignal, each in its own environment
	@$(PIP) install uv
	@$(BIN)/python scripts/environments.py $(VENV)/environments
	@TRISIGNAL_ENVIRONMENTS=$(abspath $(VENV)/environments) $(BIN)/python -m pytest -q tests/coexistence

lint: $(VENV)/.test  ## Check style
	@$(PIP) install ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.test  ## Check types
	@$(BIN)/mypy && $(BIN)/pyright

docs: $(VENV)/.test  ## Build the documentation into site/
	@$(PIP) install --group docs
	@$(BIN)/mkdocs build --strict

bench: $(VENV)/.test  ## Measure overhead
	@$(BIN)/python -m bench

clean:  ## Remove .venv and what builds leave
	@rm -rf $(VENV) site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .nox
