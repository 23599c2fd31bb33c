# Both main targets do all of their set-up: a virtual environment in .venv, the install, the run.
#   make demo    the synthetic study, from rendering to report, in demo-study/
#   make test    what .ci/run runs: style, types, layers, the whole test suite, the wheel
PYTHON ?= python3
VENV ?= .venv
STUDY ?= demo-study
WORKERS ?= 2
SLOW_MINUTES ?= 10
TESTS ?= tests

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SOURCES := emoclip_clinical cli protocols tests benchmarks docs

# One thread a process: the tests run side by side, and OpenMP's threads would fight for the cores.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint types layers pytest quick docs wheel clean

demo: $(VENV)/installed
	$(BIN)/emoclip-clinical demo $(STUDY)

test: lint types layers pytest

lint: $(VENV)/installed-dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/installed-dev
	$(BIN)/mypy

layers: $(VENV)/installed-dev
	$(BIN)/lint-imports

pytest: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder \
		--slow-minutes $(SLOW_MINUTES) $(TESTS)

quick: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "not slow" $(TESTS)

docs: $(VENV)/installed-dev
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

wheel: $(VENV)/installed-dev
	$(BIN)/python -m build --outdir dist

clean:
	rm -rf build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: Python 3.11 or newer is needed, and there is no $(PYTHON) here; name one with PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -c 'import platform; print(platform.python_version())'); name another with PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# The stamps are older than pyproject.toml or constraints.txt exactly when the install is out of date.
$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV); the first time this downloads PyTorch and takes some minutes."
	$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV); the first time this downloads PyTorch and takes some minutes."
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/installed
