SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
DEMO_SECONDS ?=
BENCH_OUT ?= benchmarks/out
# the text model comes with a package: nothing is asked of a model hub
export HF_HUB_OFFLINE ?= 1
STAMP := .venv/.installed

.PHONY: help venv demo check test test-pure sanitize wheel fuzz fuzz-core bench bench-restore clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## the environment .venv with all packages (about 3 GB the first time)

$(STAMP): pyproject.toml constraints.txt setup.py $(wildcard state/c/*.[ch] state/c/core/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …" >&2; exit 1; }
	@[ -x .venv/bin/python ] || { \
		echo "New environment .venv: about 3 GB of packages (PyTorch and its GPU libraries are most of it) are fetched once."; \
		$(PYTHON) -m venv .venv; }
	@.venv/bin/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[dev]' \
		| sed -unE 's/^ *Downloading ([^ ]+) (\([0-9.]+ [MG]B\)).*/  fetching \1 \2/p; s/^Installing collected.*/  installing (a minute or more)/p'
	@touch $@
	@echo "The environment .venv is ready."

demo: venv ## Kafka, a simulated town and its segments on this machine (DEMO_SECONDS=60 sets how long)
	@.venv/bin/segments demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

check: venv ## ruff and mypy
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

test: check ## check, then all tests on a real Kafka, those without a service in pure Python, sanitize, fuzz, wheel
	.venv/bin/python -m pytest -n 2 --dist loadgroup # no groups: each test goes to whoever is free
	@$(MAKE) --no-print-directory test-pure sanitize fuzz wheel

test-pure: venv ## the tests that need no service, without the compiled module
	SEGMENTS_PURE_PYTHON=1 .venv/bin/python -m pytest -q --durations=0 --durations-min=10 -n 2 \
		-m 'not compiled and not kafka and not browser' tests/unit tests/properties tests/contracts tests/golden

# without network and in no environment of its own: what it needs is in .venv. Tried where nothing else of the tree is
WHEEL := build/wheel
wheel: venv ## a wheel for this Python in dist/, its compiled module tried where it is installed
	@rm -rf $(WHEEL) && mkdir -p $(WHEEL) dist && rm -f dist/live_segments-*.whl
	.venv/bin/python -m pip -q wheel --disable-pip-version-check --no-build-isolation --no-deps --wheel-dir dist .
	.venv/bin/python -m pip -q install --disable-pip-version-check --no-deps --no-index --target $(WHEEL) dist/live_segments-*.whl
	cd $(WHEEL) && PYTHONPATH=$$PWD $(CURDIR)/.venv/bin/python -P $(CURDIR)/tests/try_wheel.py $$PWD

# a copy of the tree, so that the module in use stays as it is; the interpreter itself has no sanitizer, so it is preloaded
SANITIZED := build/sanitized
SANITIZE := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
# nothing is counted without Python's own allocator, so there the acts of test_native_leaks.py are only gone through
sanitize: venv ## the compiled module's tests under the address and undefined-behaviour sanitizers
	@rm -rf $(SANITIZED) && mkdir -p $(SANITIZED)
	@git ls-files -z --cached --others --exclude-standard | xargs -0 -I{} sh -c '[ ! -e "{}" ] || cp --parents "{}" $(SANITIZED)'
	@cd $(SANITIZED) && CFLAGS="$(SANITIZE)" LDFLAGS="-fsanitize=address,undefined" $(CURDIR)/.venv/bin/python setup.py -q build_ext --inplace
	@grep -q __asan_report $(SANITIZED)/state/_fold*.so || { echo "the module was built without the sanitizers" >&2; exit 1; }
	cd $(SANITIZED) && PYTHONPATH=. PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 SEGMENTS_CORE_CFLAGS="$(SANITIZE)" \
		LD_PRELOAD="$$(gcc -print-file-name=libasan.so):$$(gcc -print-file-name=libubsan.so)" \
		$(CURDIR)/.venv/bin/python -m pytest -q --durations=0 --durations-min=10 -n 2 -p no:cacheprovider \
		tests/properties/test_{engines,engine_loads,native_record,native_record_memory,native_read,native_forms,quiet_fold,tables,fetched}.py \
		tests/properties/test_native_leaks.py -k "not left_behind_is_seen" \
		tests/properties/test_core_{xxh3,fuzz,block,turns,fold,fold_bounds}.py tests/contracts/test_{record,record_bounds,table,arena,behind}_contract.py \
		tests/unit/test_native_turns.py

fuzz: venv ## any bytes at the doors of the compiled module, for a minute (FUZZ_SECONDS)
	.venv/bin/python -m tests.fuzz.minute --seconds $(or $(FUZZ_SECONDS),60)

# with clang its libFuzzer, which looks for new ways through the code; without, blocks made by the verbs and damaged
FUZZ_SOURCES := -std=c11 -ffp-contract=off -g -O1 -Istate/c/core state/c/core/*.c tests/c/fuzz_block.c -lpthread
fuzz-core: ## whatever bytes come to the compiled core's door, for an hour (FUZZ_SECONDS)
	@mkdir -p build/core/corpus
	@if command -v clang >/dev/null; then \
		clang -DLIBFUZZER -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined $(FUZZ_SOURCES) -o build/core/fuzz_block; \
		build/core/fuzz_block -max_total_time=$(or $(FUZZ_SECONDS),3600) build/core/corpus; \
	else \
		cc -fsanitize=address,undefined -fno-sanitize-recover=undefined $(FUZZ_SOURCES) -o build/core/fuzz_block; \
		end=$$(($$(date +%s) + $(or $(FUZZ_SECONDS),3600))); seed=$$RANDOM; \
		while [ $$(date +%s) -lt $$end ]; do echo "seed $$seed"; build/core/fuzz_block $$seed 20000; seed=$$((seed + 1)); done; \
	fi

bench: venv ## all benchmarks (about two hours) and the tables of docs/performance.md
	@mkdir -p $(BENCH_OUT)
	.venv/bin/python -m benchmarks.throughput --peers --jvm --json $(BENCH_OUT)/throughput.json --plot docs/throughput.svg
	.venv/bin/python -m benchmarks.latency --comments --json $(BENCH_OUT)/latency.json --plot docs/latency.svg
	.venv/bin/python -m benchmarks.encode --json $(BENCH_OUT)/encode.json
	.venv/bin/python -m benchmarks.forms --json $(BENCH_OUT)/forms.json
	.venv/bin/python -m benchmarks.hotpath --batch 100000 --json $(BENCH_OUT)/hotpath.json
	.venv/bin/python -m benchmarks.scale --jvm --json $(BENCH_OUT)/scale.json
	.venv/bin/python -m benchmarks.partitions --json $(BENCH_OUT)/partitions.json
	.venv/bin/python -m benchmarks.memory --json $(BENCH_OUT)/memory.json --plot docs/memory.svg
	.venv/bin/python -m benchmarks.fame --json $(BENCH_OUT)/fame.json
	.venv/bin/python -m benchmarks.tables

bench-restore: venv ## restore and failover with a million users
	.venv/bin/python -m benchmarks.restore --json $(BENCH_OUT)/restore.json

clean: ## remove caches, build leftovers and local state; .venv stays
	rm -rf .segments .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
