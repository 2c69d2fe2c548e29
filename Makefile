# Everything is set up on the way: only python3 (3.11 or newer, with venv) and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo
IMAGE ?= samples/nuclei_512.tif

# Bytecode makes each start of a worker or a model server seconds shorter.
unexport PYTHONDONTWRITEBYTECODE

# Certificates of the system, so that networks with an authority of their own work, too.
export UV_SYSTEM_CERTS ?= true

# uv as found, or one in a folder of its own; never the system's packages.
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)

.DEFAULT_GOAL := help
.PHONY: help demo test browser screen tools faults check fmt up bench docs model requirements images clean

help: ## Print this map
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: $(VENV)/.run ## Segment a real image through the queue; results in demo/
	$(BIN)/kiosk run predict $(IMAGE) -o $(OUT)

test: $(VENV)/.dev browser screen tools ## Run all tests, with coverage
	rm -f .coverage .coverage.*
	$(BIN)/python -m tests
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report --skip-covered

browser: ## Install Chromium if it is missing, on Debian as root; without it, the web page's tests skip
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
			chromium fonts-dejavu-core >/dev/null; } || \
		echo "There is no Chromium: the web page's tests are skipped, and fail where CI is set."

screen: ## Install a virtual screen and what Qt needs there; without it, napari's tests skip
	@command -v Xvfb >/dev/null && ldconfig -p | grep -q libxcb-icccm || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends --no-upgrade \
			xvfb libegl1 libgl1 libgl1-mesa-dri libgssapi-krb5-2 libdbus-1-3 libfontconfig1 libglib2.0-0 \
			libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 \
			libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxkbcommon-x11-0 >/dev/null; } || \
		echo "There is no Xvfb: napari's tests are skipped, and fail where CI is set."

tools: ## Fetch helm, promtool, docker-compose and their like into .tools/bin, where they are missing
	@$(PYTHON) tests/fetch_tools.py

faults: $(VENV)/.dev ## Run the fault suite in its large size, about an hour; FAULTS=more options of it
	$(BIN)/python -m pytest tests/faults --fault-size nightly $(FAULTS)

check: $(VENV)/.dev ## Lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fmt: $(VENV)/.dev ## Format and mend what can be mended
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

up: $(VENV)/.run ## Start broker, model server, worker, web service and Flower; Ctrl-C stops them
	$(BIN)/kiosk up

bench: $(VENV)/.dev ## Measure on the real stack, some 20 minutes: goals, costs, scaling; BENCH=its options
	$(BIN)/python -m benchmarks $(BENCH)

docs: $(VENV)/.docs ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

model: $(VENV)/.dev ## Train, export and score the nuclear model; REAL=path to the training images
	$(BIN)/python -m models.nuclear --real $(REAL)

# $(call pin,what,file): like all of requirements/, for Python 3.11 and newer, with hashes.
pin = $(UV) pip compile -q --universal --generate-hashes --no-header --python-version 3.11 $(1) -o $(2)
# $(call pinimage,name,options): what an image holds, in the versions that are tested.
pinimage = $(call pin,--no-config -c requirements/dev.txt $(2) requirements/$(1).in,requirements/$(1).txt)

requirements: $(UV) ## Pin all dependencies anew, with hashes
	$(call pin,pyproject.toml --extra local --extra evaluate --group dev --group docs,requirements/dev.txt)
	$(call pin,pyproject.toml --extra local -c requirements/dev.txt,requirements/run.txt)
	$(call pin,pyproject.toml --group docs -c requirements/dev.txt,requirements/docs.txt)
	$(call pinimage,worker,--override requirements/no-tensorflow.txt)
	$(call pinimage,web,--override requirements/no-tensorflow.txt)
	$(call pinimage,modelserver,--override requirements/one-tensorflow.txt)
	$(call pinimage,protos,--no-deps)
	$(call pinimage,build,)

images: $(VENV)/.dev ## Build the images' file trees without Docker, and measure them
	$(BIN)/python -m images.tree

clean: ## Remove what the targets above made
	rm -rf $(VENV) .tools $(OUT) site test-artifacts .coverage .coverage.*

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check uv

$(VENV)/bin/python: | $(UV)
	@$(PYTHON) -c 'import sys; sys.exit("kiosk-tasks needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=...") if sys.version_info < (3, 11) else None'
	$(UV) venv --quiet --python $(PYTHON) $(VENV)

# $(call install,requirements file): exactly what is pinned there, and this project on top of it.
define install
$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r $(1)
$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
touch $@
endef

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	$(call install,requirements/run.txt)

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	$(call install,requirements/dev.txt)
	touch $(VENV)/.run

$(VENV)/.docs: requirements/docs.txt pyproject.toml | $(VENV)/bin/python
	$(call install,requirements/docs.txt)
