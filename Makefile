# fedkey's targets; `make help` lists them. Everything runs inside .venv, which `make setup` makes.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Where the demo keeps its runs, and what it may be told: `make demo DEMO=runs/try SET="train.num_steps=50"`.
DEMO ?= runs/demo
PRESET ?= tiny
SET ?=
WORDS ?= 6000
OVERRIDES := $(foreach pair,$(SET),--set $(pair))
SERVER := $(BIN)/fedkey-server
EXPORT := $(BIN)/fedkey-export

export FLWR_TELEMETRY_ENABLED = 0
export ORT_DISABLE_TELEMETRY = 1

.DELETE_ON_ERROR:
.PHONY: help setup demo keyboard check test test-slow test-gpu bench format picture clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/installed ## create .venv and install fedkey with everything it needs

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[server,export,web,dev]'
	@touch $@

demo: $(DEMO)/table.txt ## train, federate, export and compare on real chat, then open the keyboard
	@cat $(DEMO)/table.txt
	@if [ -t 0 ] && [ -t 1 ]; then exec $(BIN)/fedkey $(DEMO)/federated.bundle; \
	else echo "Open the keyboard with: make keyboard"; fi

keyboard: $(VENV)/installed ## open the keyboard on the demo's bundle
	@if [ -d $(DEMO)/federated.bundle ]; then exec $(BIN)/fedkey $(DEMO)/federated.bundle; \
	else echo "There is no bundle in $(DEMO) yet; run 'make demo' first." >&2; exit 2; fi

# Each stage skips itself when its run is finished and goes on where it stopped when it is not.
$(DEMO)/data/complete.json: | $(VENV)/installed
	$(SERVER) prepare $(PRESET) --data $(DEMO)/data $(OVERRIDES)

$(DEMO)/central/done.json: $(DEMO)/data/complete.json
	$(SERVER) train $(PRESET) --data $(DEMO)/data --run $(DEMO)/central $(OVERRIDES)

$(DEMO)/federated/done.json: $(DEMO)/central/done.json
	$(SERVER) federate $(PRESET) --data $(DEMO)/data --run $(DEMO)/federated --init $(DEMO)/central $(OVERRIDES)

# The control: as many further steps on the server's own text, each of twice as many rows as a phone's.
$(DEMO)/longer/done.json: $(DEMO)/federated/done.json
	$(SERVER) train $(PRESET) --data $(DEMO)/data --run $(DEMO)/longer --init $(DEMO)/central \
		--steps-of $(DEMO)/federated $(OVERRIDES)

$(DEMO)/%.bundle/manifest.json: $(DEMO)/%/done.json
	$(EXPORT) $(DEMO)/$* -o $(DEMO)/$*.bundle --data $(DEMO)/data --replace

# What is typed with it is corrected as validation authors and real misspellings taught. The manifest vouches for
# this file and is written after it; the touch tells make that it is done.
$(DEMO)/federated.bundle/correction.json: $(DEMO)/federated.bundle/manifest.json
	$(EXPORT) calibrate $(DEMO)/federated.bundle --text $(DEMO)/data/validation.jsonl --max-words 3000
	@touch $@

$(DEMO)/table.txt: $(DEMO)/central.bundle/manifest.json $(DEMO)/longer.bundle/manifest.json \
		$(DEMO)/federated.bundle/correction.json
	$(SERVER) evaluate --max-words $(WORDS) --text $(DEMO)/data/test.jsonl --json $(DEMO)/table.json --table $@ \
		"central=$(DEMO)/central.bundle" "central, longer=$(DEMO)/longer.bundle" "federated=$(DEMO)/federated.bundle" > /dev/null

.SECONDARY:

check: $(VENV)/installed ## ruff, mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(VENV)/installed ## the tests (at most 10 minutes on 2 cores)
	$(BIN)/pytest

test-slow: $(VENV)/installed ## the tests that take minutes
	$(BIN)/pytest -m slow

test-gpu: $(VENV)/installed ## the tests that need CUDA
	$(BIN)/pytest -m gpu

bench: $(VENV)/installed ## check and time the kernels against torch's, goals last (BENCH="--only loss --quick")
	PYTHONPATH=kernels $(BIN)/python -m bench.run $(BENCH)

picture: $(VENV)/installed ## redraw keyboard/picture.svg from the real keyboard on the demo's bundle
	$(BIN)/python keyboard/picture.py $(DEMO)/federated.bundle keyboard/picture.svg

clean: ## remove what tools left behind; runs and .venv stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
