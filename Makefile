PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := .venv-peers

.PHONY: demo test faults fuzz lint format bench mutants clean

demo: $(INSTALLED)  ## from nothing to tables and pictures on the bundled model
	HF_HUB_OFFLINE=1 $(BIN)/python -m saeattr attribute --topic cities --topic animals --out runs/demo

test: $(INSTALLED)
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist worksteal

faults: $(INSTALLED)  ## every fault that a study must outlast, counted: half an hour; `make test` tries a few of each
	SAEATTR_FAULTS=all HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist worksteal tests/faults

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(INSTALLED)  ## 100,000 cases of anything, wherever something is read from outside
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/fuzz -n 2 --dist worksteal --hypothesis-profile=fuzz

bench: $(PEERS)/.installed  ## what attribution costs, and what it costs with other tools: half an hour
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python scripts/benchmark.py cost
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(PEERS)/bin/python scripts/benchmark.py peers

# The peers stand in an environment of their own, which sees the project's packages beside theirs.
$(PEERS)/.installed: $(INSTALLED) scripts/benchmarks/peers/requirements.txt
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python scripts/benchmarks/peers/environment.py $(VENV)
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt -r scripts/benchmarks/peers/requirements.txt
	touch $@

# Half an hour: the core is changed one small thing at a time; the share that the tests notice stands in CONTRIBUTING.md.
mutants: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt 'mutmut>=3.3'
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children 2
	$(BIN)/mutmut results

# torch goes first and alone: another package's looser requirement would fetch a build with several GB of CUDA.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) runs
