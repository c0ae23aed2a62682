# Every target sets up what it needs in .venv; all it takes is a Python 3.11 or newer.
PYTHON ?= python3
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-6s %s\n", $$1, $$2}' Makefile

demo: $(READY) ## solve a stag hunt and write the equilibrium and its certificate to demo/
	$(BIN)/vsg solve stag_hunt --out demo

test: $(READY) ## run the tests (options for pytest: PYTEST_ARGS="-k packaging")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

lint: $(READY) ## check style (ruff), layout (ruff format) and types (mypy, strict)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY) ## run the measured comparisons of tests/benchmarks
	$(BIN)/python -m tests.benchmarks

clean: ## remove .venv, caches and what the demo wrote
	rm -rf $(VENV) demo build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache

# The stamp is written last, so an interrupted set-up is done again. Torch goes first: the
# constraint then picks one build of it, and what depends on it finds it there.
$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || \
	  { echo "$(PYTHON) is not found: install Python 3.11 or newer, or name one, as in 'make PYTHON=python3.12 test'"; exit 1; } >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "vsg_ppl needs a working Python 3.11 or newer, which $(PYTHON) is not: name another, as in 'make PYTHON=python3.12 test'"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "$(PYTHON) cannot create environments (no ensurepip): install it (on Debian and Ubuntu: apt install python3-venv)"; exit 1; } >&2
	@echo "Setting up $(VENV) (some minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@$(PIP) -e '.[dev]'
	@touch $@
