# Everything that is made lies in .venv, runs/ and data/; a target that is up to date does nothing.
.DELETE_ON_ERROR:

# The first Python from 3.11 to 3.14 that starts.
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11 python,$(shell \
    $(name) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null && echo $(name))))
SEEDS ?= 0 1 2
BIN := .venv/bin
# make run LOCKED=1 sets .venv up with the versions of requirements.lock.
PINS := $(if $(LOCKED),--constraint requirements.lock)

# Tests run side by side, one process a core. Those of a file stay together: they share what is slow to make, and the
# commands of a page go on with what those before them have left.
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: run test scatter docs faults lint lock audit clean

run: .venv/ready
	$(BIN)/python experiments/run.py --seeds $(SEEDS) $(ARGS)

test: .venv/ready-dev
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 8 --dist loadfile $(ARGS)

# The API reference, to begin with build/docs/index.html; the guides are Markdown, in experiments/guide.
docs: .venv/ready-docs
	$(BIN)/python experiments/guide/api.py build/docs

# Goes on where it was interrupted; every process of it trains on one thread.
faults: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python experiments/faults/run.py $(ARGS)

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Versions only, whatever a package was installed from. Hashes are those of an index's files, so they take an index:
# pip-compile --generate-hashes --constraint requirements.lock pyproject.toml
lock: .venv/ready-dev
	$(BIN)/python -m pip list --format=freeze --exclude-editable --exclude pip --exclude wheel --exclude trg_pyg \
	    --disable-pip-version-check > .venv/versions
	{ sed '/^[^#]/,$$d' requirements.lock; LC_ALL=C sort -f .venv/versions; } > .venv/lock
	mv .venv/lock requirements.lock

# Asks a database of known vulnerabilities, so it takes the network.
audit: build/audit/ready
	build/audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip $(ARGS)

# Apart from .venv, whose packages it looks at.
build/audit/ready:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet pip-audit
	touch $@

.venv/pip:
	@test -n "$(PYTHON)" || { echo "no Python from 3.11 to 3.14 was found: install one, or name it: make PYTHON=FILE"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

.venv/ready: .venv/pip pyproject.toml
	$(BIN)/python -m pip install --quiet $(PINS) -e ".[lab]"
	touch $@

.venv/ready-dev: .venv/ready
	$(BIN)/python -m pip install --quiet $(PINS) -e ".[dev]"
	touch $@

# torch-scatter comes as source and compiles against the torch that is installed, so it has to come after it and without
# an environment of its own. PyG uses it where it is there; everything works without.
scatter: .venv/ready
	$(BIN)/python -m pip install --quiet setuptools wheel
	@echo "compiling torch-scatter, which takes a C++ compiler and five minutes or more"
	$(BIN)/python -m pip install --quiet $(PINS) --no-build-isolation "torch-scatter>=2.1"

.venv/ready-docs: .venv/ready
	$(BIN)/python -m pip install --quiet $(PINS) -e ".[docs]"
	touch $@

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache
