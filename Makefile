# hwsim: set up, try, test. Needs Python >= 3.11 with venv, and make; the rest is installed into .venv once.
#
#   make demo     compare early_kill = 0 and 1 on a shipped scenario: table, sentence, plots
#   make test     lint, types, import rules, tests                    (at most 5 minutes on 2 cores)
#   make verify   the slow statistical proofs                         (at most 20 minutes on 2 cores)
#   make test-newest, test-lowest   the fast tests with the newest Python here, or with the lowest versions of all
#                 libraries that pyproject.toml allows; what cannot be had here is said and skipped
#   make experiments   questions argued since 2009: tables, answers, figures (about 10 minutes)
#   make golden   renew tests/whole/golden after a change of results (say so in CHANGELOG)
#   make bench    benchmarks, timed; leave the machine alone meanwhile
#   make same-bytes OLD=commit   does the working tree leave the bytes of a commit? QUICK=--quick plays less
#   make mutation   would the tests notice? some 400 changes of the model, one at a time (hours; goes on where it was)
#   make clean    remove caches and the demo's results; .venv stays
#
# Another Python: make PYTHON=/path/to/python3.12 test

.POSIX:
.SUFFIXES:
.DELETE_ON_ERROR:
.PHONY: help demo test suite verify test-newest test-lowest experiments golden bench same-bytes mutation lint format schema clean

PYTHON ?= python3
WORKERS ?= 2
VENV = .venv
BIN = $(VENV)/bin
SCENARIO = scenarios/database-server.toml
DEMO = demo-results
# Bytecode is kept whatever the environment says: the tests start many processes.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
SUITE = -n $(WORKERS) --dist loadgroup --benchmark-disable --ignore=tests/verification tests
FAST = --ignore=tests/twin --ignore=tests/whole --ignore=tests/oracles $(SUITE)

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/runtime
	@mkdir -p $(DEMO)
	@rm -f $(DEMO)/early-kill.sqlite $(DEMO)/early-kill.sqlite-wal $(DEMO)/early-kill.sqlite-shm
	$(BIN)/hwsim compare $(SCENARIO) --out $(DEMO)/early-kill.sqlite
	$(BIN)/hwsim plot $(DEMO)/early-kill.sqlite -o $(DEMO)/plots
	@echo
	@echo "The plots are in $(DEMO)/plots, the results in $(DEMO)/early-kill.sqlite (sqlite3 and pandas read it)."

test: $(VENV)/dev
	$(MAKE) -j2 lint suite

suite: $(VENV)/dev
	$(PYTEST) $(SUITE)

verify: $(VENV)/dev
	$(PYTEST) -n $(WORKERS) tests/verification

test-newest test-lowest: $(VENV)/created
	$(BIN)/python -m tools.elsewhere $(@:test-%=%) $(FAST)

experiments: $(VENV)/runtime
	$(BIN)/python -m experiments --out experiment-results

golden: $(VENV)/dev
	$(BIN)/python -m tests.whole.golden

bench: $(VENV)/dev
	$(PYTEST) -s -p no:cacheprovider benchmarks

same-bytes: $(VENV)/dev
	@test -n "$(OLD)" || { echo "Name a commit: make same-bytes OLD=main" >&2; exit 2; }
	$(BIN)/python -m tools.same_bytes $(OLD) --workers $(WORKERS) $(QUICK)

mutation: $(VENV)/mutation
	$(BIN)/python -m tools.mutation

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hwsim schema | diff -u scenarios/hwsim.schema.json -

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(VENV)/runtime
	$(BIN)/hwsim schema > scenarios/hwsim.schema.json
	$(BIN)/python -m tools.keys > docs/keys.md
	$(BIN)/python -m tools.verbs > docs/verbs.md
	$(BIN)/python -m tools.columns > docs/columns.md
	$(BIN)/python -m tools.files > docs/files.md

# The two stamps: what is installed is renewed when pyproject.toml changes and never otherwise, so that
# everything works without a network afterwards. Editable: a changed source file needs no new install.
$(VENV)/runtime: $(VENV)/created pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/dev: $(VENV)/created pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(VENV)/runtime $@

$(VENV)/mutation: $(VENV)/dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mutation]'
	@touch $@

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "hwsim needs Python >= 3.11. Name one: make PYTHON=/path/to/python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

clean:
	rm -rf $(DEMO) experiment-results build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -exec rm -rf {} +
