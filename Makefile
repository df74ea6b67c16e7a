SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
DEMO_SECONDS ?=
BENCH_OUT ?= benchmarks/out
# the text model comes with a package: nothing is asked of a model hub
export HF_HUB_OFFLINE ?= 1
STAMP := .venv/.installed

.PHONY: help venv demo check test bench bench-restore clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## the environment .venv with all packages (about 3 GB the first time)

$(STAMP): pyproject.toml constraints.txt setup.py $(wildcard state/c/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …" >&2; exit 1; }
	@[ -x .venv/bin/python ] || { \
		echo "New environment .venv: about 3 GB of packages (PyTorch and its GPU libraries are most of it) are fetched once."; \
		$(PYTHON) -m venv .venv; }
	@.venv/bin/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[dev]' \
		| awk '/Downloading .*[0-9] [MG]B\)/ { print "  fetching " $$2, $$3, $$4; fflush() } \
			/^Installing collected/ { print "  installing " NF - 3 " packages"; fflush() }'
	@touch $@
	@echo "The environment .venv is ready."

demo: venv ## Kafka, a simulated town and its segments on this machine (DEMO_SECONDS=60 sets how long)
	@.venv/bin/segments demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

check: venv ## ruff and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

test: check ## check, then all tests on a real Kafka
	.venv/bin/python -m pytest -n 2 --dist loadgroup

bench: venv ## all benchmarks (about an hour) and the tables of docs/performance.md
	@mkdir -p $(BENCH_OUT)
	.venv/bin/python -m benchmarks.throughput --peers --json $(BENCH_OUT)/throughput.json --plot docs/throughput.svg
	.venv/bin/python -m benchmarks.latency --comments --json $(BENCH_OUT)/latency.json --plot docs/latency.svg
	.venv/bin/python -m benchmarks.encode --json $(BENCH_OUT)/encode.json
	.venv/bin/python -m benchmarks.hotpath --batch 100000 --json $(BENCH_OUT)/hotpath.json
	.venv/bin/python -m benchmarks.scale --json $(BENCH_OUT)/scale.json
	.venv/bin/python -m benchmarks.memory --json $(BENCH_OUT)/memory.json --plot docs/memory.svg
	.venv/bin/python -m benchmarks.tables

bench-restore: venv ## restore and failover with a million users
	.venv/bin/python -m benchmarks.restore --json $(BENCH_OUT)/restore.json

clean: ## remove caches, build leftovers and local state; .venv stays
	rm -rf .segments .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
