SHELL = /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# What `make train` trains: ENV, STEPS (a total; the YAML's by default), ARGS (any option of rl_zoo3.train)
ENV ?= Humanoid-v4
STEPS ?=
ARGS ?=
CHECKPOINT_FREQ ?= 25000

LINT_PATHS = sb3_quantum sb3_quantum_autoload.py setup.py benchmarks examples tests docs/conf.py docs/run_tutorials.py

.PHONY: demo train humanoid test test-slow coverage lint format type docs fidelity links-cut speed wall-clock reliability fake-device \
	release-check tutorials clean

$(VENV)/installed: setup.cfg setup.py pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[zoo,hub,aer,ibm,dask,study,plots,docs,tests]"
	touch $@

# About a minute: an agent that visibly learns, and pictures of it in demo/
demo: $(VENV)/installed
	$(BIN)/python -m sb3_quantum.demo $(ARGS)

# Trains through the zoo, with a progress bar and checkpoints; started again, it continues the run
train: $(VENV)/installed
	$(BIN)/python -m sb3_quantum.train --algo qtd3 --env $(ENV) $(if $(STEPS),-n $(STEPS)) --progress \
		--resume --checkpoint-freq $(CHECKPOINT_FREQ) $(ARGS)

# 800,000 steps with the shipped settings, in as many pieces as it takes; logs/studies/humanoid has what came of it
humanoid: $(VENV)/installed
	$(BIN)/python -m sb3_quantum.study run humanoid $(ARGS)
	$(BIN)/python -m sb3_quantum.study report humanoid

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 -m "not slow" --durations=10

# Two minutes more: what `make test` leaves out
test-slow: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 -m slow

# The same with the share of lines that ran
coverage: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --cov=sb3_quantum --cov-report=term:skip-covered

lint: $(VENV)/installed
	$(BIN)/ruff check $(LINT_PATHS)
	$(BIN)/black --check --quiet $(LINT_PATHS)
	$(BIN)/lint-imports
	$(BIN)/codespell $(LINT_PATHS) docs hyperparams models .github $(wildcard *.md)

format: $(VENV)/installed
	$(BIN)/ruff check --fix $(LINT_PATHS)
	$(BIN)/black --quiet $(LINT_PATHS)

type: $(VENV)/installed
	$(BIN)/mypy

docs: $(VENV)/installed
	$(BIN)/sphinx-build -W -b html docs docs/_build/html

# Runs the notebooks in docs/tutorials and stores what they show, three minutes
tutorials: $(VENV)/installed
	$(BIN)/python docs/run_tutorials.py

# Hours of training; docs/fidelity.md and docs/pendulum.md have the last results. `links-cut` does not repeat what is in logs/ already
fidelity: $(VENV)/installed
	$(BIN)/python benchmarks/tangent_fidelity.py --json benchmarks/results/tangent_fidelity.json --plot docs/images/tangent_fidelity.png

links-cut: $(VENV)/installed
	$(BIN)/python -m sb3_quantum.study run pendulum_links_cut

# Minutes, and hours; docs/speed.md and docs/return_per_hour.md have the last results
speed: $(VENV)/installed
	$(BIN)/python benchmarks/training_speed.py --json benchmarks/results/training_speed.json --plot docs/images/training_speed.png
	$(BIN)/python benchmarks/training_speed.py --profile benchmarks/results/training_profile.txt
	$(BIN)/python benchmarks/scaling.py --json benchmarks/results/scaling.json

wall-clock: $(VENV)/installed
	$(BIN)/python -m sb3_quantum.study run wall_clock $(ARGS)
	$(BIN)/python -m sb3_quantum.study report wall_clock

# What a run survives: kills, power cuts (as root), mutated files and more; docs/reliability.md has the last figures
reliability: $(VENV)/installed
	$(BIN)/python -m benchmarks.reliability --json benchmarks/results/reliability.json

# All tests as where a GPU is, without one (tests/fake_device.py); docs/reliability.md has the last result
fake-device: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --fake-device

# Builds the release into dist/, and tries the wheel on every Python that is here (PYTHONS="python3.11 ..." for some of them)
release-check:
	.ci/release-check $(PYTHONS)

clean:
	rm -rf $(VENV) build dist *.egg-info docs/_build
