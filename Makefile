# Start with `make run` and `make test`; `make help` lists all targets.

# The first interpreter that is new enough; override it with PYTHON=...
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
    $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
VENV := .venv
IN_VENV := $(VENV)/bin/python
CLIENTS := tests/generated_clients
# --quiet twice: show only errors.
PIP := $(IN_VENV) -m pip --disable-pip-version-check --quiet --quiet
# Test processes: one per CPU core, at most 8, because each has its own database.
WORKERS ?= auto
TESTS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-all format check image image-check client-check bench screenshots lock clean \
    campaign-huge campaign-soak campaign-fuzz campaign-slow-clients campaign-kills campaign-long

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

run: $(VENV)/installed .env ## run the service with demo data on http://127.0.0.1:8000 (PORT=...)
	@exec $(IN_VENV) manage.py run_demo

test: $(VENV)/installed-dev ## install the test requirements and run the tests, in minutes (TESTS=tests/test_x.py)
	@$(IN_VENV) -m tests.programs
	@exec $(IN_VENV) -m pytest --numprocesses=$(WORKERS) --maxprocesses=8 --dist=worksteal -m "not slow" $(TESTS)

test-all: $(VENV)/installed-dev ## also run the slow tests: killed processes, load, generated cases
	@$(IN_VENV) -m tests.programs
	@exec $(IN_VENV) -m pytest --numprocesses=$(WORKERS) --maxprocesses=8 --dist=worksteal -m "not campaign" $(TESTS)

# djade takes files, no directories.
TEMPLATES := find . -path './*/templates/*.html' -not -path './.*' -not -path './$(CLIENTS)/*'
DJADE := $(VENV)/bin/djade --target-version 5.2

format: $(VENV)/installed-dev ## format the Python modules and the templates
	$(VENV)/bin/ruff format .
	$(TEMPLATES) -exec $(DJADE) {} +

check: export SECRET_KEY := only-for-checks-nothing-is-served-with-this-key-0123456789
check: export ALLOW_EMBEDDED_POSTGRES := 1
check: export ALLOWED_HOSTS := example.com
check: export DEBUG := 0
check: $(VENV)/installed-dev ## check lint, format, types, migrations, OpenAPI document, deployment settings
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(TEMPLATES) -exec $(DJADE) --check {} +
	$(VENV)/bin/mypy .
	$(IN_VENV) manage.py makemigrations --check --dry-run
	$(IN_VENV) manage.py spectacular --validate --fail-on-warn --file /dev/null
	$(IN_VENV) manage.py check --deploy --fail-level WARNING

image: ## build the image where no registry is reachable (as root on Debian; otherwise: docker compose build)
	@exec .ci/image build

image-check: ## build it and run it: read-only, without capabilities, with demo data
	@exec .ci/image check

client-check: $(VENV)/installed $(CLIENTS)/node_modules/installed ## lint the OpenAPI document, generate clients from it and run them
	@exec $(IN_VENV) $(CLIENTS)/run.py

bench: export DEBUG := 0
bench: export ALLOW_EMBEDDED_POSTGRES := 1
bench: $(VENV)/installed-dev .env ## run the benchmarks, print their tables and write benchmarks/results.json (BENCH=url_checks runs one)
	@set -e; for name in $(BENCH); do $(IN_VENV) -m benchmarks.$$name; done

BENCH ?= stats_at_size stats_latency stats_peers stats_requests home_page list_requests workbench export_rows import_rows import_formats batch_sync write_cost url_checks

# Hours in all: run once before a release, on a machine that does nothing else.
campaign-huge: export DEBUG := 0
campaign-huge: export ALLOW_EMBEDDED_POSTGRES := 1
campaign-huge: $(VENV)/installed-dev .env ## measure the stats of 10,000,000 products (more than 50 GB of disk space)
	$(IN_VENV) -m benchmarks.stats_at_size --products 100 10000000 --name stats_at_size_huge
	$(IN_VENV) -m benchmarks.stats_latency --products 100 10000000 --name stats_latency_huge

campaign-soak: export DEBUG := 0
campaign-soak: export ALLOW_EMBEDDED_POSTGRES := 1
campaign-soak: $(VENV)/installed-dev .env ## run a mixed load for an hour and look for leaks (MINUTES=60)
	$(IN_VENV) -m benchmarks.soak --minutes $(MINUTES)

MINUTES ?= 60

campaign-fuzz: export SCHEMATHESIS_CASES ?= 20000
campaign-fuzz: export GENERATED_CATALOGS ?= 50
campaign-fuzz: export SEQUENCES ?= 200
campaign-fuzz: $(VENV)/installed-dev ## send 20,000 generated requests to the API, import 50 generated catalogs of each kind
	$(IN_VENV) -m pytest --timeout=0 tests/test_api_schemathesis.py
	$(IN_VENV) -m pytest --timeout=0 --numprocesses=$(WORKERS) --maxprocesses=8 \
	    tests/test_import_roundtrip.py tests/test_tally_sequences.py

campaign-slow-clients: export SLOW_CLIENTS ?= 500
campaign-slow-clients: $(VENV)/installed-dev ## hold 500 slow connections of each kind, with nginx and without
	@$(IN_VENV) -m tests.programs
	$(IN_VENV) -m pytest --timeout=0 tests/test_serving_slow_clients.py tests/test_nginx.py

campaign-kills: export KILLS ?= 100
campaign-kills: $(VENV)/installed-dev ## kill the database, its clients and workers while they write, 100 times each
	$(IN_VENV) -m pytest --timeout=0 tests/test_crash.py tests/test_import_faults.py tests/test_url_faults.py

campaign-long: $(VENV)/installed-dev ## run the slow tests that test-all leaves out, such as kills, restarts and outages
	@$(IN_VENV) -m tests.programs
	$(IN_VENV) -m pytest --numprocesses=$(WORKERS) --maxprocesses=8 -m campaign

screenshots: $(VENV)/installed-dev ## take the pictures in docs/images again (needs Chromium)
	@exec $(IN_VENV) -m pytest tests/screenshots.py

lock: $(VENV)/installed-dev ## update requirements*.txt from pyproject.toml and requirements.in
	$(PIP) install uv
	$(IN_VENV) -m uv $(COMPILE) pyproject.toml --output-file requirements.txt
	$(IN_VENV) -m uv $(COMPILE) pyproject.toml --group dev --constraints requirements.txt --output-file requirements-dev.txt
	$(IN_VENV) -m uv $(COMPILE) $(CLIENTS)/requirements.in --output-file $(CLIENTS)/requirements.txt

COMPILE := pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-annotate --custom-compile-command "make lock"

clean: ## delete the virtual environment and tool caches; .data stays
	rm -rf $(VENV) staticfiles .mypy_cache .ruff_cache .pytest_cache .hypothesis

# --- Prerequisites -------------------------------------------------------------------------------

$(IN_VENV):
	@if [ -z "$(PYTHON)" ]; then \
	    echo "Python 3.11 or newer was not found: install it, or set PYTHON=/path/to/python3." >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$(PYTHON) is older than Python 3.11: set PYTHON=/path/to/python3 to a newer one." >&2; exit 1; }
	@echo "Creating the virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "The virtual environment could not be created; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/installed: requirements.txt | $(IN_VENV)
	@echo "Installing the packages of the service ..."
	@$(PIP) install --require-hashes -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	@echo "Installing the packages of the tests ..."
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@touch $@

# These packages include Node.js and Java.
$(CLIENTS)/.venv/installed: $(CLIENTS)/requirements.txt | $(IN_VENV)
	@echo "Installing the client generators ..."
	@$(IN_VENV) -m venv $(CLIENTS)/.venv
	@$(CLIENTS)/.venv/bin/python -m pip --disable-pip-version-check --quiet --quiet install --require-hashes -r $<
	@touch $@

$(CLIENTS)/node_modules/installed: $(CLIENTS)/package-lock.json $(CLIENTS)/.venv/installed
	@cd $(CLIENTS) && PATH="$$PWD/.venv/bin:$$PATH" npm ci --silent
	@touch $@

# Never overwritten: it contains the key that signs sessions.
.env: | $(IN_VENV)
	@umask 077 && $(IN_VENV) -c 'import secrets; print("DEBUG=1", "SECRET_KEY=" + secrets.token_urlsafe(50), sep="\n")' > .env.new
	@mv .env.new .env
