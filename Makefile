# Every target works on a fresh machine that has only Python >= 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RESULTS := results

.PHONY: demo test check bench fuzz schema sample-data clean

demo: $(INSTALLED)
	$(BIN)/python scripts/demo.py --output $(RESULTS)

test: $(INSTALLED) check
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python scripts/bench.py
	$(BIN)/python scripts/bench_ranking.py
	$(BIN)/python scripts/bench_uncertainty.py
	$(BIN)/python scripts/bench_synthesis.py

fuzz: $(INSTALLED)
	$(BIN)/python scripts/fuzz.py

schema: $(INSTALLED)
	$(BIN)/bratseval challenges schema > configs/challenge.schema.json

sample-data: $(INSTALLED)
	$(BIN)/python scripts/make_sample_data.py

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bratseval needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(RESULTS) build dist *.egg-info
