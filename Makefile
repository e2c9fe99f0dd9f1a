# make demo: see a baked service; make test lint: before a pull request
PYTHON ?= python3
PORT ?= 5000
BIN := .venv/bin
SERVICE := {{cookiecutter.__root}}

.PHONY: help demo test test-all lint format lock clean

help:
	@grep '^# make' Makefile

.venv/.ready: requirements-dev.txt
	@$(PYTHON) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; sys.exit(None if sys.version_info >= (3, 11) else "error: $(PYTHON) is Python " + v + "; name a newer one: make PYTHON=python3.11 ...")'
	@if command -v uv >/dev/null; then \
		uv venv --quiet --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv && \
		uv pip install --quiet --require-hashes --python .venv -r requirements-dev.txt; \
	else \
		$(PYTHON) -m venv --clear .venv && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt; \
	fi
	@touch $@

demo: .venv/.ready
	@rm -rf build/demo
	@$(BIN)/cookiecutter . --no-input --output-dir build/demo >/dev/null
	@$(MAKE) --no-print-directory -C build/demo/saved-items setup routes
	@$(MAKE) --no-print-directory -C build/demo/saved-items run PORT=$(PORT)

test: .venv/.ready
	@$(BIN)/python -m pytest -n auto -m "not slow"

test-all: .venv/.ready
	@$(BIN)/python -m pytest -n auto

lint: .venv/.ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy hooks tests

format: .venv/.ready
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# the service's versions first: the template's tests run its suite with the same
lock: .venv/.ready
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(MAKE) --no-print-directory -C '$(SERVICE)' lock
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
		--custom-compile-command 'make lock' --group dev '$(SERVICE)/requirements-dev.txt' \
		--output-file requirements-dev.txt
	@$(MAKE) --no-print-directory test-all

clean:
	rm -rf .venv build .*_cache
