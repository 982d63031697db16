# make demo     a server is backed up, destroyed and brought back, every step proven
# make test     all tests                         make check    lint, types, architecture
# make install  .venv with restead in it          make serve    the service on ./var
# make bench    against other tools               make fuzz N=50000    longer property tests
# make test-long  tests that take minutes         make bench-s3 over S3, and beside OpenStack Cinder
#   RESTEAD_DATABASES=sqlite or =postgresql: tests run on that one alone
#
# Everything sets itself up.  Python packages come pinned by hash from requirements/; Debian packages are named
# before they are installed, and only root installs them.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP = .venv/bin/pip --disable-pip-version-check -qq install
BIN = .venv/bin
JOBS ?= 3
N ?= 20000

# Modules are compiled once, and not by each of the thousand commands and services that the tests start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install dev demo test test-long check serve bench bench-s3 fuzz clean

install: .venv/.run
dev: .venv/.dev

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "restead needs Python 3.11 or newer, with venv"; exit 1; }
	@echo "making .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "on Debian: apt-get install python3-venv"; exit 1; }

.venv/.run: requirements/run.txt requirements/build.txt pyproject.toml | .venv/bin/python
	@echo "installing what restead needs, pinned by hash"
	@$(PIP) --require-hashes -r requirements/run.txt -r requirements/build.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements/dev.txt .venv/.run
	@echo "installing what the tests need, pinned by hash"
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

demo: .venv/.run
	@scripts/system-packages demo
	@$(BIN)/python -m demo

test: .venv/.dev
	@scripts/system-packages test
	@scripts/libvirt
	@scripts/judges
	@scripts/swift
	@scripts/keystone
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not long"

test-long: .venv/.dev
	@scripts/system-packages test
	@scripts/libvirt
	@scripts/swift
	$(BIN)/python -m pytest -n $(JOBS) -m long --timeout 3600

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

serve: .venv/.run
	@$(BIN)/restead serve --data var

bench: .venv/.dev
	@scripts/system-packages bench
	$(BIN)/python -m benchmarks

bench-s3: .venv/.dev
	@scripts/system-packages bench
	@scripts/swift
	@scripts/cinder
	$(BIN)/python -m benchmarks.over_s3

fuzz: .venv/.dev
	RESTEAD_FUZZ=$(N) $(BIN)/python -m pytest -n $(JOBS) tests/repository/test_histories.py \
	  tests/repository/test_rewrite_crashes.py \
	  tests/repository/test_interleavings.py tests/stories/test_restore_faults.py \
	  tests/stories/test_restore_cancel.py tests/repository/test_damage_fuzz.py \
	  tests/repository/test_salvage.py tests/domain/test_retention.py tests/app/test_fuzzed.py

clean:
	rm -rf .venv .venv-cinder .venv-judges* .venv-keystone .venv-swift .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build
