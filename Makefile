# The two commands of a newcomer are `make demo` and `make test`; each makes .venv and installs what it needs.

PYTHON ?= python3
ARGS ?=
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test matrix soak lint types bench clean

demo: $(VENV)/.installed
	$(BIN)/eitherway compare --workload io:50ms --engines all --rounds 2

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 4 --dist loadgroup $(ARGS)

# Every framework on every engine, and the table in README.md.
matrix: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python tests/matrix.py $(ARGS)

# The long forms of tests/chaos: `make soak SECONDS=30 ONLY=reload,upgrade`.
SECONDS ?= 600
ONLY ?=

soak: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python tests/chaos/soak.py --seconds '$(SECONDS)' --only '$(ONLY)'

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/run.py

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis dist
