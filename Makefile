# Two commands on a fresh machine: `make atlas` maps the embedded models, `make test` checks everything.

PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready

# Threads that spin while they wait slow small models down by a lot on a busy machine.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: atlas test ui docs bench validate screenshots tutorial lock format clean

atlas: $(READY)
	@$(BIN)/vesalius run --model reference --model planted

test: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

ui: $(READY)
	@$(BIN)/vesalius ui

# The site of docs/, in build/site: open build/site/index.html. A broken link fails it.
docs: $(READY)
	$(BIN)/zensical build --strict

bench: $(READY)
	$(BIN)/python benchmarks/extraction.py
	$(BIN)/python benchmarks/lesions.py
	$(BIN)/python benchmarks/patching.py
	$(BIN)/python benchmarks/saliency.py
	$(BIN)/python benchmarks/offload.py
	$(BIN)/python benchmarks/estimates.py
	$(BIN)/python benchmarks/statistics.py
	$(BIN)/python -m benchmarks.storage
	$(BIN)/python -m benchmarks.atlas_page

# Trains the planted models and judges every technique by them, then the consensus by models held aside: over an hour.
# It goes on where it was stopped.
validate: $(READY)
	$(BIN)/vesalius validate --keep
	$(BIN)/vesalius validate --aside --keep

# The pictures of docs/tour.md and of the atlas, after `make atlas`. It needs a Chromium and playwright.
screenshots: $(READY)
	$(BIN)/python tests/screenshots.py
	$(BIN)/python tests/atlas_pictures.py

# What the commands of docs/tutorial.md print, after `make atlas`.
tutorial: $(READY)
	$(BIN)/python tests/tutorial.py

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Takes the newest versions that pyproject.toml allows, but for torch, whose pin picks the CPU build.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet torch==2.13.0 --editable '.[dev]'
	build/lock/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean:
	rm -rf .venv build

$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $(READY)
