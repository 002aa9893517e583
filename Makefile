# The two commands of a fresh machine are `make demo` and `make test`; `make help` lists all.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
RUN := pipelines/runs/digits.toml
export RAY_USAGE_STATS_ENABLED := 0
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean

help:  ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: .venv/installed  ## raw files to a registered model, on 1,797 handwritten digits
	$(BIN)/python -m pipelines.runs.digits work/digits/raw
	PATH="$(CURDIR)/$(BIN):$$PATH" perceiver run $(RUN)
	@echo "(perceiver lies in $(BIN); put it on the PATH with: source $(BIN)/activate)"

test: .venv/tested check  ## set up and run all tests
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "ray or data or whole or gpu or slow or s3"

check: .venv/tested  ## style, types, floors between the rooms, and the quick tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/pytest -n 2 -m "not (ray or data or whole or gpu or slow or s3)"

bench: .venv/tested  ## the figures of the README, measured again (hours)
	$(BIN)/python -m benchmarks.answers
	$(BIN)/python -m benchmarks.model
	$(BIN)/python -m benchmarks.sharding
	$(BIN)/python -m benchmarks.planning
	$(BIN)/python -m benchmarks.reading
	$(BIN)/python -m benchmarks.order
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.pictures
	$(BIN)/python -m benchmarks.predicting
	$(BIN)/python -m benchmarks.real_data --seeds 3

clean:  ## forget what the demo made; the virtual environment stays
	rm -rf work build

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

# The S3 server of the tests has an environment of its own: it is no part of the product.
.venv/s3/installed: .venv/bin/python constraints.txt
	$(BIN)/python -m venv .venv/s3
	.venv/s3/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt swift
	touch $@

.venv/tested: .venv/bin/python .venv/s3/installed pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch .venv/installed $@
