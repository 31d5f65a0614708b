# `make run` and `make test` are all that a new clone needs: each sets up .venv first.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: env run test lint

env: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

run: env
	$(BIN)/kdzoo run method=mbde backbone=resnet110

# Two files of tests at a time, each process on one thread.
test: env
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
