# make setup | test | demo | lint | audit | help. Everything happens in .venv; nothing is installed on the machine.
#   PYTHON=python3.12      interpreter for .venv (3.10 to 3.14)
#   DETECTOR=none          without ultralytics (AGPL-3.0)
#   TORCH=cpu|cuda         instead of looking for an NVIDIA GPU
#   PAIRS=folder           demo on your own infrared-visible pairs

PYTHON ?= python3
DETECTOR ?= ultralytics
TORCH ?= auto
PAIRS ?=
PY := .venv/bin/python

# The ROS wheels of .venv do not mix with a sourced ROS, and their start-up guard hides the libraries of another .venv.
ifneq ($(strip $(AMENT_PREFIX_PATH)$(_ROS_WHEELS_BOOTSTRAP_COMPLETE)),)
ifneq ($(AMENT_PREFIX_PATH),)
$(info make: ignoring the ROS environment sourced in this shell; .venv has its own ROS)
endif
unexport PYTHONPATH LD_LIBRARY_PATH
endif
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION
unexport RMW_IMPLEMENTATION PYTHONHOME _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: help setup test demo lint audit format clean
.DEFAULT_GOAL := help

help:
	@echo "make setup                create or update .venv (idempotent)"
	@echo "make demo [PAIRS=folder]  replay a camera pair through the node; results in out/demo/"
	@echo "make test                 the whole test suite"
	@echo "make lint                 ruff, mypy and bandit"
	@echo "make audit                installed packages against published advisories; needs PyPI"
	@echo "make format               let ruff format the code"
	@echo "make clean                remove .venv and everything generated"
	@echo "Variables: PYTHON, DETECTOR=none, TORCH=cpu|cuda (explained at the top of the Makefile)"

setup:
	@$(PYTHON) scripts/setup_venv.py --detector=$(DETECTOR) --torch=$(TORCH)

# Two workers; the tests of a file stay together; one that crashes ends the run instead of being replaced. pytest itself fails when it finds no test (status 5).
test: setup
	$(PY) -m pytest test -q -n 2 --max-worker-restart=0 --dist loadfile --no-loadscope-reorder $(ARGS)

demo: setup
	$(PY) -m cldyn_ros.demo --out out/demo $(if $(PAIRS),--pairs "$(PAIRS)") $(ARGS)

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m bandit -q -c pyproject.toml -r cldyn_core cldyn_ros launch scripts

audit: setup
	$(PY) -m pip_audit --local --skip-editable

format: setup
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:
	rm -rf .venv build install log out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
