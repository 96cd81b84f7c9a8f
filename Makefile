# Everything a developer types. The environment in .venv is made, and remade, when the lock changes.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# vLLM asks for other versions of numba and fastapi than the rest, so it has an environment of its own.
SERVE := .venv-serve
# What the tests want beside Python: a browser, what it and its driver lean on, engines of speech, and
# the tool that spells out a dictionary.
DEBIAN := chromium fonts-liberation libatomic1 espeak-ng flite festival festvox-ru hunspell-tools
export HF_HUB_OFFLINE ?= 1
export GRADIO_ANALYTICS_ENABLED := False
export NO_MKDOCS_2_WARNING := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo serve test packages check lint types docs site train-nano bench results lock clean
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

# Libraries of training on a GPU; their tests need none.
$(VENV)/.gpu: requirements-gpu.lock $(VENV)/.installed
	$(BIN)/pip install --quiet --no-deps -r requirements-gpu.lock
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
test: $(VENV)/.gpu $(SERVE)/.installed packages lint types ## everything: style, types, all tests, documentation
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
	$(SERVE)/bin/python -m pytest tests/serving
	$(MAKE) docs

packages: ## install the Debian packages that the tests need
	@missing=; for name in $(DEBIAN); do \
		dpkg-query -W -f '$${db:Status-Status}' $$name 2>/dev/null | grep -qx installed || missing="$$missing $$name"; done; \
	if [ -n "$$missing" ]; then if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
		then apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
		else echo "The tests need these Debian packages; as root: apt-get install$$missing"; fi; fi

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

bench: $(VENV)/.installed ## measure the bundled model; needs the manifests of 'borealis data nano'
	$(BIN)/python -m borealis.evaluation.benchmark --data data --output results
	$(MAKE) results

results: $(VENV)/.installed ## refresh the table of the README from results/ (the site makes its own)
	$(BIN)/python -m borealis.evaluation.report README.md

# One list for every Python from the lowest that pyproject.toml promises; what only some of them or
# some systems need has a marker. Versions that are in a list stay unless something speaks against
# them: to get newer ones, delete its lines first. pip installs the lists without asking further.
RESOLVE = UV_CUSTOM_COMPILE_COMMAND="make lock" build/lock/bin/uv pip compile --quiet --universal \
	--python-version 3.11.2 --fork-strategy fewest --no-annotate -c constraints.txt

lock: ## resolve the requirements*.lock anew
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/pip install --quiet uv
	$(RESOLVE) pyproject.toml --extra all --group build -o requirements.lock
	$(RESOLVE) pyproject.toml --group build --group serve-cpu --no-emit-package triton -o requirements-serve.lock
	$(RESOLVE) --group gpu-tests --no-deps -o requirements-gpu.lock

clean: ## remove what was built (not data or runs)
	rm -rf $(VENV) $(SERVE) site build .pytest_cache .mypy_cache .ruff_cache .hypothesis
