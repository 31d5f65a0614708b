# `make run` and `make test` are all that a new clone needs: each sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: env run test lint docs audit

env: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

run: env
	$(BIN)/kdzoo run method=mbde backbone=resnet110

# Three files of tests at a time, each process on one thread: some wait for processes of their own.
test: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site in site/; a broken link or a name that is not there is an error.
docs: env
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Known vulnerabilities of what is installed; needs a network.
audit: env
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip-audit
	$(BIN)/pip-audit --local --skip-editable --progress-spinner off
