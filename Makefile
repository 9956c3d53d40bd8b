# The one list of commands. `make help` shows it; CI calls `make lint` and `make test` as everybody does.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
export LLM_GATEWAY_STATE_DIR ?= $(CURDIR)/.tollhouse
# Other settings of pip that live on a machine must not change what the lock says.
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

# rustup's cargo looks for its toolchains below HOME; with another HOME it is found beside the cargo on the PATH.
ifeq ($(RUSTUP_HOME),)
ifneq ($(shell cargo --version >/dev/null 2>&1 && echo ok),ok)
CARGO_FOLDER := $(patsubst %/bin/cargo,%,$(shell command -v cargo 2>/dev/null))
ifneq ($(wildcard $(dir $(CARGO_FOLDER)).rustup),)
export RUSTUP_HOME := $(dir $(CARGO_FOLDER)).rustup
endif
endif
endif

RUST_SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find native/core native/binding -name '*.rs' -o -name Cargo.toml)

.PHONY: help serve test test-quick lint fmt bench wheel lock clean tools system

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s '|'

serve: $(VENV)/.runtime $(VENV)/.native ## Set up what is missing, then run the gateway on 127.0.0.1:$PORT
	@exec $(BIN)/tollhouse serve --port $(PORT)

test: $(VENV)/.dev $(VENV)/.native system tests/clients/node/node_modules/.installed ## Install what the tests need and run all of them
	cargo test -q --workspace --exclude tollhouse-native
	@rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

test-quick: $(VENV)/.dev $(VENV)/.native ## Unit tests only, without coverage
	$(BIN)/python -m pytest --ignore=tests/e2e --ignore=tests/packaging

lint: $(VENV)/.dev $(VENV)/.native ## Every static check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p tollhouse
	$(BIN)/mypy tests/support tests/typing bench
	$(BIN)/python -m mypy.stubtest tollhouse._native
	PYTHONPATH=native/python $(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	cargo fmt --all --check
	cargo clippy -q --workspace --all-targets -- -D warnings

fmt: $(VENV)/.dev ## Format everything
	$(BIN)/ruff check --fix-only -q .
	$(BIN)/ruff format -q .
	cargo fmt --all

bench: $(VENV)/.dev $(VENV)/.native ## Measure CPU per request and added latency against a direct control
	$(BIN)/python -m bench.run $(BENCH)

wheel: $(VENV)/.dev ## Build dist/*.whl
	$(BIN)/maturin build --release --locked --out dist

lock: $(VENV)/.dev ## Write the locks anew (needs uv)
	uv pip compile -q --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 --universal pyproject.toml -o requirements/runtime.txt
	uv pip compile -q --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 -c requirements/runtime.txt requirements/dev.in -o requirements/dev.txt
	uv pip compile -q --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 -c requirements/dev.txt requirements/build.in -o requirements/build.txt

clean: ## Remove everything that was built
	rm -rf $(VENV) target dist build .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/clients/node/node_modules

tools:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=" >&2; exit 1; }
	@cargo --version >/dev/null 2>&1 || { echo "Rust is needed: install it from https://rustup.rs, or set RUSTUP_HOME" >&2; exit 1; }

# Stamps: a second start finds them newer than what they are made from and does nothing.
$(VENV)/bin/python: | tools
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements/runtime.txt
	$(PIP) install --require-hashes -r requirements/build.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt | $(VENV)/.runtime
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.native: $(RUST_SOURCES) | $(VENV)/.runtime
	$(BIN)/maturin develop -q --release --locked
	@touch $@

tests/clients/node/node_modules/.installed: tests/clients/node/package-lock.json
	cd tests/clients/node && npm ci --silent --no-audit --no-fund
	@touch $@

# Programs that the tests run for real.
system:
	@command -v npm >/dev/null || { echo "npm (Node.js 20 or newer) is needed for the tests" >&2; exit 1; }
