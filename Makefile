# Everything a developer does here. `make help` lists it.
PYTHON ?= $(shell command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SERVICE ?= inference
DEMO_JOB := demo-$(shell date +%s)
.DEFAULT_GOAL := help
.PHONY: help demo up down logs training test lint format test-data bench lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: up ## the whole pipeline on this machine: classify the demo catalogue, show the results
	$(BIN)/vitrine import services/local/demo
	$(BIN)/vitrine request --job-id $(DEMO_JOB) --wait
	$(BIN)/vitrine results $(DEMO_JOB) --limit 12
	$(BIN)/vitrine results $(DEMO_JOB) --html .vitrine/results.html
	@echo "The pipeline still runs: try \`$(BIN)/vitrine upload PHOTO\`, \`$(BIN)/vitrine --help\`, and \`make down\` to stop it."

up: $(VENV)/.local ## start the local cloud; returns when everything is ready
	$(BIN)/vitrine up

down: ## stop the local cloud; its state stays in .vitrine
	$(BIN)/vitrine down

logs: ## follow one process's log: make logs SERVICE=inference
	$(BIN)/vitrine logs $(SERVICE) --follow

training: $(VENV)/.training ## install what `vitrine train` needs

test: $(VENV)/.test test-data lint ## install the rest, then all checks and tests
	$(BIN)/pytest

lint: $(VENV)/.test ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test ## put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The accuracy test wants the official test split, and browser tests a browser; both are Debian packages.
# Where they cannot be installed, the tests that need them say so and skip.
test-data: # the Debian packages that some tests use
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! dpkg -s dataset-fashion-mnist chromium >/dev/null 2>&1; then \
		apt-get update -qq && apt-get install -y -qq dataset-fashion-mnist chromium >/dev/null; fi

bench: $(VENV)/.test ## measure, both sides in one run, interleaved
	$(BIN)/python -m tests.bench

lock: $(VENV)/bin/uv ## renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.13 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" --quiet --output-file requirements.lock

clean: down ## forget the local cloud's state and the environment
	rm -rf .vitrine $(VENV)

$(VENV)/bin/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13) and "Vitrine needs Python 3.13, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check 'uv>=0.13,<0.14'

# The lock constrains versions and hashes of whatever the extra asks for.
$(VENV)/.local $(VENV)/.training $(VENV)/.test: $(VENV)/.%: $(VENV)/bin/uv pyproject.toml requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --editable '.[$*]'
	@touch $@
