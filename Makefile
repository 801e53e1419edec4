# Everything that is made lies in .venv, runs/ and data/; a target that is up to date does nothing.
.DELETE_ON_ERROR:

PYTHON ?= python3.11
SEEDS ?= 0 1 2
BIN := .venv/bin

.PHONY: run test faults lint clean

run: .venv/ready
	$(BIN)/python experiments/run.py --seeds $(SEEDS) $(ARGS)

test: .venv/ready-dev
	$(BIN)/python -m pytest $(ARGS)

# Goes on where it was interrupted; every process of it trains on one thread.
faults: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python experiments/faults/run.py $(ARGS)

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/pip:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

# torch-scatter comes as source and compiles against the torch that is installed, so it has to come after it and without
# an environment of its own. PyG uses it where it is there; everything works without, so a failure is said and passed over.
.venv/ready: .venv/pip pyproject.toml
	$(BIN)/python -m pip install --quiet -e .
	$(BIN)/python -m pip install --quiet setuptools wheel
	@echo "building torch-scatter, which takes about five minutes the first time"
	$(BIN)/python -m pip install --quiet --no-build-isolation "torch-scatter>=2.1" \
	    || echo "torch-scatter could not be built: going on without it, segment operations are PyTorch's own"
	touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/python -m pip install --quiet -e ".[dev,timm,viz]"
	touch $@

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache
