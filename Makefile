# Two commands: `make demo` and `make test`. Each makes its virtual environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
WORKERS ?= 2
# A thread a worker; tests that need gigabytes or every core share one worker (xdist_group "heavy").
# Without the capture of logs, tracing compilers run a third faster.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -q --numprocesses $(WORKERS) \
  --dist loadgroup -p no:logging

.PHONY: demo test check gpu nano seeds fix clean

demo: $(VENV)/.installed
	$(BIN)/vbench demo

# Every check, in the order in which they fail fastest.
test: SELECT = not gpu and not network and not weights
test: lint
	$(PYTEST) -m "$(SELECT)"

check: SELECT = not slow and not gpu and not network and not weights
check: lint
	$(PYTEST) -m "$(SELECT)"

# On a machine with a GPU: its tests, the kernels' benchmark, the published sweeps and reports.
# A test that fails keeps nothing else from being measured; it fails the command at its end.
gpu: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -m gpu; echo $$? > $(VENV)/.gpu-tests
	$(BIN)/vbench bench kernels --threads 1,2 --out results/kernels --report reports/kernels
	$(BIN)/vbench sweep figure1 --out results/figure1
	$(BIN)/vbench sweep figure1_gpu --out results/figure1_gpu || test $$? -eq 1
	$(BIN)/vbench report results/figure1 results/figure1_gpu --out reports/figure1
	@exit $$(cat $(VENV)/.gpu-tests)

# The nano models on the motion benchmark, from nothing: weights, accuracies, report.
NANO = $(shell $(BIN)/vbench models '*_nano' --json | $(BIN)/python -c \
  'import json, sys; print(*(model["name"] for model in json.load(sys.stdin)))')
nano: $(VENV)/.installed
	for model in $(NANO); do \
	  $(BIN)/vbench train $$model --threads 1 && \
	  cp results/train-$$model/model.safetensors model_zoo/weights/nano/$$model.safetensors && \
	  rm -rf results/motion/$$model && \
	  $(BIN)/vbench eval $$model --out results/motion/$$model && \
	  for split in medium hard; do \
	    out=results/motion_lists/$$model-$$split; rm -rf $$out; \
	    $(BIN)/vbench eval $$model --split $$split --no-cost --out $$out || exit 1; \
	  done || exit 1; \
	done
	$(BIN)/python -m vbench.accuracy.motion.expected $(SCORED)
	$(BIN)/vbench report results/motion/* --out reports/accuracy \
	  --title "Accuracy on the motion benchmark"

# Some of them from another seed, to know how far one training differs from another.
SEEDED = vivit tsm r2plus1d uniformer video_swin videomamba
SCORED = results/motion/* results/motion_lists/* results/motion_seeds/*
seeds: $(VENV)/.installed
	for model in $(SEEDED:=_nano); do \
	  fit=results/train-$$model-seed1; \
	  $(BIN)/vbench train $$model --threads 1 --seed 1 --out $$fit || exit 1; \
	  for split in easy medium hard; do \
	    out=results/motion_seeds/$$model-seed1-$$split; rm -rf $$out; \
	    $(BIN)/vbench eval $$model --checkpoint $$fit/model.safetensors --split $$split \
	      --no-cost --out $$out || exit 1; \
	  done; \
	done
	$(BIN)/python -m vbench.accuracy.motion.expected $(SCORED)

fix: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: lint
lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Error: vbench needs Python 3.11 or later, $(PYTHON) is older" >&2; \
	    echo "Hint: make PYTHON=python3.12" >&2; exit 3; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing vbench into $(VENV)" >&2
	$(INSTALL) -e '.[native,video]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "installing what the tests need" >&2
	$(INSTALL) -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
