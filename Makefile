# Everything longer than a few lines is a program with a name: tests.lab, tests.run, demo.
PYTHON ?= python3
HOSTS ?= 1
TOOL = .venv/bin/python -m

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-clean test test-long lint unit sanity cores molecule bench mutants docs

help: ## list what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-12s %s\n", $$1, $$2}'

setup: ## make .venv and let Ansible find this checkout
	@$(PYTHON) -m tests.lab venv

demo: setup ## the whole stack on this computer; HOSTS=4 spreads it over four machines
	@$(TOOL) demo --hosts $(HOSTS)

demo-clean: ## remove every trace of the demo
	@$(PYTHON) -m demo --clean

test: setup ## everything there is to test, but for what takes very long
	@$(TOOL) tests.run

test-long: setup ## the same, with what takes very long
	@$(TOOL) tests.run --long

unit lint sanity: setup ## one layer of the tests
	@$(TOOL) tests.run $@

cores: setup ## sanity on newer versions of ansible-core, with Python 3.12
	@$(TOOL) tests.run cores

molecule: setup ## every scenario on Debian 12 and 13, or one: ROLE=redis
	@$(TOOL) tests.run molecule $(ROLE)

bench: setup ## speed, beside its limit and pyinfra
	@$(TOOL) benchmarks
	@$(TOOL) benchmarks.verification

mutants: setup ## whether the tests of the verifier's rules notice a rule turned round
	@$(TOOL) tests.mutants

docs: setup ## write the tables that follow from the specifications
	@$(TOOL) docs
