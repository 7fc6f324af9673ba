# Lifeboat. `make drill` and `make test` work on a fresh machine; see README.md.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# A toolchain that was installed a moment ago is not yet on every shell's PATH.
export PATH := $(PATH):$(HOME)/.cargo/bin
CARGO ?= cargo
# Tests wait for servers more than they compute: more of them at a time than two cores suggest.
export RUST_TEST_THREADS ?= 2
# Megabytes of the drill's database; further words for `lifeboat drill`.
SIZE ?=
ARGS ?=
# The drill that is run.
SCENARIO ?= corruption

# The major versions that test-versions runs on.
VERSIONS ?= 14 15 16 17 18

.PHONY: help build drill test test-s3 test-systemd test-versions test-matrix test-drivers test-reach test-pg-cases test-kill test-cron test-troubles test-drills test-report test-people bench lint

help: ## Shows this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'
	@echo
	@echo '  SIZE=1000 make drill        a database of about 1000 MB'
	@echo '  ARGS="--auto" make drill    without a person'

drill: ## A GameDay drill on a throwaway cluster; gets what is missing first
	@scripts/ensure-build.sh
	@pg=$$(scripts/ensure-postgres.sh); \
	$(CARGO) build --release --locked; \
	LIFEBOAT_PG_BIN="$$pg" exec target/release/lifeboat drill $(SCENARIO) $(if $(SIZE),--size $(SIZE)) $(ARGS)

test: ## All tests; gets what is missing first
	@scripts/ensure-build.sh
	@scripts/ensure-s3.sh
	@scripts/ensure-promtool.sh
	@scripts/ensure-sshd.sh
	@pg=$$(scripts/ensure-postgres.sh); \
	LIFEBOAT_PG_BIN="$$pg" CARGO="$(CARGO)" scripts/test.sh $(ARGS)

test-s3: ## The S3 store against real servers, which are fetched or built first
	@scripts/ensure-build.sh
	@scripts/ensure-s3.sh --heavy
	@pg=$$(scripts/ensure-postgres.sh); \
	LIFEBOAT_PG_BIN="$$pg" $(CARGO) test --locked --test s3 -- --include-ignored

test-people: ## Commander and approver as two users of this machine, each in a terminal, on a real server; as root
	@scripts/ensure-build.sh
	@scripts/ensure-sshd.sh
	@pg=$$(scripts/ensure-postgres.sh); \
	LIFEBOAT_PG_BIN="$$pg" $(CARGO) test --locked --test people --test messages -- --include-ignored

test-systemd: ## The scheduler's unit under a real systemd in namespaces of its own, as root
	@scripts/ensure-build.sh
	@scripts/ensure-systemd.sh
	@pg=$$(scripts/ensure-postgres.sh); \
	LIFEBOAT_NEED_SYSTEMD=1 LIFEBOAT_PG_BIN="$$pg" $(CARGO) test --locked --test units

test-versions: ## WAL and suspects on every PostgreSQL from 14 to 18, fetched first; VERSIONS="14 18" for some
	@scripts/ensure-build.sh
	@set -e; for version in $(VERSIONS); do \
	  pg=$$(scripts/ensure-version.sh $$version); \
	  echo "PostgreSQL $$version"; \
	  LIFEBOAT_TEST_PG_BIN="$$pg" $(CARGO) test --locked --test wal_judge --test recovery_point --test suspects; \
	done

# Cells of test-matrix whose name has every word of these, separated by +: ONLY='file+Option B'.
ONLY ?=

test-matrix: ## Ways to bring data back: versions, drivers, ciphers and stores, each with each; hours; ONLY='file+delta' for some
	@scripts/ensure-build.sh
	@scripts/ensure-s3.sh
	@set -e; bins=; for version in $(VERSIONS); do \
	  bins="$$bins:$$(scripts/ensure-version.sh $$version)"; \
	done; \
	for own in /usr/lib/postgresql/*/bin; do [ ! -x "$$own/postgres" ] || bins="$$bins:$$own"; done; \
	LIFEBOAT_MATRIX_BINS="$${bins#:}" LIFEBOAT_MATRIX="$(CURDIR)/target/matrix.md" \
	  LIFEBOAT_MATRIX_ONLY='$(ONLY)' \
	  $(CARGO) test --locked --test drivers -- --include-ignored every_combination; \
	cat target/matrix.md

test-drivers: ## Control drivers: Option B, the alternative directory, sudo's rules, a plain user; minutes, as root
	@scripts/ensure-build.sh
	@scripts/ensure-sudo.sh
	@pg=$$(scripts/ensure-postgres.sh); \
	LIFEBOAT_PG_BIN="$$pg" $(CARGO) test --locked --test drivers --test init -- --include-ignored --skip every_combination

test-reach: ## Proof of reach: every verdict against what a server then does, minutes
	@scripts/ensure-build.sh
	@pg=$$(scripts/ensure-postgres.sh); \
	LIFEBOAT_PG_BIN="$$pg" $(CARGO) test --locked --test reach_judge -- --include-ignored

test-pg-cases: ## PostgreSQL's own recovery cases against our commands, on every version, minutes; VERSIONS="15 18" for some
	@scripts/ensure-build.sh
	@set -e; for version in $(VERSIONS); do \
	  pg=$$(scripts/ensure-version.sh $$version); \
	  echo "PostgreSQL $$version"; \
	  LIFEBOAT_TEST_PG_BIN="$$pg" $(CARGO) test --locked --test pg_cases -- --include-ignored; \
	done

test-kill: ## `kill -9` of runner, PostgreSQL and screens in every step, not in some alone; minutes
	@scripts/ensure-build.sh
	@pg=$$(scripts/ensure-postgres.sh); \
	LIFEBOAT_PG_BIN="$$pg" $(CARGO) test --locked --test kill --test tablespaces --test parts -- \
		--include-ignored

test-cron: ## Jobs of the real pg_cron held and released, which is installed first; two minutes
	@scripts/ensure-build.sh
	@pg=$$(scripts/ensure-postgres.sh); \
	scripts/ensure-cron.sh "$$pg"; \
	LIFEBOAT_PG_BIN="$$pg" $(CARGO) test --locked --test aftercare -- --include-ignored pg_cron

test-troubles: ## Every trouble of a recovery, caused, recognised, cured and verified; minutes
	@scripts/ensure-build.sh
	@scripts/ensure-s3.sh
	@pg=$$(scripts/ensure-postgres.sh); \
	LIFEBOAT_PG_BIN="$$pg" $(CARGO) test --locked --test troubles -- --include-ignored --test-threads=2

test-drills: ## Every GameDay scenario, and every inject alone, by the program itself; minutes
	@scripts/ensure-build.sh
	@pg=$$(scripts/ensure-postgres.sh); \
	LIFEBOAT_PG_BIN="$$pg" $(CARGO) test --locked --test drills --test drill_copy --test newcomer -- --include-ignored --test-threads=1

test-report: ## The report in a browser at two widths and in print; what it saw is left in target/report-look
	@scripts/ensure-build.sh
	@scripts/ensure-chromium.sh
	$(CARGO) test --locked --test report -- --include-ignored --nocapture look

bench: ## Speed, as ratios against peers in the same run
	@scripts/ensure-build.sh
	@pg=$$(scripts/ensure-postgres.sh); \
	LIFEBOAT_PG_BIN="$$pg" $(CARGO) bench --locked
	$(CARGO) test --locked --release --test screens -- --ignored --nocapture

build: ## target/release/lifeboat
	@scripts/ensure-build.sh
	$(CARGO) build --release --locked

lint: ## Format, lints, and the dependencies' licences and advisories where cargo-deny is there
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check; \
	else echo 'cargo-deny is not installed: licences and advisories were not checked'; fi
	@if command -v shellcheck >/dev/null; then shellcheck -x scripts/*.sh .ci/run; \
	else echo 'shellcheck is not installed: the scripts were not checked'; fi
