# Every target works on a fresh machine that has only Python >= 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := .venv-bench
DOCS := .venv-docs
RESULTS := results

.PHONY: demo test test-slurm test-dask docs test-docs test-browser check bench fuzz schema sample-data clean

demo: $(INSTALLED)
	$(BIN)/python scripts/demo.py --output $(RESULTS)

test: $(INSTALLED) check
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

# Needs Debian's munge slurmctld slurmd slurm-client; skips without them.
test-slurm: $(INSTALLED)
	$(BIN)/python -m pytest -v -m slurm tests/integration/test_slurm_real.py

# In a folder of its own, since Dask is no part of what `make test` installs.
test-dask: .venv-dask/.installed
	.venv-dask/bin/python -m pytest -v -m dask tests/integration/test_dask_real.py

.venv-dask/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-dask
	.venv-dask/bin/python -m pip install --quiet --upgrade pip
	.venv-dask/bin/python -m pip install --quiet --editable '.[dask]' pytest
	touch $@

# The report in a headless Chromium; skips where there is none (Debian's chromium, or BRATSEVAL_CHROMIUM=path).
test-browser: .venv-browser/.installed
	.venv-browser/bin/python -m pytest -v -s -m browser tests/integration/test_report_browser.py

.venv-browser/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-browser
	.venv-browser/bin/python -m pip install --quiet --upgrade pip
	.venv-browser/bin/python -m pip install --quiet --editable . pytest playwright
	touch $@

# In a folder of its own, since `make test` needs none of it. It needs a package index once; the site needs no network.
docs: $(DOCS)/.installed
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --quiet --clean
	@echo "the documentation is in site/: open site/index.html"

# Needs Debian's chromium, without which the pages are not opened.
test-docs: $(DOCS)/.installed
	$(DOCS)/bin/python -m pip install --quiet pytest
	$(DOCS)/bin/python -m pytest -v -m docs tests/test_docs.py tests/integration/test_docs_site.py

$(DOCS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --upgrade pip
	$(DOCS)/bin/python -m pip install --quiet --editable '.[docs]'
	touch $@

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# BRATS2023_METRICS=path/to/BraTS-2023-Metrics times the official code itself.
bench: $(INSTALLED) $(PEERS)/.installed
	$(BIN)/python scripts/bench.py
	$(BIN)/python scripts/bench_ranking.py
	$(BIN)/python scripts/bench_uncertainty.py
	$(BIN)/python scripts/bench_synthesis.py
	$(BIN)/python scripts/bench_scale.py

# Public packages to compare with, in a folder of their own and each on its own: one that does not install is
# skipped. torch first, as the CPU build where there is one: from pip's own folders, else from its makers.
$(PEERS)/.installed:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --upgrade pip
	$(PEERS)/bin/python -m pip install --quiet --no-index --no-deps torch==2.13.0 \
	|| $(PEERS)/bin/python -m pip install --quiet --index-url https://download.pytorch.org/whl/cpu torch || true
	for package in nibabel torch exacta brats-evaluation monai seg-metrics surface-distance-based-measures; do \
	  $(PEERS)/bin/python -m pip install --quiet $$package || echo "does not install: $$package"; \
	done
	touch $@

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
	rm -rf $(VENV) $(PEERS) .venv-dask .venv-browser $(RESULTS) build dist *.egg-info
