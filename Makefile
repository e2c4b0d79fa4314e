# Two commands, each from nothing: make demo, make test. The rest is for working on the code (see CONTRIBUTING.md).

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
OUT    ?= out/demo
# torch first and alone: any other order lets pip choose a torch of its own.
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# One architecture (its PTX runs on later GPUs too): all five take minutes with nvcc. Releases set CUDAARCHS themselves.
export CUDAARCHS ?= 75
# Tests are spread over WORKERS processes, about a gigabyte and a half each; whoever has none left takes another's.
WORKERS ?= 2
PYTEST := -m pytest -q -n $(WORKERS) --dist worksteal
SOURCES := $(shell find engine cuda_ext presets -name '*.py' -o -name '*.cpp' -o -name '*.cu' -o -name '*.h' -o -name '*.cuh' -o -name '*.toml' -o -name '*.npz' -o -name '*.safetensors' 2>/dev/null)

# How long `make soak` tries to break everything.
MINUTES ?= 60
.PHONY: demo test tested-with checked gpu-test soak bench build lint addon clean

demo: $(VENV)/installed
	$(BIN)/python -m blendsplat demo -o $(OUT) --addon blender_addon

# What tests need is made two at a time: downloads beside what compiles. (Ninja takes every core by itself: the recipes
# that call it hide make's job server, which it cannot use, by an empty MAKEFLAGS.)
test:
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target tested-with checked
	$(BIN)/python $(PYTEST) --durations=15
	$(BIN)/python $(PYTEST) tests/blender
	BLENDSPLAT_ENGINE_PYTHON=$(abspath $(BIN)/python) .venv-bpy42/bin/python $(PYTEST) tests/blender
	BLENDSPLAT_ENGINE_PYTHON=$(abspath $(BIN)/python) .venv-bpy50/bin/python $(PYTEST) tests/blender

tested-with: .venv-bpy42/ready .venv-bpy50/ready $(VENV)/emulated addon

checked: $(VENV)/installed
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

# Kills, full disks, malformed messages and files, long runs (tests/support/soak); a slice of each is in `make test`.
soak: tested-with
	PYTHONPATH=tests/support $(BIN)/python -m soak --minutes $(MINUTES) --report docs/reliability.md

gpu-test: $(VENV)/installed
	$(BIN)/python -m pytest -q -m gpu

addon: $(VENV)/installed
	$(BIN)/python build_addon.py --wheel-dir dist

lint: $(VENV)/tools
	$(BIN)/python -m ruff check . && $(BIN)/python -m ruff format --check . && $(BIN)/python -m mypy

# Kernels compiled into engine/blendsplat, for working in the tree without installing.
build: $(VENV)/tools
	PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B build/dev -G Ninja -DCMAKE_BUILD_TYPE=Release -DPython_EXECUTABLE=$(abspath $(BIN)/python) -DBLENDSPLAT_EMULATION=ON
	PATH="$(abspath $(BIN)):$$PATH" cmake --build build/dev
	cmake --install build/dev --prefix engine

$(VENV)/tools: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) scikit-build-core pybind11 cmake ninja ruff mypy
	touch $@

$(VENV)/installed: $(VENV)/tools CMakeLists.txt $(SOURCES)
	rm -f dist/*.whl
	MAKEFLAGS= $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist .
	$(PIP) "$$(ls $(abspath dist)/blendsplat-*.whl)[test,blender]"
	$(PIP) --force-reinstall --no-deps dist/blendsplat-*.whl
	touch $@

# The CUDA kernels for machines without a GPU, beside the installed package: only tests want them, so no wheel has them.
$(VENV)/emulated: $(VENV)/installed build/emulation/compiled
	PATH="$(abspath $(BIN)):$$PATH" cmake --install build/emulation --component emulation --prefix $$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('platlib'))")
	touch $@

build/emulation/compiled: $(VENV)/tools CMakeLists.txt $(SOURCES)
	PATH="$(abspath $(BIN)):$$PATH" cmake -S . -B build/emulation -G Ninja -DCMAKE_BUILD_TYPE=Release -DPython_EXECUTABLE=$(abspath $(BIN)/python) -DBLENDSPLAT_CUDA=OFF -DBLENDSPLAT_EMULATION=ON
	MAKEFLAGS= PATH="$(abspath $(BIN)):$$PATH" cmake --build build/emulation --target _kernels_cuda_emulated
	touch $@

.venv-bpy42/ready .venv-bpy50/ready: constraints.txt Makefile
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check "bpy==$(if $(findstring 42,$@),4.2,5.0).*" pytest pytest-xdist
	touch $@

clean:
	rm -rf build dist out .venv-bpy42 .venv-bpy50 $(VENV)
