# SPDX-License-Identifier: BSD-3-Clause
# Every task of the project. Each target works as the first command in a fresh clone: it makes .venv, installs what it
# needs and builds the extensions, and does none of that again until something changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SOURCES := setup.py $(shell find gearfast -name '*.pyx' -o -name '*.pxd' -o -name '*.h')
# Half as many more test processes than processors: the tests wait as much as they compute.
JOBS ?= $(shell echo $$(( ($$(getconf _NPROCESSORS_ONLN) * 3 + 1) / 2 )))
PYTEST := $(BIN)/pytest
XDIST := -n $(JOBS) --dist=worksteal
SECONDS ?= 60
SEED ?= 1
ARGS ?=

.PHONY: help demo test test-here test-others lint format types build debug model sanitize coverage fuzz chaos kills fleet bench wheels docs clean

help:  ## this list
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- environments -----------------------------------------------------------------------------------------------------

.venv/.base: pyproject.toml
	[[ -x $(BIN)/python ]] || "$$(.ci/pythons --default)" -m venv .venv
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --group build
	touch $@

.venv/.package: .venv/.base
	GEARFAST_ONLY=none $(PIP) install --no-build-isolation --no-deps --editable .  # it would compile elsewhere, and again
	touch $@

.venv/.built: .venv/.package $(SOURCES)
	$(BIN)/python setup.py --quiet build_ext --inplace
	touch $@

.venv/.%: .venv/.base
	$(PIP) install --group $*
	touch $@

.venv/.extra-%: .venv/.base
	$(PIP) install $$($(BIN)/python -c 'import tomllib; \
	    print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["$*"])')
	touch $@

build: .venv/.built  ## build the extensions in place

# --- what people run --------------------------------------------------------------------------------------------------

demo: .venv/.built .venv/.extra-demo  ## photos resized and mailed while a worker and two job servers are killed
	$(BIN)/gearfast demo $(ARGS)

test: test-here test-others  ## the tests, on each supported CPython of this machine

test-here: .venv/.built .venv/.test .venv/.peers .venv/.queues
	$(PYTEST) $(XDIST) --junitxml=build/results/here.xml tests $(ARGS)

test-others: .venv/.built
	.ci/test-others $(XDIST) $(ARGS)

lint: .venv/.built .venv/.lint .venv/.test  ## linters, formatters, types, workflows and the rules of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples --exclude examples/project
	MYPYPATH=examples/project $(BIN)/mypy --explicit-package-bases examples/project
	$(BIN)/pyright --pythonpath $(BIN)/python examples
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/cython-lint gearfast
	$(BIN)/zizmor --offline --quiet .github/workflows
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/{bug,feature}.yml
	$(PYTEST) -q tests/unit/test_layers.py tests/unit/test_source_rules.py

format: .venv/.lint  ## format the Python sources
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: .venv/.built .venv/.test .venv/.peers .venv/.queues .venv/.extra-bench  ## in memory, this server against others, the library against bare sockets
	$(PYTEST) --benchmark-only -p no:xdist --override-ini=timeout=0 benchmarks
	$(BIN)/gearfast bench $(ARGS)
	$(if $(ARGS),,$(BIN)/gearfast bench --rows 'library-*')

wheels: .venv/.wheels .venv/.test  ## sdist and wheel, checked and installed into an empty environment
	.ci/wheels

docs: .venv/.built .venv/.docs  ## the documentation as a site in build/docs; each warning is an error
	$(BIN)/sphinx-build --quiet --jobs auto --fail-on-warning --keep-going docs build/docs
	@echo "built: build/docs/index.html"

# --- harder looks -----------------------------------------------------------------------------------------------------

debug: .venv/.base .venv/.test  ## the model on a build with C asserts, its records looked at after each call
	.ci/debug $(ARGS)

model: .venv/.built .venv/.test  ## the dispatcher against a model of it, on from where the log ends (--minutes M)
	$(BIN)/python -m tests.model --log tests/model/LOG.md $(ARGS)

sanitize: .venv/.package .venv/.test .venv/.peers  ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer (ARGS=--smoke: some)
	.ci/sanitize $(ARGS)

coverage: .venv/.built .venv/.test  ## line and branch coverage of the Python sources
	$(PIP) install 'coverage>=7.10'
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

fuzz: .venv/.built .venv/.test  ## every fuzz target for SECONDS (default 60)
	tests/fuzz/run.sh $(SECONDS)

chaos: SECONDS = 300
chaos: .venv/.built .venv/.test  ## clients, workers and connections broken at random (SEED) for SECONDS (default 300)
	$(BIN)/python -m tests.chaos --seconds $(SECONDS) --seed $(SEED) --record tests/chaos/LOG.md $(ARGS)

kills: .venv/.built .venv/.test  ## job servers with a store killed until each store had 300 (ARGS=--kills N); goes on from its log
	$(BIN)/python -m tests.chaos.lane $(ARGS)

fleet: SECONDS = 300
fleet: .venv/.built .venv/.test  ## servers that share a database, partitioned at random, until the log has SECONDS (default 300)
	$(BIN)/python -m tests.fleet --seconds $(SECONDS) $(ARGS)

clean:  ## remove builds and environments
	rm -rf build dist .venv .venv-* *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find gearfast tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
	find gearfast -name '*.so' -delete
