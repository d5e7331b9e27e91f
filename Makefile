# Everything a person types. `make` alone says what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

BIN := .venv/bin
WORKERS ?= 2
BENCHMARKS := agent_overhead streaming first_event throughput fifty_at_once llm_gateway footprint preview_proxy
PYTEST := $(BIN)/python -m pytest

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 20

.PHONY: install
install: ## Prepare .venv: installs what is missing, uv included
	@tools/install.sh

.PHONY: up
up: install ## Start NATS, PostgreSQL and all services; Ctrl-C stops them
	@exec $(BIN)/runyard up $(ARGS)

.PHONY: test
test: install lint schemas-check ## Lint, types, import rules, schemas, and all tests but the fault tests
	@$(PYTEST) -n $(WORKERS) -m "not faults and not soak and not browser and not docker and not acp" --cov --cov-report= $(ARGS)
	@echo "Coverage: $$($(BIN)/coverage report --format=total) % (by file: $(BIN)/coverage report)"

.PHONY: test-processes
test-processes: install ## The end-to-end tests against a stack of one process per service
	@$(PYTEST) -n 0 tests/e2e --stack processes $(ARGS)

.PHONY: test-acp
test-acp: install ## Install opencode, Droid and Gemini CLI from npm and run them
	@$(PYTEST) -n 0 -m acp services/runner-acp $(ARGS)

.PHONY: test-previews
test-previews: install ## Open real projects in Chromium through the proxy, edit them, see them change
	@tools/chromium.sh
	@$(PYTEST) -n 0 -m browser tests/previews $(ARGS)

.PHONY: test-docker-previews
test-docker-previews: install images ## The same projects, each built and served in a container
	@tools/chromium.sh
	@$(PYTEST) -n 0 -m browser tests/previews --sandbox docker $(ARGS)

.PHONY: test-faults
test-faults: install ## Kill services, NATS and PostgreSQL in the middle of runs
	@$(PYTEST) -m "faults and not docker" --tb=native $(ARGS)

.PHONY: test-soak
test-soak: install ## Let engine, containers and replicas fail at random for a while, by seed
	@$(PYTEST) -n 0 -m soak $(ARGS)

.PHONY: test-docker
test-docker: install images ## Everything that needs a Docker engine: agents, previews and attacks in real containers
	@$(PYTEST) -n 0 -v -m "docker and not faults and not browser" $(ARGS)

.PHONY: test-docker-servers
test-docker-servers: install ## The log, its readers and runs on NATS and PostgreSQL as compose.yaml has them
	@$(PYTEST) -n 0 libs/events/tests services/orchestrator/tests/test_flow.py --servers containers $(ARGS)

.PHONY: test-docker-faults
test-docker-faults: install images ## Stop and start the Docker engine in the middle of runs
	@$(PYTEST) -n 0 -v -m "docker and faults" --tb=native $(ARGS)

.PHONY: images
images: ## Build the image of each service; BASE_IMAGE, TAG and AGENTS="opencode droid" choose what on, which tag, what in
	@tools/images.sh $(ARGS)

.PHONY: compose-up
compose-up: install ## Start everything in containers, one per service
	@tools/compose.sh up

.PHONY: compose-down
compose-down: install ## Stop the containers; all data is kept
	@tools/compose.sh down

.PHONY: compose-test
compose-test: install images ## The end-to-end tests against a stack in containers
	@IMAGES=keep $(PYTEST) -n 0 tests/e2e --stack compose $(ARGS)

.PHONY: bench
bench: install ## Measure, each figure beside its bare floor; ONLY=streaming for one of them
	@for one in $(or $(ONLY),$(BENCHMARKS)); do $(BIN)/python benchmarks/$$one.py $(ARGS); done

.PHONY: bench-sandbox
bench-sandbox: install images ## Measure containers of sessions beside a bare `docker run` of the same image
	@$(BIN)/python benchmarks/sandbox.py $(ARGS)

.PHONY: lint
lint: install ## Style, types and the rules of who imports whom
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/python tools/check_imports.py

.PHONY: format
format: install ## Put the style right
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: schemas
schemas: install ## Write the JSON Schemas and the AsyncAPI document anew
	@$(BIN)/python -m runyard_events.reference docs/reference

.PHONY: schemas-check
schemas-check: install
	@$(BIN)/python -m runyard_events.reference docs/reference --check

.PHONY: lock
lock: ## Resolve all dependencies anew and write requirements.lock
	@tools/lock.sh

.PHONY: clean
clean: ## Remove what was installed and generated; data folders stay
	@rm -rf .venv .tools .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
