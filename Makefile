# Two commands do everything: `make demo` and `make test`. Each sets up what it needs first.
# Needed on the machine: Python >= 3.11 (with its venv module) and make. Nothing else.

PYTHON ?= python3
PROCESSES ?= 2
UV := .tools/bin/uv
BIN := .venv/bin
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv

.PHONY: help setup demo test drill lint lock release-check clean
.DEFAULT_GOAL := help

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 15

setup: .venv/.ready ## install what the two commands need, into .tools and .venv

demo: .venv/.ready ## one minute: the whole way on three real brokers, a pod killed in the middle; DEMO_PODS=25 KAFKA_VERSION=4.1.0 KEEP=1
	@exec $(BIN)/python -m deploy.demo

test: .venv/.ready ## 13 minutes on two cores: every test, against real brokers; KAFKA_VERSION=4.1.0; ARGS="-k name" chooses; PROCESSES=0 in one
	@exec $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

drill: .venv/.ready ## all that a fleet of 25 pods x 4 goes through, with a ledger, or STEP=kill,rolling of it; DRILL_PODS=3 DRILL_PROCESSES=2 DRILL_RATE=100 for a small one
	@exec $(BIN)/python -m deploy.drill

lint: .venv/.ready ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint deploy/image/Dockerfile
	$(UV) lock --check --quiet

lock: $(UV) ## write the lock anew after a change of dependencies
	$(UV) lock

release-check: .venv/.ready ## what has to hold before a package is released (RELEASING.md); wheels and SBOMs into dist/
	@exec $(BIN)/python -m deploy.release

clean: ## remove what setup made (not the jars in the user's cache)
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist

$(UV): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed, and $(PYTHON) is " + sys.version.split()[0] + ": name another with make PYTHON=...")'
	@$(PYTHON) -m venv --clear .tools || { echo 'The venv module of $(PYTHON) does not work: install it (Debian: python3-venv).' >&2; exit 1; }
	.tools/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

.venv/.ready: $(UV) pyproject.toml uv.lock $(wildcard packages/*/pyproject.toml)
	$(UV) sync --quiet --frozen --all-packages --all-groups --compile-bytecode --python $(PYTHON)
	@touch $@
