# make demo               a complete relay on this machine, from nothing
# make test               lint, types, and every test, against real peers
# make faults             the fault matrix, whole: the table of docs/RELIABILITY.md, about an hour
# make bench              everything measured side by side: bench/results/speed.md, about an hour
# make images             the parts' images, on the base that container/Dockerfile pins
# make images-offline     the same on a base made from Debian's packages: no image registry needed
# make test-containers    those, as their users meet them: compose files, onboarding, upgrades
# Needs Debian 12 or later. As root the Debian packages below are installed if missing;
# otherwise the command that installs them is shown.

PACKAGES      = rsync openssh-server openssh-client python3-venv
TEST_PACKAGES = dcmtk libgdcm-tools orthanc mariadb-server xfsprogs gcc libc6-dev
BENCH_PACKAGES = $(TEST_PACKAGES)
ENGINE_PACKAGES = docker.io iptables tini debootstrap

# Debian's own, as in the images, before any other on the PATH: it is built with optimisation.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
VENV   ?= .venv
BIN     = $(VENV)/bin

SHELL        = /bin/bash
.SHELLFLAGS  = -euo pipefail -c
.ONESHELL:
.NOTPARALLEL:
.PHONY: demo test faults fuzz lint format venv lock packages test-packages engine-packages
.PHONY: links images images-offline offline-in-engine test-containers

demo: packages venv
	@exec $(BIN)/tackybox demo

test: packages test-packages lint
	@exec $(BIN)/pytest

# FAULTS="-k kill" runs a part, FAULTS="-k random --seed 7" a seed again; results are merged.
# All of it brings the images too, which the row `containers` wants.
FAULT_JOBS ?= 4
faults: packages test-packages venv $(if $(FAULTS),,images-offline)
	@with_engine=
	$(if $(FAULTS),,with_engine=container/with-engine.sh; rm -f tests/faults/results/*.jsonl)
	found=0
	$$with_engine $(BIN)/pytest tests/faults --faults=long --fault-results=tests/faults/results \
	    --numprocesses=$(FAULT_JOBS) --dist=worksteal $(FAULTS) || found=$$?
	$(BIN)/python -m tests.faults.report
	exit $$found

# BENCH="--rows receive-ct,forward-1 --rounds 3" measures a choice, and only prints it.
bench: packages bench-packages venv
	@exec $(BIN)/python -m bench.speed $(BENCH)

# git and editors split hard links silently: whatever builds images makes them anew first.
links:
	@./hardlink_builder.sh build

VERSION  = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git rev-parse HEAD 2> /dev/null || echo unknown)
SOURCE  ?= unknown
BASE    ?=

images: links
	@for part in daughter/receiver daughter/pusher mother/inbox mother/forwarder; do
	    docker build $(if $(BASE),--build-arg BASE=$(BASE)) --build-arg VERSION=$(VERSION) \
	        --build-arg REVISION=$(REVISION) --build-arg SOURCE=$(SOURCE) \
	        --tag "tackybox/$${part#*/}:$(VERSION)" \
	        --tag "tackybox/$${part#*/}:$(REVISION)" \
	        --tag "tackybox/$${part#*/}:latest" "$$part"
	done

images-offline: engine-packages
	@container/with-engine.sh $(MAKE) --no-print-directory offline-in-engine
offline-in-engine:
	@container/offline-images.sh debian mysql mariadb
	$(MAKE) --no-print-directory images BASE=tackybox/offline/debian

# Then what `make test` had to skip: the journal's tests on Oracle's MySQL, out of its image.
test-containers: engine-packages test-packages venv images-offline
	@container/with-engine.sh bash -ec \
	    'container/unpack-mysql.sh $(VENV)/mysql; $(BIN)/pytest tests/containers'
	export PATH="$(CURDIR)/$(VENV)/mysql/bin:$$PATH"
	$(BIN)/pytest tests/mysql_utilities tests/tackybox/checks/test_database.py

# Coverage-guided, for as long as you like; not part of `make test`, which runs mutations.
FUZZ_S ?= 300
fuzz: venv
	@$(BIN)/python -c 'import atheris' 2> /dev/null || $(BIN)/pip install --quiet atheris==3.0.0
	$(BIN)/python -W ignore -m tests.daughter.receiver.fuzz -max_total_time=$(FUZZ_S) -max_len=4096

lint: venv
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: venv
	@$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

venv: $(VENV)/.complete

# Every wheel is checked against the lock's hashes, those that build our own package included.
$(VENV)/.complete: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later, please")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
	$(BIN)/pip install --quiet --require-hashes --requirement requirements-dev.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# requirements.lock is what the images hold; requirements-dev.lock is that and what we work with.
# With the oldest Python that we support, so that what only that one needs is in the lock too.
lock:
	@made=$$(mktemp --directory); trap 'rm -rf "$$made"' EXIT
	$(PYTHON) -m venv "$$made"
	"$$made"/bin/pip install --quiet pip-tools
	compile() {
	    "$$made"/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	        --no-header --no-annotate --no-emit-index-url --no-emit-trusted-host \
	        --no-emit-find-links --output-file "$$made/$$1" "$${@:2}" pyproject.toml
	    { echo '# Made from pyproject.toml by: make lock'; cat "$$made/$$1"; } > "$$1"
	}
	compile requirements.lock --upgrade
	compile requirements-dev.lock --extra dev --build-deps-for editable \
	    --constraint requirements.lock

packages: need = $(PACKAGES)
test-packages: need = $(TEST_PACKAGES)
bench-packages: need = $(BENCH_PACKAGES)
engine-packages: need = $(ENGINE_PACKAGES)
# The peers are wanted as programs. Their services are neither started now nor at the next boot.
packages test-packages bench-packages engine-packages:
	@missing=()
	for package in $(need); do
	    state=$$(dpkg-query --show --showformat='$${db:Status-Status}' "$$package" 2>/dev/null) || true
	    [ "$$state" = installed ] || missing+=("$$package")
	done
	[ $${#missing[@]} -gt 0 ] || exit 0
	if [ "$$(id -u)" -ne 0 ]; then
	    echo "First, as root: apt-get install --no-install-recommends $${missing[*]}" >&2
	    exit 1
	fi
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$$policy" ]; then
	    trap 'rm -f "$$policy"' EXIT
	    printf '#!/bin/sh\nexit 101\n' > "$$policy"
	    chmod +x "$$policy"
	fi
	echo "Installing $${missing[*]}" >&2
	export DEBIAN_FRONTEND=noninteractive
	said=$$({ apt-get update && apt-get install --yes --no-install-recommends "$${missing[@]}"; } \
	    2>&1 < /dev/null) || { echo "$$said" >&2; exit 1; }
	if [ -d /run/systemd/system ]; then
	    for package in "$${missing[@]}"; do
	        case $$package in
	            openssh-server) systemctl disable --quiet ssh.service ssh.socket || true ;;
	            mariadb-server) systemctl disable --quiet mariadb.service || true ;;
	            orthanc) systemctl disable --quiet orthanc.service || true ;;
	        esac
	    done
	fi
