# make demo    install, start a Prefect server and the sample source, collect it
# make test    install what the tests need, run all of them
# make faults  kill and freeze a run at every step, storms of verbs, then see that planted faults are noticed (an hour)
# make model   sources that change while they are read, and runs that die: SEEDS of them on stores in memory, STORED on
#              SQLite (a hundred thousand and a thousand, half an hour)
# make test-authz  50,000 requests that have to be refused, by random routes, keys and bodies (two minutes)
# make test-browser  Prefect's page in Chromium, which has to be installed (Debian: chromium); a minute
# make kiwi    collect a real Kiwi TCMS server and compare the counts (three minutes at the first start)
# make bench   the full stack beside a plain loop, Scrapy and dlt (half an hour)
# make bench-api  the service over HTTP: an import, reads and runs at a pace (three minutes)
# make bench-control  verbs at a pace while ten runs are under way (eight minutes)
# make bench-embedded  what it does in a second, beside a bare loop (a quarter of an hour)
# make lock    write the lock files anew (needs uv)

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq --no-input

.PHONY: demo test faults model kiwi bench bench-embedded bench-api bench-control test-authz test-browser lint lock clean

demo: .venv/run
	@$(BIN)/python -m deployments.demo

test: .venv/dev
	@.ci/servers
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

faults: .venv/dev
	@.ci/servers
	@$(BIN)/python -m pytest tests/faults tests/acceptance/test_placement.py -m faults -n 2 --dist loadfile
	@$(BIN)/python tests/faults/sabotage.py

SEEDS ?= 100000
STORED ?= 1000
STORMS ?= 2000
model: .venv/dev
	@COLLECT_RULE_SEEDS=$(SEEDS) COLLECT_MODEL_SEEDS=$(STORED) COLLECT_STORMS=$(STORMS) $(BIN)/python -m pytest tests/properties/test_rules.py tests/properties/test_modes.py tests/properties/test_storms.py -n 2 --dist load --timeout 0

REQUESTS ?= 50000
test-authz: .venv/dev
	@COLLECT_AUTHZ=$(REQUESTS) $(BIN)/python -m pytest tests/deployments/api/test_authorisation.py

test-browser: .venv/browser
	@test -x /usr/bin/chromium || { echo "it needs Chromium: apt-get install chromium"; exit 1; }
	@$(BIN)/python -m pytest tests/browser -m browser

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

bench-control: .venv/run
	@$(BIN)/python -m bench.control

bench-embedded: .venv/run
	@$(BIN)/python -m bench.embedded

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --group build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --group dev pyproject.toml -c requirements.lock -o requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header bench/requirements.in -o bench/requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header tests/browser/requirements.in -c requirements-dev.lock -o tests/browser/requirements.lock

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

.venv/browser: .venv/dev tests/browser/requirements.lock
	@$(PIP) install --no-deps --require-hashes -r tests/browser/requirements.lock
	@touch $@

.venv/bench/made: .venv/made bench/requirements.lock
	@echo "installing what the benchmark compares with into .venv/bench ..."
	@$(PYTHON) -m venv .venv/bench
	@.venv/bench/bin/python -m pip --disable-pip-version-check -qq --no-input install --no-deps --require-hashes -r bench/requirements.lock
	@touch $@

clean:
	rm -rf .venv .bench
