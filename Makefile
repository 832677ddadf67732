# Every command a person types. `make serve` and `make test` set up all they need in .venv.
PYTHON ?= python3
BIN := .venv/bin
MINUTES ?= 80
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help serve test check format bench image-model clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## / - /'

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

.venv/.base: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e '.[images]'
	@touch $@

.venv/.test: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e . --group test --group check
	@touch $@ .venv/.base

serve: .venv/.base  ## install, fetch the default models, serve on 127.0.0.1:8000
	$(BIN)/openhearth serve

test: .venv/.test  ## install what the tests need, then run them
	$(BIN)/openhearth pull
	$(BIN)/python -m pytest

check: .venv/.test  ## format, lint, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.test  ## put the source into the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.base  ## run every benchmark; each prints JSON on its last line
	$(PYTHON) -m benchmarks

.venv/.image-model: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e '.[image-model]'
	@touch $@ .venv/.base

image-model: .venv/.image-model  ## make the embedded image model: hours, resumable, alone on the machine
	$(BIN)/openhearth pull all-minilm-l6-v2
	$(BIN)/python -m image_model --minutes $(MINUTES)

clean:  ## remove the environment and the caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
