# Needs git, make and Python 3.11 to 3.13. Every command makes the environment first if there is none.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Several processes, each with whole files or folders (tests/conftest.py); each takes about 1 GB.
PYTEST := $(PY) -m pytest -q -n auto --maxprocesses=4 --dist=loadscope

# Says in one sentence what is wrong with $(PYTHON); its syntax is one that Python 2 reads too.
define CHECK_PYTHON
import sys
try:
    import ensurepip, venv
except ImportError:
    venv = None
here = "$(PYTHON) is Python %d.%d" % sys.version_info[:2]
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    sys.exit(here + ", and TensorFlow 2.21 needs 3.11 to 3.13: name one, as in make PYTHON=python3.11")
if venv is None:
    sys.exit(here + " without its venv module: install it (Debian and Ubuntu: python3-venv)")
endef
export CHECK_PYTHON

# The stamp bears the time at which the installation began and is put in place when all of it is
# done: a half-made environment never counts, nor one older than the two files it comes from.
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help train test test-slow lint format bench cuda clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

train: $(STAMP) ## train the embedded digits task
	$(PY) -m trainer.main --flagfile=configs/digits.flags

test: $(STAMP) ## the fast tests (PYTEST_ARGS="-k name" narrows them)
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-slow: $(STAMP) ## the rest: the full property matrix
	$(PYTEST) -m slow $(PYTEST_ARGS)

lint: $(STAMP) ## ruff and mypy; changes nothing
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy trainer

format: $(STAMP) ## what ruff can mend by itself
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(STAMP) ## throughput of the tape loop against fit and the bare step
	$(PY) -m benchmarks.throughput

cuda: $(STAMP) ## add NVIDIA's libraries to the environment (a 2.8 GB download)
	$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e '.[cuda]'

clean: ## remove the environment and the caches; runs/ stays
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
		echo "There is no $(PYTHON) here: name a Python 3.11 to 3.13, as in make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@if [ ! -e $(STAMP) ]; then \
		if [ -e $(STAMP).began ]; then rm -rf $(VENV); fi; \
		$(PYTHON) -m venv $(VENV); \
	fi
	@touch $(STAMP).began
	$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@mv $(STAMP).began $(STAMP)
