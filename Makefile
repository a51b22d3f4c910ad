# make demo | test | check | coverage | bench | docs | clean. The first use makes .venv; nothing but Python 3.11 is needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python $(wildcard tools/pip-*.whl)/pip --disable-pip-version-check --quiet
JOBS ?= auto
ARGS ?=

.PHONY: demo test check coverage lint types layers bench docs clean

demo: $(VENV)/.runtime
	$(BIN)/certferry demo $(ARGS)

test: $(VENV)/.development lint types layers
	$(BIN)/pytest -n $(JOBS) --dist loadgroup $(ARGS)

# Apart from make test: tracing every line costs a third of the time.
coverage: $(VENV)/.development
	$(BIN)/pytest -n $(JOBS) --dist loadgroup --cov --cov-report=term $(ARGS)

check: $(VENV)/.development lint types layers
	$(BIN)/pytest -n $(JOBS) --dist loadgroup -q -m "not slow" tests/unit --ignore-glob='*/test_web_*' $(ARGS)

lint: $(VENV)/.development
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.development
	$(BIN)/mypy

layers: $(VENV)/.development
	$(BIN)/lint-imports

bench: $(VENV)/.development
	$(BIN)/python tools/performance $(ARGS)

docs: $(VENV)/.development
	$(BIN)/python tools/docs
	$(BIN)/python tools/troubleshooting
	$(BIN)/python tools/faults-table

$(BIN)/python:
	$(PYTHON) -m venv --without-pip $(VENV)

$(VENV)/.runtime: requirements/runtime.lock pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements/runtime.lock
	printf '%s\n' "$(CURDIR)/src" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/certferry.pth"
	printf '#!%s\nfrom certferry.cli.main import run\nrun()\n' "$(CURDIR)/$(BIN)/python" > $(BIN)/certferry
	chmod +x $(BIN)/certferry
	touch $@

$(VENV)/.development: requirements/development.lock $(VENV)/.runtime
	$(PIP) install --require-hashes -r requirements/development.lock
	touch $@

clean:
	rm -rf $(VENV) build dist .coverage* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
