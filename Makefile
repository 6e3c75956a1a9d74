# Everything happens in .venv; nothing outside this folder is touched.
PYTHON ?= python3
# A CPU build of torch is a tenth of the size: make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check simulate clean

demo: .venv/ready ## run the main job on the embedded cloud
	$(BIN)/runspec specs/cpt.yaml --phase basic

test: .venv/ready-for-tests ## run the whole test suite, real training included
	$(BIN)/python -m pytest -n auto --maxprocesses 4

check: .venv/ready-for-tests ## what CI checks beside the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/runspec validate specs
	$(BIN)/runspec schema --check
	$(BIN)/runspec render --check
	$(BIN)/python docs/generate.py --check

simulate: .venv/ready-for-tests ## thousands of seeded schedules of faults and crashes, new ones for every commit
	$(BIN)/python -m tests.sim.campaign --figures ci
	$(BIN)/python -m pytest -m sweep -n auto
	RUNSPEC_KILLS=20 $(BIN)/python -m pytest -n auto tests/cli/test_killed_for_real.py

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| (echo "runspec needs Python 3.11 or newer; name one with PYTHON=python3.12"; exit 1)
	@echo "setting up .venv (a few minutes the first time: torch is large)"
	$(PYTHON) -m venv .venv
ifneq ($(TORCH_INDEX),)
	$(PIP) 'torch>=2.6,<2.14' --index-url $(TORCH_INDEX)
endif
	$(PIP) -e '.[train]'
	@touch $@

.venv/ready-for-tests: .venv/ready
	$(PIP) -e '.[train,stats,sdk,dev]'
	@touch $@

clean:
	rm -rf .venv .runspec
