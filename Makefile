# The two commands of the README are `make demo` and `make test`; each sets itself up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test test-all check fix bench examples setup clean

help:
	@echo "make demo      a generated scene from inputs to figure, in demo/"
	@echo "make test      the default test suite"
	@echo "make test-all  with the slow tests"
	@echo "make check     ruff and mypy"
	@echo "make fix       format, and mend what ruff can"
	@echo "make bench     the shorter benchmarks; benchmarks/RESULTS.md has the commands of all"
	@echo "make examples  run every example"
	@echo "make setup     the virtual environment with everything"
	@echo "make clean     remove what the other words made"

# The demo needs the library alone: the tools for tests and checks are a second step.
$(VENV)/library: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --no-compile --constraint constraints.txt --editable .
	@touch $@

$(VENV)/tools: $(VENV)/library
	$(PIP) install --no-compile --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(VENV)/tools

demo: $(VENV)/library
	$(BIN)/lift-xr demo --out demo --overwrite

test: $(VENV)/tools
	$(BIN)/python -m pytest -m "not slow and not gpu and not network" -n 2 --dist worksteal

test-all: $(VENV)/tools
	$(BIN)/python -m pytest

check: $(VENV)/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(VENV)/tools
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/tools
	$(BIN)/python benchmarks/kernel.py
	$(BIN)/python benchmarks/houston.py --shards 8
	$(BIN)/python benchmarks/lifting.py
	$(BIN)/python benchmarks/scaling.py --shard 640 --edge 4 --keep sample --times 1 4 16
	$(BIN)/python benchmarks/against_published.py
	$(BIN)/python benchmarks/against_published.py --method sin --seeds 1
	$(BIN)/python benchmarks/wald.py sin-paper sin sin+both linear bicubic oracle --quick
	$(BIN)/python benchmarks/ablation.py --quick

examples: $(VENV)/tools
	for example in examples/[0-9]*.py; do $(BIN)/python $$example || exit 1; done

clean:
	rm -rf $(VENV) demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
