# Everything a developer does here. `make help` lists it.
PYTHON ?= $(shell command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SERVICE ?= inference
# Which environment on Google Cloud; terraform/README.md says how one comes to be.
ENV ?=
# What `make demo` imports, a folder or a zip file, and how many of its photos are classified; LIMIT= is all.
CATALOGUE ?= services/local/demo
LIMIT ?= 1000
DEMO_JOB := demo-$(shell date +%s)
.DEFAULT_GOAL := help
.PHONY: help demo up down logs training notebook test fuzz lint format test-data bench lock clean
.PHONY: bootstrap plan apply rollout deploy destroy

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: up ## the whole pipeline on this machine: classify the demo catalogue, or CATALOGUE=PATH [LIMIT=1000]
	$(BIN)/vitrine import "$(CATALOGUE)"
	$(BIN)/vitrine request --job-id $(DEMO_JOB) $(if $(LIMIT),--limit $(LIMIT)) --wait --timeout 86400
	$(BIN)/vitrine results $(DEMO_JOB) --limit 12
	$(BIN)/vitrine results $(DEMO_JOB) --html "$${VITRINE_HOME:-.vitrine}/results.html"
	@echo "The pipeline still runs: look at the console, try \`$(BIN)/vitrine upload PHOTO\`, and \`make down\` to stop it."
	@$(BIN)/vitrine up

up: $(VENV)/.local ## start the local cloud; returns when everything is ready
	$(BIN)/vitrine up

down: ## stop the local cloud; its state stays in .vitrine
	$(BIN)/vitrine down

logs: ## follow one process's log: make logs SERVICE=inference, or of an environment: ENV=dev
ifeq ($(ENV),)
	$(BIN)/vitrine logs $(SERVICE) --follow
else
	gcloud logging read 'resource.type="cloud_run_revision" resource.labels.service_name="$(SERVICE)"' \
		--project=$(PROJECT) --freshness=1h --limit=100 --format='value(timestamp, severity, jsonPayload.message, textPayload)'
endif

training: $(VENV)/.training ## install what `vitrine train` needs

notebook: $(VENV)/.notebook ## install what services/client/quickstart.ipynb needs

test: $(VENV)/.test $(VENV)/.checkov test-data lint ## install the rest, then all checks and tests
	$(BIN)/pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

fuzz: $(VENV)/.test ## ask the API of a local cloud all that the fuzzer can ask: many minutes
	VITRINE_FUZZ_PHASES=examples,coverage,fuzzing,stateful $(BIN)/pytest tests/e2e/test_gateway_schema.py

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

bench: $(VENV)/.bench ## measure, both sides in one run, interleaved
	$(BIN)/python -m tests.bench

lock: $(VENV)/bin/uv ## renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.13 --generate-hashes \
		--no-emit-index-url --custom-compile-command "make lock" --quiet --output-file requirements.lock

clean: down ## forget the local cloud's state and the environment
	rm -rf .vitrine $(VENV)

# ---- Google Cloud: ENV is dev, staging or prod, or build, which is what builds them ----

named = $(or $(ENV),$(error ENV: write which, such as ENV=dev))
ROOT = terraform/$(if $(filter build,$(named)),build,environments/$(named))
told = $(shell sed -n 's/^$(1) *= *"\(.*\)".*/\1/p' $(2)/terraform.tfvars)
PROJECT = $(or $(call told,project_id,$(ROOT)),$(error $(ROOT)/terraform.tfvars: copy terraform.tfvars.example and write project_id))
REGION = $(or $(call told,region,$(ROOT)),$(error $(ROOT)/terraform.tfvars: write region))
BUILD = $(or $(call told,project_id,terraform/build),$(error terraform/build/terraform.tfvars: copy terraform.tfvars.example and write project_id))
TERRAFORM = terraform -chdir=$(ROOT)
INIT = $(TERRAFORM) init -input=false -reconfigure -backend-config=bucket=$(PROJECT)-terraform

# Some of Google's agents are made when they are first needed, and cannot be granted anything before.
bootstrap: ## a new project: the APIs and agents that Terraform itself needs, and the bucket of its state
	gcloud services enable artifactregistry.googleapis.com cloudresourcemanager.googleapis.com iam.googleapis.com \
		pubsub.googleapis.com secretmanager.googleapis.com serviceusage.googleapis.com storage.googleapis.com --project=$(PROJECT)
	gcloud beta services identity create --service=pubsub.googleapis.com --project=$(PROJECT)
	gcloud beta services identity create --service=artifactregistry.googleapis.com --project=$(PROJECT)
	gcloud beta services identity create --service=secretmanager.googleapis.com --project=$(PROJECT)
	gcloud storage buckets describe gs://$(PROJECT)-terraform --format='value(name)' || \
		gcloud storage buckets create gs://$(PROJECT)-terraform --project=$(PROJECT) --location=$(REGION) \
			--uniform-bucket-level-access --public-access-prevention
	gcloud storage buckets update gs://$(PROJECT)-terraform --versioning

plan: ## what would change: make plan ENV=dev
	$(INIT)
	$(TERRAFORM) plan -input=false -out=vitrine.tfplan

apply: ## change what was planned
	$(TERRAFORM) apply -input=false vitrine.tfplan
	rm $(ROOT)/vitrine.tfplan

rollout: $(VENV)/.release ## give the newest revision of inference its traffic, step by step
	$(TERRAFORM) output -json rollout > $(ROOT)/rollout.json
	$(BIN)/python -m services.release $(ROOT)/rollout.json

deploy: ## build, check and apply this commit in Cloud Build
	git archive --format=tar.gz --output=.vitrine-commit.tgz HEAD
	gcloud builds submit .vitrine-commit.tgz --config=cloudbuild.yaml --project=$(BUILD) \
		--region=$(call told,region,terraform/build) \
		--service-account=projects/$(BUILD)/serviceAccounts/vitrine-build-$(named)@$(BUILD).iam.gserviceaccount.com \
		--substitutions=_ENVIRONMENT=$(named),COMMIT_SHA=$$(git rev-parse HEAD)
	rm .vitrine-commit.tgz

destroy: ## delete an environment; Terraform asks before, and refuses where deletion is protected
	$(INIT)
	$(TERRAFORM) destroy

$(VENV)/bin/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13) and "Vitrine needs Python 3.13, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check 'uv>=0.13,<0.14'

# It asks for other versions than we do, and so has an environment of its own.
$(VENV)/.checkov: $(VENV)/bin/uv
	$(BIN)/python -m venv $(VENV)/checkov
	$(BIN)/uv pip install --quiet --python $(VENV)/checkov/bin/python 'checkov==3.3.30'
	@touch $@

# The lock constrains versions and hashes of whatever the extra asks for.
$(VENV)/.bench $(VENV)/.local $(VENV)/.notebook $(VENV)/.release $(VENV)/.training $(VENV)/.test: $(VENV)/.%: $(VENV)/bin/uv pyproject.toml requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --editable '.[$*]'
	@touch $@
