# `make` alone prints what there is. Everything is installed into $(VENV) and build/; `make clean` takes both away.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BENCH ?=
QUEUE ?=
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PROTO_VENV := build/proto-venv
LOCK_VENV := build/lock-venv
UV_VERSION := 0.13.9

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# Caches stay here where there is no HOME to write to (pip and buf look at these).
ifneq ($(shell test -n "$$HOME" && test -w "$$HOME" && echo yes),yes)
export XDG_CACHE_HOME := $(CURDIR)/build/cache
endif
export BUF_CACHE_DIR := $(CURDIR)/build/buf-cache
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
PIP_INSTALL = -m pip install --quiet --require-hashes

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' \
		| while IFS=$$'\t' read -r name text; do printf '  make %-12s %s\n' "$$name" "$$text"; done

# ------------------------------------------------------------------------------------------------ use

.PHONY: demo run
demo: $(VENV)/.runtime ## a server, six real worker processes and a queue, with a live table (QUEUE=redis, ARGS=...)
	@$(BIN)/python -m scheduler_server demo $(if $(QUEUE),--queue $(QUEUE)) $(ARGS)

ifeq ($(QUEUE),redis)
ifeq ($(shell command -v redis-server),)
demo: $(VENV)/.redis
endif
endif

run: $(VENV)/.runtime ## the server in the foreground (ARGS=...)
	@$(BIN)/python -m scheduler_server serve --hints $(ARGS)

# ----------------------------------------------------------------------------------------- environment

.PHONY: venv clickhouse peers lock clean
venv: $(VENV)/.dev ## everything that work on the project needs, into .venv (PYTHON=python3.12 chooses)

# One environment, two depths: the server needs only .runtime, the checks need .dev.
$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found: Python 3.11 or newer is needed (PYTHON=... chooses)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: $$($(PYTHON) -V 2>&1) is too old: 3.11 or newer is needed (PYTHON=... chooses)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "make: $(PYTHON) cannot make virtual environments: install its venv module (Debian: python3-venv)" >&2; exit 1; }
	@echo "venv: creating $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.runtime: pyproject.toml requirements.lock requirements-build.lock | $(VENV)/.created
	@echo "venv: installing what the server needs"
	@$(BIN)/python $(PIP_INSTALL) -r requirements.lock -r requirements-build.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

peers: build/peers-venv/.ready ## Dask and Celery, which BENCH=peers measures beside us, into build/

clickhouse: build/chdb-venv/.ready ## the engine that the tests of the ClickHouse log need, into build/ (900 MB)

$(VENV)/.redis: requirements-redis.lock $(VENV)/.runtime
	@echo "venv: installing a redis-server: none is on the PATH"
	@$(BIN)/python $(PIP_INSTALL) -r requirements-redis.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "venv: installing what the checks need"
	@$(BIN)/python $(PIP_INSTALL) -r requirements-dev.lock
	@touch $@

$(PROTO_VENV)/.ready: requirements-proto.lock | $(VENV)/.created
	@echo "proto: installing protoc and its plugins"
	@mkdir -p build
	@$(PYTHON) -m venv --clear $(PROTO_VENV)
	@$(PROTO_VENV)/bin/python $(PIP_INSTALL) -r requirements-proto.lock
	@touch $@

# ClickHouse's engine for the tests of the decision log: 900 MB, so an environment of its own, and not everybody's.
build/chdb-venv/.ready: requirements-chdb.lock | $(VENV)/.created
	@echo "clickhouse: installing chdb, about 900 MB"
	@mkdir -p build
	@$(PYTHON) -m venv --clear build/chdb-venv
	@build/chdb-venv/bin/python $(PIP_INSTALL) -r requirements-chdb.lock
	@touch $@

# Dask and Celery, for BENCH=peers: an environment of their own, so that neither side's versions bind the other's.
build/peers-venv/.ready: requirements-peers.lock | $(VENV)/.created
	@echo "peers: installing Dask and Celery"
	@mkdir -p build
	@$(PYTHON) -m venv --clear build/peers-venv
	@build/peers-venv/bin/python $(PIP_INSTALL) -r requirements-peers.lock
	@touch $@

$(LOCK_VENV)/.ready: Makefile | $(VENV)/.created
	@mkdir -p build
	@$(PYTHON) -m venv --clear $(LOCK_VENV)
	@$(LOCK_VENV)/bin/python -m pip install --quiet uv==$(UV_VERSION)
	@touch $@

# Universal: one file for every supported Python and platform. Existing pins stay unless ARGS=--upgrade.
COMPILE = $(LOCK_VENV)/bin/uv pip compile --quiet --no-cache --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock' $(ARGS)

lock: $(LOCK_VENV)/.ready ## resolve dependencies anew into requirements*.lock (ARGS=--upgrade for newer versions)
	@$(COMPILE) --output-file requirements.lock pyproject.toml
	@$(COMPILE) --output-file requirements-build.lock --group pyproject.toml:build
	@$(COMPILE) --output-file requirements-redis.lock --constraints requirements.lock --group pyproject.toml:redis
	@$(COMPILE) --output-file requirements-dev.lock --constraints requirements.lock --constraints requirements-build.lock \
		--group pyproject.toml:dev pyproject.toml
	@$(COMPILE) --output-file requirements-proto.lock --group pyproject.toml:proto
	@$(COMPILE) --output-file requirements-chdb.lock --constraints requirements.lock --group pyproject.toml:chdb
	@$(COMPILE) --output-file requirements-peers.lock --group pyproject.toml:peers

clean: ## remove .venv, build/ and every cache
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------------------- contract

.PHONY: proto proto-check breaking
readme: venv ## write the table of settings into README.md
	@$(BIN)/python .ci/tables.py readme

.PHONY: metrics
metrics: venv ## write the table of instruments into docs/metrics.md
	@$(BIN)/python .ci/tables.py metrics

.PHONY: alerts
alerts: venv ## write the table of alerts into docs/alerts.md
	@$(BIN)/python .ci/tables.py alerts

.PHONY: live
live: venv ## write the table of live settings into docs/configuration.md
	@$(BIN)/python .ci/tables.py live

proto: $(PROTO_VENV)/.ready ## write generated/scheduler_api from proto/
	@PROTO_VENV=$(PROTO_VENV) .ci/proto.sh generated

proto-check: $(PROTO_VENV)/.ready ## generated/ is what `make proto` would write
	@PROTO_VENV=$(PROTO_VENV) .ci/proto.sh build/proto-check
	@diff -r --exclude=__pycache__ generated/scheduler_api build/proto-check/scheduler_api \
		|| { echo "proto-check: generated/ is not what proto/ says: run make proto" >&2; exit 1; }

breaking: $(VENV)/.dev ## the contract still understands its earlier self (BREAKING_BASE=ref)
	@BUF=$(BIN)/buf .ci/breaking.sh

# --------------------------------------------------------------------------------------------- checks

.PHONY: fmt lint types imports deps check
fmt: $(VENV)/.dev ## format Python and proto, mend what can be mended
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .
	@$(BIN)/buf format --write proto

lint: $(VENV)/.dev ## format and lint, changing nothing
	@$(BIN)/ruff format --quiet --diff .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/buf lint proto
	@$(BIN)/buf format --diff --exit-code proto

types: $(VENV)/.dev ## mypy, strictly
	@$(BIN)/mypy

imports: $(VENV)/.dev ## imports go down only (import-linter)
	@$(BIN)/lint-imports --no-logo

deps: $(VENV)/.dev ## what is installed fits together (pip check)
	@$(BIN)/python -m pip check

# One after the other, so that the first failure is the last thing on the screen; the tests close it.
CHECKS := deps lint types imports proto-check breaking

check: $(VENV)/.dev ## all that CI runs: every check, then the tests
	@for stage in $(CHECKS); do \
		start=$$SECONDS; \
		echo "== $$stage"; \
		$(MAKE) $$stage; \
		echo "== $$stage: $$((SECONDS - start)) s"; \
	done
	@echo "== test"
	@$(MAKE) test

# ---------------------------------------------------------------------------------------------- tests

.PHONY: test test-fast kills drains faults blackhole pictures bench
# Side by side, on at most four cores: each test has servers, ports and folders of its own.
test: $(VENV)/.dev ## unit, scenarios, contract, integration (PYTEST_ARGS="-k name", one after the other)
	@$(BIN)/python -m pytest $(if $(PYTEST_ARGS),$(PYTEST_ARGS),-n auto --maxprocesses 4)

test-fast: $(VENV)/.dev ## without integration and slow tests, on every core, stops at the first failure
	@$(BIN)/python -m pytest -q -x -n auto -m 'not slow' $(wildcard tests/unit tests/scenarios tests/contract) $(PYTEST_ARGS)

kills: $(VENV)/.dev ## 20 kills -9 of a server under load: is what was promised there again? (KILLS=n)
	@KILLS=$${KILLS:-20} $(BIN)/python -m pytest -rA -k kill tests/integration/test_waiting_tasks.py $(PYTEST_ARGS)

drains: $(VENV)/.dev ## 30 drains under load, workers and servers killed meanwhile: is nothing lost, is progress true? (DRAINS=n)
	@DRAINS=$${DRAINS:-30} $(BIN)/python -m pytest -rA tests/integration/test_drains.py $(PYTEST_ARGS)

faults: $(VENV)/.dev ## 175 faults of workers, servers and Redis under load: is every promise kept? (SEED=n, FAULTS=n)
	@$(BIN)/python -m tests.faults $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS))

blackhole: $(VENV)/.dev ## what one worker that fails, or is slow, takes from a fleet; ejected by chance (virtual clock, minutes)
	@$(BIN)/python -m tests.performance.blackhole $(ARGS)

pictures: $(VENV)/.dev ## schedctl as it looks: build/pictures, and those of the README into docs/pictures (ARGS="--only readme")
	@$(BIN)/python -m tests.pictures $(ARGS)

ifneq ($(filter peers,$(BENCH))$(if $(BENCH),,all),)
bench: build/peers-venv/.ready
endif

bench: $(VENV)/.dev ## measure (BENCH=name; without it, the list)
	@$(BIN)/python -m tests.performance $(BENCH)
