# `make demo` trains on real data; `make test` runs the tests. Both install what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SCHEMA := tzmmoe/protos/pipeline_pb2.py

# Folder with the official Census-Income files; if unset, `make demo` downloads them from UCI.
CENSUS_INCOME_DIR ?= $(wildcard ../shared/data/census-income)
export CENSUS_INCOME_DIR

.PHONY: demo test test-all test-rest floor-test newest-test faults torchrec lint proto install wheel clean

demo: install
	$(BIN)/python scripts/demo.py

TESTS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 \
	--dist loadscope --no-loadscope-reorder

test: install
	$(TESTS) -m "not (long or torchrec)" --hypothesis-profile some

# Includes the slow tests.
test-all: install
	$(TESTS)

# Everything that `make test` skips: slow tests, tests that need TorchRec, and more examples for the
# tests by Hypothesis.
test-rest: install
	$(TESTS) -m "long or torchrec or hypothesis"

# The unit tests with the oldest and with the newest versions that setup.py allows, in environments
# of their own. torch is that of constraints.txt in both. The newest protobuf does without
# grpcio-tools, so a build in isolation compiles the schema there.
VERSIONS_TESTS ?= tests/data tests/features tests/serving tests/system tests/tasks tests/config \
	tests/learning tests/nn tests/tables tests/textformat tests/models tests/test_private_torch.py
FLOOR := .venv-floor
NEWEST := .venv-newest
UNIT = OMP_NUM_THREADS=1 $(1)/bin/python -m pytest --numprocesses auto --maxprocesses 4 \
	--dist loadscope -m "not (long or torchrec)" $(VERSIONS_TESTS)

floor-test: $(FLOOR)/.installed
	$(call UNIT,$(FLOOR))

newest-test: install
	test -x $(NEWEST)/bin/python || $(PYTHON) -m venv $(NEWEST)
	grep "^torch==" constraints.txt > $(NEWEST)/constraints.txt
	$(BIN)/python scripts/declared.py > $(NEWEST)/requirements.txt
	$(NEWEST)/bin/pip install --quiet --upgrade --constraint $(NEWEST)/constraints.txt \
		--requirement $(NEWEST)/requirements.txt
	$(NEWEST)/bin/pip install --quiet --no-deps --config-settings editable_mode=compat --editable .
	$(call UNIT,$(NEWEST))

$(FLOOR)/.installed: $(STAMP) scripts/declared.py
	test -x $(FLOOR)/bin/python || $(PYTHON) -m venv $(FLOOR)
	$(BIN)/python scripts/declared.py --oldest > $(FLOOR)/constraints.txt
	$(FLOOR)/bin/pip install --quiet --constraint $(FLOOR)/constraints.txt torch setuptools wheel \
		grpcio-tools
	$(FLOOR)/bin/pip install --quiet --constraint $(FLOOR)/constraints.txt --no-build-isolation \
		--config-settings editable_mode=compat --editable ".[test]"
	touch $@

# All tests that kill, stop, change or damage something, or feed it invalid input: those that
# docs/reliability.md names.
FAULTS = tests/faults tests/e2e/test_faults.py tests/e2e/test_torchrun.py \
	tests/system/test_checkpoint_damage.py tests/system/test_checkpoint_folder.py \
	tests/system/test_memory.py tests/system/test_signals.py \
	tests/build/test_changes.py tests/config/test_many_faults.py tests/data/test_recorded.py \
	tests/run/test_changed_evaluations.py tests/run/test_grace.py \
	tests/run/test_changed_configs.py tests/run/test_changed_files.py tests/run/test_lock.py \
	tests/run/test_missing_labels.py tests/run/test_resuming.py tests/run/test_shared_process.py \
	tests/run/test_trainer.py tests/serving/test_archive.py tests/serving/test_processes.py \
	tests/drafting/tencent/test_convert_faults.py

faults: install
	ALL_FAULTS=1 $(TESTS) $(FAULTS)

# TorchRec on a machine without a GPU: its metadata would pull in the CUDA build of FBGEMM.
torchrec: install
	$(BIN)/pip install --quiet --constraint constraints.txt fbgemm-gpu-cpu tensordict \
		pyre-extensions tqdm
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps torchrec

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

install: $(STAMP) $(SCHEMA)

$(STAMP): setup.py pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt torch setuptools wheel grpcio-tools
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation \
		--config-settings editable_mode=compat --editable ".[test]"
	touch $@

proto: install
	$(BIN)/python setup.py --quiet compile_schema

$(SCHEMA): $(STAMP) $(wildcard protos/*.proto protos/compat/*.proto)
	$(BIN)/python setup.py --quiet compile_schema
	touch $@

wheel: install
	$(BIN)/python -m build --no-isolation --wheel --outdir dist .

clean:
	rm -rf build dist *.egg-info tzmmoe/protos .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
