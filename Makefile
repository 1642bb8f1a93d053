# make demo    install, start a Prefect server and the sample source, collect it
# make test    install what the tests need, run all of them
# make faults  kill and freeze a run at every step, then see that planted faults are noticed (forty minutes)
# make model   sources that change while they are read, and runs that die: SEEDS of them on stores in memory, STORED on
#              SQLite (a hundred thousand and a thousand, half an hour)
# make kiwi    collect a real Kiwi TCMS server and compare the counts (three minutes at the first start)
# make bench   the full stack beside a plain loop, Scrapy and dlt (half an hour)
# make bench-api  the service over HTTP: an import, reads and runs at a pace (three minutes)
# make bench-embedded  what it does in a second, beside a bare loop (a quarter of an hour)
# make lock    write the lock files anew (needs uv)

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq --no-input

.PHONY: demo test faults model kiwi bench bench-embedded bench-api lint lock clean

demo: .venv/run
	@$(BIN)/python -m deployments.demo

test: .venv/dev
	@.ci/servers
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

faults: .venv/dev
	@.ci/servers
	@$(BIN)/python -m pytest tests/faults -m faults -n 2 --dist loadfile
	@$(BIN)/python tests/faults/sabotage.py

SEEDS ?= 100000
STORED ?= 1000
model: .venv/dev
	@COLLECT_RULE_SEEDS=$(SEEDS) COLLECT_MODEL_SEEDS=$(STORED) $(BIN)/python -m pytest tests/properties/test_rules.py tests/properties/test_modes.py -n 2 --dist load --timeout 0

lint: .venv/dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/deptry .

kiwi: .venv/dev
	@test -n "$(KIWI)" || { echo "name a running Kiwi server: make kiwi KIWI=http://127.0.0.1:18080"; exit 2; }
	@$(BIN)/python -m pytest tests/acceptance/test_kiwi.py --kiwi "$(KIWI)" -s

bench: .venv/dev .venv/bench/made
	@.ci/servers
	@$(BIN)/python -m bench.full

bench-api: .venv/dev
	@.ci/servers
	@$(BIN)/python -m bench.api

bench-embedded: .venv/run
	@$(BIN)/python -m bench.embedded

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --group build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --group dev pyproject.toml -c requirements.lock -o requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header bench/requirements.in -o bench/requirements.lock

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "platform-collect needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/run: .venv/made requirements.lock pyproject.toml
	@echo "installing into .venv ..."
	@$(PIP) install --no-deps --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev: .venv/made requirements-dev.lock pyproject.toml
	@echo "installing what the tests need into .venv ..."
	@$(PIP) install --no-deps --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@ .venv/run

.venv/bench/made: .venv/made bench/requirements.lock
	@echo "installing what the benchmark compares with into .venv/bench ..."
	@$(PYTHON) -m venv .venv/bench
	@.venv/bench/bin/python -m pip --disable-pip-version-check -qq --no-input install --no-deps --require-hashes -r bench/requirements.lock
	@touch $@

clean:
	rm -rf .venv .bench
