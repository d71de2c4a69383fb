# Isthmus: every task of a working day. `make` alone explains itself.
#
# Compiled dependencies live outside the checkout, so that clones share them:
# set CARGO_TARGET_DIR to put them elsewhere.

CARGO_TARGET_DIR ?= $(HOME)/.cache/isthmus-target
export CARGO_TARGET_DIR

.DEFAULT_GOAL := help
.PHONY: help run test test-quick bench lint fmt

help: ## show this list
	@echo "make TARGET, where TARGET is one of:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile
	@echo "Compiled files: $(CARGO_TARGET_DIR)"

run: ## build and start the demo: two tenants, mail, chat and pages, nothing to set up
	@scripts/packages.sh build
	cargo run --quiet -p isthmus -- demo

test: ## every test; installs missing peers (apt, pip) and runs them privately on free ports
	@scripts/packages.sh build
	@scripts/peers.sh install
	@result=0; scripts/run-tests.sh all || result=1; scripts/peers.sh report || result=1; exit $$result

test-quick: ## the embedded tests only: no servers, nothing is installed
	@scripts/run-tests.sh quick

bench: ## measure against real peers; prints a table, writes bench/results.json in the target folder
	@scripts/packages.sh build
	@scripts/peers.sh install
	@scripts/peers.sh report
	cargo build --release -p isthmus
	cargo run --release -p isthmus-bench

lint: ## format, clippy, docs, unused dependencies, advisories, licences, crate edges
	@scripts/packages.sh build
	@scripts/lint.sh

fmt: ## put every file into the house format
	cargo fmt --all
