# "make help" lists the commands
PYTHON ?= python3
PORT ?= 5000
BIN := .venv/bin
SERVICE := {{cookiecutter.project_slug}}
KIT := $(SERVICE)/{{cookiecutter.__package_name}}/nocache

.PHONY: help demo test test-all proof proof-mutations container lint format kit advisories bench lock pictures clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s  %s\n", $$1, $$2 }' Makefile

# make an environment with the machine's uv, or with one that pip installs into it:
# $(call environment,FOLDER,REQUIREMENTS)
define environment
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: '$(PYTHON)' is not Python 3.11 or newer." >&2; \
		echo "hint: make PYTHON=python3.14 $(MAKECMDGOALS)" >&2; \
		exit 1; \
	}
	@"$(PYTHON)" -m venv --clear --without-pip $(1)
	@command -v uv >/dev/null || { \
		pip="$(PYTHON)"; \
		"$$pip" -c 'import pip' 2>/dev/null || { pip=$(1)/bin/python; $(1)/bin/python -m ensurepip >/dev/null; }; \
		"$$pip" -m pip --python $(1)/bin/python install --quiet --disable-pip-version-check \
			--require-hashes --only-binary :all: --requirement '$(SERVICE)/requirements-uv.txt'; \
	}
	@PATH="$$PATH:$(1)/bin" uv pip install --quiet --require-hashes --python $(1)/bin/python $(2)
	@touch $(1)/.ready
endef

.venv/.ready: requirements-dev.txt $(SERVICE)/requirements-uv.txt
	$(call environment,.venv,--no-deps --requirement requirements-dev.txt)

# what bakes and runs a service, without what tests one
DEMO := build/demo/.venv
$(DEMO)/.ready: requirements-dev.txt $(SERVICE)/requirements.txt $(SERVICE)/requirements-uv.txt
	$(call environment,$(DEMO),--constraint requirements-dev.txt --requirement '$(SERVICE)/requirements.txt' \
		"$$(sed -n 's/^\(cookiecutter==[^ ]*\).*/\1/p' requirements-dev.txt)")

demo: $(DEMO)/.ready  ## bake and serve the default service, PORT=5000
	@rm -rf build/demo/saved-items
	@$(DEMO)/bin/cookiecutter . --no-input --output-dir build/demo >/dev/null
	@cd build/demo/saved-items && export FLASK_DEBUG=1 FLASK_SKIP_DOTENV=1 && flask="../.venv/bin/python -m flask" && \
		$$flask db upgrade && $$flask nocache routes && exec $$flask run --no-reload --port "$(PORT)"

test: .venv/.ready  ## the tests that set no service up from scratch
	@$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

test-all: .venv/.ready  ## all tests, those that set services up from scratch too
	@$(BIN)/python -m pytest -n auto --dist worksteal

PROOF := build/proof/venv
PROVE := PYTHONPATH=tests $(PROOF)/bin/python -m proof

$(PROOF)/.ready: tests/proof/requirements.txt $(SERVICE)/requirements-uv.txt
	$(call environment,$(PROOF),--no-deps --requirement tests/proof/requirements.txt)

proof: $(PROOF)/.ready  ## real caches, a browser and load; needs Debian packages
	@exec env $(PROVE)

proof-mutations: $(PROOF)/.ready  ## fail unless the proof notices each mistake in the service
	@names=$$($(PROVE).mutations) && for name in $$names; do \
		$(PROVE) --rounds 3 --mutate $$name >build/proof/$$name.txt; \
		status=$$?; tail -n 1 build/proof/$$name.txt | sed "s/^/$$name: exit $$status, /"; \
		test $$status = 1 || exit 1; \
	done

container: .venv/.ready  ## build, run and break the image with podman; BASE=image
	@exec env PYTHONPATH=tests $(BIN)/python -m proof.container $(if $(BASE),--base '$(BASE)')

pictures: .venv/.ready  ## draw README's pictures of a terminal
	@$(BIN)/python docs/pictures.py

lint: .venv/.ready  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy hooks tests

format: .venv/.ready kit  ## fix what ruff can fix, and write the kit's checksums
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# the audit of a service compares its kit with these (NC011)
kit:  ## write the checksums of the kit's files
	@cd '$(KIT)' && find * -type f ! -name CHECKSUMS ! -name '.*' ! -path '*__pycache__/*' \
		| LC_ALL=C sort | xargs sha256sum >CHECKSUMS

# strict, or a package that cannot be looked up would pass; these include the service's
advisories: .venv/.ready  ## look up known vulnerabilities of the locked releases
	@$(BIN)/python -m pip_audit --strict --disable-pip $(addprefix --requirement=,\
		requirements-dev.txt benchmarks/requirements.txt tests/proof/requirements.txt)

build/bench/.ready: benchmarks/requirements.txt $(SERVICE)/requirements-uv.txt
	$(call environment,build/bench,--no-deps --requirement benchmarks/requirements.txt)

bench: build/bench/.ready  ## measure, for half an hour; PEERS=folder ONLY=part
	@PEERS="$(PEERS)" build/bench/bin/python benchmarks/run.py $(ONLY)

# the service's versions first: the template's tests run its suite with the same
lock: .venv/.ready  ## lock the newest releases here and in the service, test-all
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(MAKE) --no-print-directory -C '$(SERVICE)' lock
	@$(LOCK) --group dev '$(SERVICE)/requirements-dev.txt' '$(SERVICE)/requirements-uv.txt' \
		--output-file requirements-dev.txt
	@$(LOCK) --group bench '$(SERVICE)/requirements.txt' --output-file benchmarks/requirements.txt
	@$(LOCK) --group proof --output-file tests/proof/requirements.txt
	@$(MAKE) --no-print-directory test-all

LOCK = $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	--custom-compile-command 'make lock'

clean:  ## remove what the commands above made
	rm -rf .venv build .*_cache
