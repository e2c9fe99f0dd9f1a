# "make help" lists the commands
PYTHON ?= python3
PORT ?= 5000
BIN := .venv/bin
SERVICE := {{cookiecutter.__root}}
KIT := $(SERVICE)/{{cookiecutter.__package_name}}/nocache

.PHONY: help demo test test-all proof proof-mutations container lint format kit advisories bench lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s  %s\n", $$1, $$2 }' Makefile

.venv/.ready: requirements-dev.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: '$(PYTHON)' is not Python 3.11 or newer." >&2; \
		echo "hint: make PYTHON=python3.14 $(MAKECMDGOALS)" >&2; \
		exit 1; \
	}
	@if command -v uv >/dev/null; then \
		"$(PYTHON)" -m venv --clear --without-pip .venv && \
		uv pip sync --quiet --require-hashes --python $(BIN)/python requirements-dev.txt; \
	else \
		"$(PYTHON)" -m venv --clear .venv && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.txt; \
	fi
	@touch $@

demo: .venv/.ready  ## bake a service with the default answers and serve it, PORT=5000
	@rm -rf build/demo
	@$(BIN)/cookiecutter . --no-input --output-dir build/demo >/dev/null
	@$(MAKE) --no-print-directory -C build/demo/saved-items setup routes
	@$(MAKE) --no-print-directory -C build/demo/saved-items run PORT=$(PORT)

test: .venv/.ready  ## what needs no service set up from scratch
	@$(BIN)/python -m pytest -n auto -m "not slow"

test-all: .venv/.ready  ## and services set up with uv and pip, on every Python
	@$(BIN)/python -m pytest -n auto

PROOF := build/proof/venv
MUTATIONS := no-guard bare-404 no-cache mixed-case surrogate stateful lost-write ungraceful sticky marked-down no-scheme \
	any-origin framed loose-policy

$(PROOF)/.ready: proof/requirements.txt
	@mkdir -p $(PROOF)
	@"$(PYTHON)" -m venv --clear $(PROOF)
	@if command -v uv >/dev/null; then \
		uv pip sync --quiet --require-hashes --python $(PROOF)/bin/python proof/requirements.txt; \
	else \
		$(PROOF)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r proof/requirements.txt; \
	fi
	@touch $@

proof: $(PROOF)/.ready  ## real caches, a browser and load; needs Debian packages
	@exec $(PROOF)/bin/python -m proof

proof-mutations: $(PROOF)/.ready  ## each mistake in the service must fail the proof
	@for name in $(MUTATIONS); do \
		$(PROOF)/bin/python -m proof --rounds 3 --mutate $$name >build/proof/$$name.txt; \
		status=$$?; tail -n 1 build/proof/$$name.txt | sed "s/^/$$name: exit $$status, /"; \
		test $$status = 1 || exit 1; \
	done

container: .venv/.ready  ## the service's image, built, run and broken; with podman, BASE=image
	@exec $(BIN)/python -m proof.container $(if $(BASE),--base '$(BASE)')

lint: .venv/.ready  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy hooks proof tests

format: .venv/.ready kit  ## what ruff can mend, and the kit's checksums
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# the audit of a service compares its kit with these (NC011)
kit:  ## note the checksums of the kit's files
	@cd '$(KIT)' && LC_ALL=C sha256sum *.py >CHECKSUMS

# strict, or what cannot be looked up passes for harmless; the service's are among ours
advisories: .venv/.ready  ## known vulnerabilities of what is locked, by PyPI
	@$(BIN)/python -m pip_audit --strict --disable-pip $(addprefix --requirement=,\
		requirements-dev.txt benchmarks/requirements.txt proof/requirements.txt)

build/bench/.ready: benchmarks/requirements.txt .venv/.ready
	@"$(PYTHON)" -m venv --clear --without-pip build/bench
	@$(BIN)/uv pip sync --quiet --require-hashes --python build/bench/bin/python benchmarks/requirements.txt
	@touch $@

bench: build/bench/.ready  ## the guard, the service and the audit beside their peers, minutes
	@build/bench/bin/python benchmarks/run.py

# the service's versions first: the template's tests run its suite with the same
lock: .venv/.ready  ## newest releases, here and in the service, then test-all
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(MAKE) --no-print-directory -C '$(SERVICE)' lock
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
		--custom-compile-command 'make lock' --group dev '$(SERVICE)/requirements-dev.txt' \
		--output-file requirements-dev.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
		--custom-compile-command 'make lock' --group bench '$(SERVICE)/requirements.txt' \
		--output-file benchmarks/requirements.txt
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
		--custom-compile-command 'make lock' --group proof --output-file proof/requirements.txt
	@$(MAKE) --no-print-directory test-all

clean:  ## remove what the commands above made
	rm -rf .venv build .*_cache
