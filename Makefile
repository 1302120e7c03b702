PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
PIP := $(VENV)/bin/python -m pip --no-input --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast lint clean clean-venv

help:  ## list these targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'

install: $(STAMP)  ## make .venv and install detzoo into it, editable, with the tested versions

# The stamp comes last, so an install that was interrupted starts again.
$(STAMP): setup.py constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: name a Python 3.10 or newer, for example make PYTHON=python3.11 install" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "detzoo needs Python 3.10 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1): name another, for example make PYTHON=python3.11 install" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt -e ".[dev]"
	@touch $@

demo: $(STAMP)  ## train a small detector on synthetic pictures, evaluate it, write pictures (minutes on a CPU)
	@echo "Training a small detector on synthetic pictures with one process; the last lines say where its pictures lie."
	$(VENV)/bin/torchrun --standalone --nproc-per-node=1 references/train.py experiment=demo

test: $(STAMP)  ## the whole test suite
	$(VENV)/bin/python -m pytest

test-fast: $(STAMP)  ## the tests that take seconds
	$(VENV)/bin/python -m pytest -m "not slow"

lint: $(STAMP)  ## ruff: rules and layout
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean: clean-venv  ## remove the environment, build outputs and caches (run folders and data stay)
	rm -rf build dist detzoo.egg-info .pytest_cache .ruff_cache
	find $(wildcard detzoo references tests) -type d -name __pycache__ -prune -exec rm -rf {} +

clean-venv:  ## remove the environment only
	rm -rf $(VENV)
