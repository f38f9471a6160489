# Every target sets up what it needs in .venv; a second call reuses it.
#
#   make export-tflite            train, distil, quantise, export and verify the default small student
#   make export-tflite DATA=DIR CONFIG=FILE OUT=DIR
#                                 the same on your own recordings
#   make test | lint | typecheck  the test suite, ruff, mypy
#   make fuzz                     ten thousand damaged files of each kind
#   make engines                  what `tinyscene verify` compares with and cannot share .venv (about 1.5 GB)
#   make report                   the exported bundle as a page, build/report.html
#   make firmware-bench           the exported bundle as C on every processor: instructions, RAM, flash, parity
#   make pi-test                  the device-only install, tests and a demo under emulated Raspberry Pis
#   make demo | bench             listen with the exported bundle; latency on this machine
#   make bench-training           training speed against training clip by clip (DEVICE=cuda on a GPU)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA   ?=
OUT    ?= $(if $(DATA),build/$(notdir $(DATA:/=)),build)
CONFIG ?= training/configs/quick.yaml
FOLD   ?= 1
SOURCE ?=
DEVICE ?= cpu

# Nothing is cached outside the checkout.
export TINYSCENE_CACHE := $(CURDIR)/build/cache
export PIP_DISABLE_PIP_VERSION_CHECK := 1

CORPUS := $(if $(DATA),$(DATA),$(OUT)/corpus)
COMMON  = --data $(CORPUS) --fold $(FOLD) --config $(CONFIG)

.PHONY: help setup engines export-tflite test pi-test fuzz lint typecheck demo report bench firmware-bench bench-training clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed '/^$$/d'

# torch first and by exact version: unpinned, its newest build pulls gigabytes of GPU packages.
$(VENV)/.installed: pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c .ci/constraints.txt torch==2.13.0
	$(BIN)/pip install -q -c .ci/constraints.txt -e '.[dev]'
	# The reference that our PaSST is tested against; what it depends on has no build for this torch and is not needed.
	$(BIN)/pip install -q --no-deps hear21passt==0.0.26
	@touch $@

setup: $(VENV)/.installed

$(OUT)/corpus/meta.csv: | setup
	$(BIN)/tinyscene data synth $(OUT)/corpus

export-tflite: setup $(if $(DATA),,$(OUT)/corpus/meta.csv)
	$(BIN)/tinyscene train teacher --arch cpr $(COMMON) --out $(OUT)/runs/teacher
	$(BIN)/tinyscene train student --teacher $(OUT)/runs/teacher $(COMMON) --out $(OUT)/runs/student
	$(BIN)/tinyscene train qat $(OUT)/runs/student $(COMMON) --out $(OUT)/runs/qat
	$(BIN)/tinyscene export $(OUT)/runs/qat --data $(CORPUS) --fold $(FOLD) --out $(OUT)/bundle

test: setup
	$(BIN)/pytest

# Each in an environment of its own: tflite-runtime needs an older numpy, TensorFlow is large, the last is JavaScript.
# A second call does nothing; `$TINYSCENE_ENGINES` tells `tinyscene verify` of another place, `make engines ENGINE=web`
# builds one of them.
ENGINES := build/engines
ENGINE  ?= tflite-runtime tensorflow web

engines: $(ENGINE:%=$(ENGINES)/%/.installed)

$(ENGINES)/tflite-runtime/.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install -q tflite-runtime==2.14.0 'numpy<2'
	@touch $@

$(ENGINES)/tensorflow/.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install -q tensorflow-cpu==2.21.0
	@touch $@

# What `python -m tinyscene.export.verification.crosscheck` and its test have the same network converted by: about 1.5 GB.
$(ENGINES)/cross/.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install -q torch==2.13.0
	$(@D)/bin/pip install -q litert-torch==0.10.0 ai-edge-quantizer==0.10.0 torchao==0.18.0
	@touch $@

$(ENGINES)/web/.installed:
	@command -v npm >/dev/null || { echo "ONNX Runtime Web needs Node.js: apt-get install nodejs npm" >&2; exit 1; }
	@mkdir -p $(@D)
	cd $(@D) && npm install --silent --no-audit --no-fund --ignore-scripts --prefix . onnxruntime-web@1.30.0
	@touch $@

# What runs under the emulated Raspberry Pi besides the demo; every one of them takes some ten times longer there.
PI_TESTS ?= tests/runtime/test_frontend.py tests/runtime/engines/test_engine.py
pi-test: setup
	$(BIN)/python tests/pi/emulate.py arm64 armhf --tests $(PI_TESTS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Damaged models, manifests and golden vectors, MUTATIONS of each: about ten minutes.
MUTATIONS ?= 10000
fuzz: setup
	TINYSCENE_MUTATIONS=$(MUTATIONS) $(BIN)/pytest tests/export/test_mutations.py

# mypy does not see through the package-dir mapping: give it the tree under the import name.
typecheck: setup
	@mkdir -p build/types/tinyscene
	@for folder in runtime training export firmware_bench; do ln -sfn ../../../$$folder build/types/tinyscene/$$folder; done
	MYPYPATH=build/types $(BIN)/mypy -p tinyscene --namespace-packages --explicit-package-bases

build/bundle/bundle.json:
	$(MAKE) export-tflite OUT=build DATA=

ifneq ($(OUT),build)
$(OUT)/bundle/bundle.json:
	$(MAKE) export-tflite
endif

# Places that the bundle was not trained on, one after the other: what `make demo` plays without a microphone.
build/demo.wav: build/bundle/bundle.json
	$(BIN)/tinyscene data stitch build/corpus --out $@

demo: setup build/bundle/bundle.json
	@if [ -n "$(SOURCE)" ]; then $(BIN)/tinyscene listen build/bundle --source "$(SOURCE)"; \
	elif $(BIN)/tinyscene devices >/dev/null 2>&1; then $(BIN)/tinyscene listen build/bundle; \
	else $(MAKE) -s build/demo.wav && $(BIN)/tinyscene listen build/bundle --source build/demo.wav --realtime; fi

# What the export measured, as one page.
report: setup $(OUT)/bundle/bundle.json
	$(BIN)/tinyscene report $(OUT)/bundle --out $(OUT)/report.html

bench: setup build/bundle/bundle.json
	$(BIN)/tinyscene bench build/bundle

firmware-bench: setup $(OUT)/bundle/bundle.json
	$(BIN)/tinyscene firmware bench $(OUT)/bundle --out $(OUT)/firmware-bench

# A short spin of OpenMP's threads, as the command line has it: a second program on the machine would spoil the figures.
bench-training: setup
	GOMP_SPINCOUNT=10000 $(BIN)/python -m tinyscene.training.bench_training --device $(DEVICE)

clean:
	rm -rf build runs
