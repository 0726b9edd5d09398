PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
PIP := python -m pip --disable-pip-version-check
LOCK := uv pip compile --quiet --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-header

# The stamp names the kernel, so that adding or removing cargo installs again.
KERNEL := $(if $(and $(filter-out python,$(or $(BARSTORM_KERNEL),auto)),$(shell command -v cargo)),rust,python)
KERNEL_STAMP := $(VENV)/kernel-$(KERNEL)
KERNEL_SOURCES := $(wildcard Cargo.lock) Cargo.toml pyproject.toml $(shell find core_rs -name '*.rs' -o -name '*.toml' -o -name '*.py')
SERVICE := $(VENV)/service $(KERNEL_STAMP)
DEVELOPMENT := $(VENV)/development $(KERNEL_STAMP)
PYTEST := pytest --numprocesses logical --maxprocesses 8 --dist worksteal
RUST_TESTS = @if [ -e python_core/_core_rs.abi3.so ]; then cargo test --locked --quiet; fi

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install format check test test-fast test-slow test-long coverage bench demo serve lock sanitize

help: ## show this help
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install: ## set up .venv with everything, and build the kernel
	@rm -f $(VENV)/kernel-*
	@$(MAKE) --silent --no-print-directory $(DEVELOPMENT)

format: $(DEVELOPMENT) ## format all sources
	ruff check --fix --quiet --select I .
	ruff format .
	@if command -v cargo >/dev/null; then cargo fmt --all; fi

check: $(DEVELOPMENT) ## lint, check format, types and the direction of imports
	ruff check .
	ruff format --check --quiet --output-format concise .
	mypy
	lint-imports --no-logo
	@if command -v cargo >/dev/null; then set -x; cargo fmt --all --check && cargo clippy --locked --quiet --all-targets --all-features -- -D warnings; fi

test: $(DEVELOPMENT) ## run all tests but the slow and the long ones
	$(RUST_TESTS)
	@$(PYTEST)

test-fast: export BARSTORM_CASES := 20
test-fast: $(DEVELOPMENT) ## run the tests that need no server, with few generated cases
	@$(PYTEST) tests/unit tests/property tests/contract

test-slow: $(DEVELOPMENT) ## run the slow tests: packaging, chaos, browser, generated clients, other engines
	@pytest -m 'slow and not long'

test-long: export BARSTORM_CASES := 100000
test-long: $(DEVELOPMENT) ## run every test, for hours
	$(RUST_TESTS)
	@$(PYTEST) --timeout 0 -m 'not slow'
	@pytest --timeout 0 -m slow

coverage: $(DEVELOPMENT) ## print the share of lines that the unit and integration tests run, in percent
	@coverage erase
	@coverage run -m $(PYTEST) -q tests/unit tests/integration
	@coverage combine --quiet
	@coverage report --format=total

bench: $(DEVELOPMENT) $(VENV)/bench ## compare the speed of kernel, service and market data with other packages
	@python benchmarks/run.py
	@python benchmarks/service.py
	@python benchmarks/from_zero.py
	@python benchmarks/data.py

demo: $(SERVICE) ## run one backtest through all parts; DATA=bars.parquet for your own bars
	@barstorm demo $(if $(DATA),--data "$(DATA)")

serve: $(SERVICE) $(VENV)/exchanges ## keep API and worker up on 127.0.0.1:8000 until Ctrl-C
	@barstorm serve

lock: $(DEVELOPMENT) ## pin the newest packages that the project allows
	$(PIP) install --quiet uv
	$(LOCK) pyproject.toml --extra service --extra exchanges --group dev --upgrade -o requirements/dev.lock
	$(LOCK) pyproject.toml --extra service -c requirements/dev.lock --no-annotate -o requirements/service.lock
	$(LOCK) pyproject.toml --extra exchanges -c requirements/dev.lock --no-annotate -o requirements/exchanges.lock
	$(LOCK) pyproject.toml --extra s3 -c requirements/dev.lock --no-annotate -o requirements/s3.lock
	$(LOCK) --group build -c requirements/dev.lock --no-annotate -o requirements/build.lock

sanitize: ## run the Rust tests under AddressSanitizer (Linux and macOS)
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo test --locked --quiet --lib --target-dir target/sanitize --target $$(rustc -vV | sed -n 's/^host: //p')

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"Barstorm needs Python 3.11 or newer, this is {sys.version.split()[0]}: make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/service: requirements/build.lock requirements/service.lock | $(BIN)/python
	@echo 'installing the service and its build tools into $(VENV)'
	@$(PIP) install --quiet --require-hashes -r requirements/build.lock
	@$(PIP) install --quiet --require-hashes -r requirements/service.lock
	@touch $@

$(VENV)/exchanges: requirements/exchanges.lock $(VENV)/service
	@echo 'installing ccxt, which fetches from exchanges, into $(VENV)'
	@$(PIP) install --quiet --require-hashes -r requirements/exchanges.lock
	@touch $@

$(VENV)/development: requirements/dev.lock $(VENV)/service
	@echo 'installing the tools for tests and checks into $(VENV)'
	@$(PIP) install --quiet --require-hashes -r requirements/dev.lock
	@touch $@

# Installed one by one, without changing the service's packages; a package that doesn't install is skipped.
$(VENV)/bench: $(VENV)/development
	@echo 'installing the packages to compare with into $(VENV)'
	@python -m pip freeze --exclude-editable >$(VENV)/installed.txt
	@for peer in $$(python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["bench"])'); do \
	    $(PIP) install --quiet --constraint $(VENV)/installed.txt "$$peer" || echo "skipped: $$peer does not install here"; \
	done
	@touch $@

$(KERNEL_STAMP): $(KERNEL_SOURCES) $(VENV)/service
	@echo 'building the kernel'
	@$(PIP) install --verbose --no-deps --no-build-isolation -e . >$(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	@grep -h -m 1 -o 'warning: .*pure-Python kernel' $(VENV)/build.log || true
	@python -m python_core
	@rm -f $(VENV)/kernel-* && touch $@
