# Two commands on a fresh Debian 12 or newer: `make demo` and `make test`. Everything they need, they set up.
SHELL := /bin/bash
# The distribution's own interpreter where it is new enough: it is built with profiles (twice as fast here as one that
# pyenv compiled), and trueup is mostly a process that starts, decides and ends.
PYTHON ?= $(shell for each in /usr/bin/python3 python3; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)
BIN := .venv/bin
NAME ?=

# What the local driver runs on, and what the tests talk to. Installed only as root on Debian; elsewhere the tests that
# need them are reported as not run.
DEMO_PACKAGES := git zfs-fuse lxc nftables iproute2 busybox-static btrfs-progs procps
TEST_PACKAGES := $(DEMO_PACKAGES) openssh-server openssh-client age faketime
VM_PACKAGES := qemu-system-x86 mmdebstrap e2fsprogs

.PHONY: help demo test check unit real bench campaign test-long test-openzfs test-incus reference lock clean packages-demo packages-test packages-vm

help:            ## Show this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | sort

demo: packages-demo .venv/.installed ## Tell the whole story on real zones here (or on the simulated node, saying why)
	@$(BIN)/python examples/quickstart/demo.py

test: packages-test .venv/.dev ## Everything: style, types, layers, unit, real engines
	@tests/run.sh

check: .venv/.dev ## Style, types, layers: seconds
	@tests/check.sh

unit: .venv/.dev ## Tests that need no engine and no root
	$(BIN)/python -m pytest -q -m "not real and not long and not openzfs and not bench"

real: packages-test .venv/.dev ## Tests on real engines here
	$(BIN)/python -m pytest -q -m "real and not long and not openzfs and not bench"

test-long: packages-test .venv/.dev ## What is too long for every run: whole campaigns, daemons killed, the kit in tenants' projects
	TRUEUP_PROFILE=long $(BIN)/python -m pytest -q -m "long"

campaign: packages-test .venv/.dev ## Kill at every journal write and every driver call
	$(BIN)/python -m pytest -q -m "long" tests/runtime tests/scenarios

test-openzfs: packages-vm .venv/.dev ## Conformance inside an emulated machine with OpenZFS and cgroup v2 (slow)
	$(BIN)/python -m pytest -q -m openzfs -s

test-incus: .venv/.dev ## Tests on real Incus and LXD daemons, in namespaces of their own
	$(BIN)/python -m pytest -q -m "real and not long" tests/drivers/incus tests/conformance/test_incus.py tests/conformance/test_incus_cluster.py

bench: packages-test .venv/.dev ## The published table, measured here; NAME=… for one row
	$(BIN)/python -m tests.benchmarks $(NAME)

reference: .venv/.dev ## Write the generated parts: schemas, plain records, docs/reference
	$(BIN)/python -m specs.schema
	$(BIN)/python -m specs.derive
	$(BIN)/python -m reconciler.cli.reference

lock: ## Resolve the newest versions and write them down
	rm -rf .venv && $(MAKE) .venv/.dev LOCK=
	$(BIN)/pip freeze --exclude-editable | grep -v '^trueup' > requirements.lock

clean: ## Remove what was built here (not what trueup runs)
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

LOCK ?= -c requirements.lock

.venv/.installed: pyproject.toml $(wildcard requirements.lock)
	@echo "making a virtual environment in .venv"
	@$(PYTHON) -m venv .venv || { echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check $(LOCK) -e .
	@$(BIN)/python -m compileall -q reconciler drivers specs  # as pip does for what it copies
	@touch $@

.venv/.dev: .venv/.installed
	@$(BIN)/python -m pip install -q --disable-pip-version-check 'pip>=25.1'
	@$(BIN)/python -m pip install -q --disable-pip-version-check $(LOCK) --group dev
	@touch $@

packages-demo:
	@tests/packages.sh $(DEMO_PACKAGES)

packages-vm:
	@tests/packages.sh $(VM_PACKAGES)

packages-test:
	@tests/packages.sh $(TEST_PACKAGES)
	@tests/drivers/incus/install.sh >/dev/null || true
