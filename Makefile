# What a developer calls. Every target does its own set-up: a fresh clone needs make, Python >= 3.11
# with venv (Debian: python3-venv) and a package index, nothing else. `make help` lists the targets.

PYTHON ?= python3
WORKERS ?= 2
PYTEST_ARGS ?=
SOAK_ARGS ?=

BIN := .venv/bin
STAMP := .venv/.set-up
# uv from PATH if there is one, otherwise the one that the set-up puts into .venv.
UV := $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)

export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
# Another active environment is none of our business.
unexport VIRTUAL_ENV
unexport PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak soak-dynamodb soak-projections clusters coverage lint format types architecture docs bench wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --inexact: the set-up's own uv stays where it is. The lock is never changed here (--locked).
$(STAMP): pyproject.toml uv.lock Makefile
	@echo "== set-up: .venv from uv.lock"
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"eventcore needs Python >= 3.11, $(PYTHON) is {sys.version.split()[0]}: make PYTHON=python3.11")'
	@if [ ! -x "$(UV)" ]; then \
	  $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; \
	fi
	@if [ ! -x $(BIN)/python ]; then $(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv; fi
	@$(UV) sync --quiet --locked --all-groups --extra cli --extra postgres --extra dynamodb --extra lake --extra dask --extra crypto --extra otel --inexact
	@touch $@

setup: $(STAMP) ## create .venv with everything the other targets need

demo: $(STAMP) ## the tour: a shop at work, a crash, time travel, a rebuild
	@echo "== demo"
	@$(BIN)/eventcore demo

test: $(STAMP) ## all tests (PYTEST_ARGS="-k name", WORKERS=4)
	@echo "== tests"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations=15 $(PYTEST_ARGS)

soak: $(STAMP) ## 1,000,000 events of 16 writers through crashes on Postgres, three times
	@echo "== soak"
	@$(BIN)/python -m tests.soak.postgres_race $(SOAK_ARGS)

soak-projections: $(STAMP) ## 200,000 events of 5 writers, workers killed, rebuilds, readers polling
	@echo "== soak, projections"
	@$(BIN)/python -m tests.soak.projections_race $(SOAK_ARGS)

soak-dynamodb: $(STAMP) ## 20,000 commits of 4 writers through kill -9 on DynamoDB Local
	@echo "== soak, DynamoDB"
	@$(BIN)/python -m tests.soak.dynamodb_race $(SOAK_ARGS)

clusters: $(STAMP) ## a replay on Dask, Ray and Spark; fetches the latter two, 0.5 GB
	@echo "== clusters"
	@RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 $(UV) run --quiet --isolated --no-project --with '.[cli,lake,dask]' --with ray --with 'pyspark[sql]' \
	  --with 'pandas<3' --python $(BIN)/python python -m tests.soak.clusters

coverage: $(STAMP) ## all tests, with the lines and branches they reach
	@echo "== tests with coverage"
	@$(BIN)/python -m pytest -n $(WORKERS) --cov --cov-report=term-missing $(PYTEST_ARGS)

LINTED := $(wildcard src tests examples benchmarks docs)

lint: $(STAMP) ## style, spelling, declared dependencies
	@echo "== ruff check"
	@$(BIN)/ruff check $(LINTED)
	@echo "== ruff format --check"
	@$(BIN)/ruff format --check $(LINTED)
	@echo "== codespell"
	@$(BIN)/codespell $(LINTED) $(wildcard *.md)
	@echo "== deptry"
	@$(BIN)/deptry src

format: $(STAMP) ## rewrite the code the way lint wants it
	@$(BIN)/ruff check --fix-only $(LINTED)
	@$(BIN)/ruff format $(LINTED)

types: $(STAMP) ## mypy, strict
	@echo "== mypy"
	@$(BIN)/mypy $(wildcard src examples benchmarks tests)

architecture: $(STAMP) ## the arrows between the rooms
	@echo "== import-linter"
	@$(BIN)/lint-imports

docs: $(STAMP) ## the documentation, in build/docs; a warning is an error
	@echo "== sphinx"
	@$(BIN)/sphinx-build -n -W --keep-going -q -b html -d build/doctrees docs build/docs
	@echo "built build/docs/index.html"

bench: $(STAMP) ## the measurements, written to benchmarks/results
	@echo "== benchmarks"
	@$(BIN)/python -m benchmarks.run

wheel: $(STAMP) ## build the wheel, install it into an empty environment, run the demo there
	@echo "== wheel"
	@rm -rf build/wheel build/wheel-venv
	@$(UV) build --quiet --wheel --python $(BIN)/python --out-dir build/wheel
	@$(UV) venv --quiet --python $(BIN)/python build/wheel-venv
	@wheel="$$(ls build/wheel/*.whl)"; echo "built $$wheel"; \
	  $(UV) pip install --quiet --python build/wheel-venv/bin/python "$$wheel[cli]"
	@echo "== demo from the wheel, without the source tree"
	@program="$(CURDIR)/build/wheel-venv/bin/eventcore"; folder="$$(mktemp -d)"; \
	  cd "$$folder" && "$$program" demo; code=$$?; rm -rf "$$folder"; exit $$code

clean: ## remove what the tools made, .venv included
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find src tests examples benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
