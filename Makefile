# `make` lists what can be done here. Nothing is installed outside of $(VENV).
#   make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
WORKDIR ?= runs/quickstart
PYTEST ?= -n 2 --dist loadscope --no-loadscope-reorder

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Hashes are demanded, and what has no wheel is built by the locked setuptools.
LOCKED := $(PIP) --no-build-isolation --require-hashes -r
EDITABLE := PYTHONWARNINGS=ignore $(PIP) --no-build-isolation --no-deps --editable .
PACKAGE := setup.py pyproject.toml

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help quickstart test parity docs lint format lock audit sbom build clean

help:  ## List the commands.
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

quickstart: $(VENV)/ready-run  ## Train MAE on the digits for a minute, evaluate it, write a report.
	@test "$(WORKDIR)" != runs/quickstart || rm -rf runs/quickstart
	$(BIN)/mim-jax train --config=mae:dataset=embedded --workdir="$(WORKDIR)"

test: lint $(VENV)/ready-parity  ## Everything a change must pass: format, lint, types, rooms, tests.
	$(BIN)/python -m pytest $(PYTEST)

lint: $(VENV)/ready-dev  ## The part of `make test` that runs no code.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/ready-dev  ## Format the code and mend what ruff can mend.
	$(BIN)/ruff check --fix --exit-zero --quiet .
	$(BIN)/ruff format .

parity: $(VENV)/ready-parity  ## Only the comparisons with the original networks.
	$(BIN)/python -m pytest $(PYTEST) tests/parity

docs: $(VENV)/ready-dev  ## Build the documentation site; no network, warnings are errors.
	$(BIN)/sphinx-build -W --keep-going --quiet -b html docs build/docs
	@echo build/docs/index.html

# fewest: one version of a package for all three Pythons. Pins move only with `make lock UPGRADE=--upgrade`.
UPGRADE ?=
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet $(UPGRADE) --universal \
	--python-version 3.11 --fork-strategy fewest --generate-hashes

lock: $(VENV)/ready-dev  ## Write requirements/*.txt anew from pyproject.toml.
	$(COMPILE) --group setup -o requirements/setup.txt > /dev/null
	$(COMPILE) pyproject.toml -c requirements/setup.txt -o requirements/run.txt > /dev/null
	$(COMPILE) pyproject.toml --extra dev -c requirements/setup.txt -c requirements/run.txt \
		-o requirements/dev.txt > /dev/null
	$(COMPILE) pyproject.toml --extra parity -c requirements/setup.txt -c requirements/dev.txt \
		--no-emit-package torch -o requirements/parity.txt > /dev/null

audit: $(VENV)/ready-dev  ## Look the locked packages up among the known vulnerabilities.
	$(BIN)/pip-audit --strict --disable-pip --require-hashes $(foreach lock,$(wildcard requirements/*.txt),-r $(lock))

sbom: $(VENV)/ready-dev  ## Write dist/sbom.json: what an installation consists of (CycloneDX).
	@mkdir -p dist
	$(BIN)/cyclonedx-py requirements requirements/run.txt --pyproject pyproject.toml \
		--mc-type library --output-reproducible --of JSON -o dist/sbom.json

build: $(VENV)/ready-dev  ## Write the wheel and the source archive to dist/.
	$(BIN)/python -m build --no-isolation

clean:  ## Remove the environment, caches and builds; runs stay.
	rm -rf $(VENV) build dist docs/generated *.egg-info .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +

# The stamps. Each is made last, so a set-up that was interrupted is simply done again.

$(VENV)/ready-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'mim_jax needs Python 3.11 or newer; $(PYTHON) is' "$$($(PYTHON) --version 2>&1)."; \
		echo 'Name another one: make $(MAKECMDGOALS) PYTHON=python3.13'; exit 1; }
	@echo 'Installing into $(VENV), which takes a few minutes the first time.'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/ready-run: $(VENV)/ready-python requirements/setup.txt requirements/run.txt $(PACKAGE)
	$(PIP) --require-hashes -r requirements/setup.txt
	$(LOCKED) requirements/run.txt
	$(EDITABLE)
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready-python requirements/setup.txt requirements/dev.txt $(PACKAGE)
	$(PIP) --require-hashes -r requirements/setup.txt
	$(LOCKED) requirements/dev.txt
	$(EDITABLE)
	@touch $@

# torch comes without what it asks for (requirements/parity.txt has that), from the configured index if that has its CPU
# build, else from torch's own. Where there are no locked wheels, say which torch: make parity TORCH=torch==2.13.0
ifeq ($(shell uname -sm),Linux x86_64)
TORCH ?= --require-hashes -r requirements/torch.lock
else
TORCH ?= torch==2.13.0
endif

$(VENV)/ready-parity: $(VENV)/ready-dev requirements/parity.txt requirements/torch.lock
	$(LOCKED) requirements/parity.txt
	$(PIP) --no-deps $(TORCH) 2> /dev/null || \
		$(PIP) --no-deps --extra-index-url https://download.pytorch.org/whl/cpu $(TORCH)
	@touch $@
