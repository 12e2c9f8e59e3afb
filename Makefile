# `make demo` and `make test` do all the set-up themselves, in .venv.
PYTHON ?= python3
BIN := .venv/bin
TESTS := $(BIN)/pytest -q -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo test check bench

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile

install: .venv/.installed  ## the package and its test tools, in .venv

demo: install  ## two frames in, three futures of 893 frames out: demo/report.html
	$(BIN)/unspool demo --out demo

test: install  ## all tests
	$(TESTS)

check: install  ## lint, types, tests (the layer test is one of them): what CI runs
	$(BIN)/ruff check
	$(BIN)/mypy src
	$(TESTS)

bench: install  ## cost, speed and worlds, one after the other: run it on an idle machine
	@status=0; for what in "constant.py duel-64" "constant.py chunk-by-chunk" "speed.py duel-64" "speed.py chunk-by-chunk" worlds.py; \
	  do echo "== $$what"; $(BIN)/python bench/$$what || status=1; done; exit $$status

# constraints.txt pins torch by exact version: unpinned, pip may prefer a build that is gigabytes larger.
.venv/.installed: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt -e '.[test]'
	@touch $@

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "unspool needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv .venv 2>/dev/null || $(PYTHON) -m virtualenv --quiet .venv 2>/dev/null || { rm -rf .venv; \
	  echo "$(PYTHON) cannot make a virtual environment; install its venv package (Debian: apt install python3-venv)" >&2; \
	  exit 2; }
