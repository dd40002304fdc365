# Everything is set up by itself: `make demo`, `make serve` and `make test` need Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help

.PHONY: help
help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

$(BIN)/bartender: pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Python 3.11 or later is needed: make PYTHON=python3.11 …' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# As constraints too: else pip looks for the newest of what another package wants with extras.
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.txt -c requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(BIN)/bartender requirements-dev.txt
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt -c requirements-dev.txt
	@touch $@

.PHONY: install
install: $(BIN)/bartender ## Make the virtual environment and install

.PHONY: demo
demo: $(BIN)/bartender ## Start everything, run the word count of the README, stop
	@$(BIN)/bartender demo

.PHONY: serve
serve: $(BIN)/bartender ## Start everything and keep serving
	@$(BIN)/bartender demo --keep-serving

.PHONY: test
test: check ## All checks and tests
	$(BIN)/python -m pytest -n 4 --dist loadgroup --no-loadscope-reorder

.PHONY: test-long
test-long: $(VENV)/.dev ## Tests that take minutes: faults before a cluster, newer versions of Slurm, machines that vanish, HADDOCK3
	$(BIN)/python -m pytest -m long

.PHONY: check
check: $(VENV)/.dev ## Lint, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: bench
bench: $(VENV)/.dev ## Print the table of docs/performance.md; takes minutes; ROWS=, AGAINST=another checkout, WAITING=jobs
	$(BIN)/python -m tests.bench $(ROWS) $(if $(AGAINST),--against $(AGAINST)) $(if $(WAITING),--waiting $(WAITING))

.PHONY: chaos
chaos: $(VENV)/.dev ## Kill, freeze and restart everything under load; SEED=, JOBS=, FAULTS=
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS)) $(if $(FAULTS),--faults $(FAULTS))

.PHONY: soak
soak: $(VENV)/.dev ## Many jobs through one server, to see that nothing leaks; JOBS=
	$(BIN)/python -m tests.chaos.soak $(if $(JOBS),--jobs $(JOBS))

.PHONY: hosts
hosts: $(VENV)/.dev ## 500 jobs while hosts are cut off for a while or for good, frozen and killed; needs root
	$(BIN)/python -m tests.hosts

.PHONY: requirements
requirements: ## Compile the pinned versions from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra build pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra build --extra dev --extra s3 -c requirements.txt pyproject.toml -o requirements-dev.txt
