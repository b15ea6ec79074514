# Every target does its own set-up on a fresh machine (Python 3.11+, make) and is instant the second time.
#
#   make demo      the whole story on a real language model           make lint    ruff, ruff format, mypy
#   make test      the default suite (every change runs it)           make bench   tables under benchmarks/results/
#   make test-all  also the slow tests                                make docs    the site with the API reference, in site/
#   make generate  tables of the documents, JSON Schemas              make clean   remove what make made here

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test test-all bench lint docs generate picture clean browser

# Packages and the browser are fetched side by side.
MAKEFLAGS += --jobs=2

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
WORKERS ?= 2
PYTEST_ARGS ?=

# One arithmetic thread per process: two pytest workers on two cores, and no library that spins for a third. Bytecode is
# kept even where the machine forbids it: the tests start hundreds of processes, and each would compile the package again.
# Tests write thousands of small files, and each waits for a disk to have it: they are written to memory where 8 GB of it are free.
SHM := $(shell [ -w /dev/shm ] && [ "$$(df --output=avail --block-size=G /dev/shm | tail -1 | tr -dc 0-9)" -ge 8 ] && echo TMPDIR=/dev/shm)
TEST_ENV := $(SHM) PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
# A file stays on one worker, and so do the models that its tests share; tests/conftest.py puts the dearest files first.
PYTEST := $(TEST_ENV) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)
# In CI the test of the rendered report runs whatever happens: it fails where there is no browser.
NO_BROWSER = $(if $(CI)$(shell command -v chromium chromium-browser google-chrome 2>/dev/null),,not browser)

help:
	@sed -n 's/^#   //p' Makefile

demo: $(READY)
	$(BIN)/mergebarrier demo -o demo

test: $(READY) browser
	$(PYTEST) -m "not slow $(if $(NO_BROWSER),and $(NO_BROWSER))"

# Fails below the share of branches that pyproject.toml asks for.
test-all: $(READY) browser
	$(PYTEST) -m "$(NO_BROWSER)" --cov --cov-report=term:skip-covered

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/run.py

# A link that leads nowhere stops it.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# What is derived from declarations; tests say when it is stale.
generate: $(READY)
	for program in docs/_generate_*.py; do $(BIN)/python $$program || exit 1; done

# The picture of the README, from the report that `make demo` wrote.
REPORT ?= demo/report/report.html
picture: browser
	$$(command -v chromium chromium-browser google-chrome | head -1) --headless --no-sandbox --disable-gpu \
	  --hide-scrollbars --window-size=1100,1400 --screenshot=docs/report.png "file://$$(realpath $(REPORT))" 2>/dev/null

# torch comes as the CPU build where PyTorch's own index answers, else as whatever pip's configuration offers.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed")'
	@echo "setting up $(VENV): about a gigabyte and two minutes, once"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $$($(PYTHON) .ci/torch_index.py) -c constraints.txt -e '.[eval,report,scan,zoo,test,docs]'
	@touch $@

# The report is rendered once by a real browser.
browser:
	@if command -v chromium chromium-browser google-chrome >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium; } \
	  >/dev/null 2>&1 || echo "note: chromium could not be installed; the tests marked 'browser' are left out"; \
	else echo "note: no chromium here and not root; the tests marked 'browser' are left out"; fi

clean:
	rm -rf $(VENV) demo site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
