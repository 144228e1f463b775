# Every target is one line or calls a file in tools/. 'make help' lists them.
.DEFAULT_GOAL := help
.PHONY: help setup up test s3-server check format lock documents proto bench chaos clean

BIN := .venv/bin

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

setup: ## Make .venv with everything that development needs
	@tools/setup.sh dev

up: ## Run the server in the foreground until Ctrl-C
	@tools/setup.sh
	@$(BIN)/efferent up

test: setup s3-server ## Run all tests
	@$(BIN)/pytest --numprocesses auto $(ARGS)

s3-server: ## Build the S3 server that tests and the benchmark run against, once
	@tools/install_s3_server.sh >/dev/null

check: setup ## Check format, lint, types, import rules, locks, spelling and generated code
	@tools/check.sh

format: setup ## Format the code and fix what can be fixed by itself
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix .

lock: setup ## Write the lock files anew from pyproject.toml
	@$(BIN)/python tools/lock.py $(ARGS)

documents: setup ## Generate the contract of the tests, openapi.json and asyncapi.json anew
	@for it in contract openapi asyncapi; do $(BIN)/python -m tools.generate_$$it || exit 1; done

proto: setup ## Generate the gRPC code from proto/
	@$(BIN)/python tools/generate_proto.py

bench: setup s3-server ## Measure a server and the machine's floor, and print the table
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: setup ## Kill services at random for a long time and check that nothing is lost
	@$(BIN)/python -m tests.chaos $(ARGS)

clean: ## Delete the environment, caches and build results
	@rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build
