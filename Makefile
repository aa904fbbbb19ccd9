# Two commands for a newcomer: `make demo` and `make test`. Both set up everything in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SPEED ?= 60
BUDGET_S ?= 600

.PHONY: demo test lint bench proof clean help

help:  ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/demo.stamp  ## Watch a simulated street of prepaid homes (about two minutes)
	$(BIN)/gateway demo --speed $(SPEED)

test: $(VENV)/dev.stamp  ## Run the tests (about six minutes)
	$(BIN)/python -m pytest

lint: $(VENV)/dev.stamp  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/dev.stamp  ## Measure: bus use, latencies, card writes, memory, start-up
	$(BIN)/python -m tests.bench

proof: $(VENV)/dev.stamp  ## Try to break it: simulation, power cuts, kills, fuzzing, planted bugs (BUDGET_S=600)
	$(BIN)/python -m tests.proof --budget-s $(BUDGET_S)

clean:  ## Remove everything that was made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Debian splits venv from Python; where it is missing, it is installed, or the way is shown.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; this is: $$($(PYTHON) --version)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { \
		rm -rf $(VENV); echo "Python's venv module is missing: installing python3-venv"; \
		if [ "$$(id -u)" = 0 ]; then apt-get install -y -qq python3-venv; \
		else sudo apt-get install -y -qq python3-venv; fi && $(PYTHON) -m venv $(VENV); } || \
		{ echo "Please run: sudo apt install python3-venv"; exit 1; }

$(VENV)/demo.stamp: $(VENV)/bin/pip pyproject.toml
	@echo "Setting up in $(VENV) (a minute or two, once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/bin/pip pyproject.toml
	@echo "Setting up in $(VENV) (a minute or two, once)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/demo.stamp
