# Everything a developer runs. `make` alone lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO ?= go
# Release builds say VERSION=1.2.3; all others are named after the commit.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
BRANCH ?= $(shell git rev-parse --abbrev-ref HEAD 2>/dev/null || echo unknown)
# The commit's date, not today's: the same commit gives the same binary.
BUILD_DATE ?= $(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null || echo unknown)

version_package := github.com/prometheus/common/version
ldflags := -s -w \
	-X $(version_package).Version=$(VERSION:v%=%) -X $(version_package).Revision=$(REVISION) \
	-X $(version_package).Branch=$(BRANCH) -X $(version_package).BuildDate=$(BUILD_DATE)

go_build := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(ldflags)' -o bin/

# Two clusters' worth of tests at once is what two cores carry without tests slowing each other down.
TEST_PARALLEL ?= 2
# For one package; more on a machine that does other things, too, as the tests' own waits (pgtest.Patience).
TEST_TIMEOUT ?= $(shell awk -v cores=$$(nproc 2>/dev/null || echo 2) '{ f = 1 + $$1 / cores; print int(9 * (f > 5 ? 5 : f)) "m" }' /proc/loadavg 2>/dev/null || echo 9m)
# Packages to test, such as PACKAGES=./internal/probe, and further flags, such as TESTFLAGS='-run Restart -v'.
PACKAGES ?= ./...
TESTFLAGS ?=

# What the tests talk to.
parts := server prometheus promtool alertmanager pgbouncer pgbackrest s3 browser tmux
install := internal/pgtest/install.sh
# Too large to be pinned by hash beside the others.
goreleaser_version := v2.14.3
govulncheck_version := v1.9.0
release_tool := $(GO) tool -modfile=tools/release/go.mod
lint := $(GO) tool -modfile=tools/go.mod golangci-lint

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  make demo DEMO_SECONDS=60         ends by itself; DEMO_CHAOS=1 restarts and kills the server now and then'
	@echo '  make demo DEMO_SERVERS=3          a fleet: a server, its standby, and another; with Grafana, where one is installed'
	@echo '  make test PACKAGES=./collector    one room only; TESTFLAGS="-run Restart -v" is passed on'

.PHONY: build
build: ## Build the programs of cmd/ into bin/ (static)
	$(go_build) ./cmd/...

.PHONY: demo
demo: ## Run PostgreSQL under a light load, the exporter, backups and Prometheus until Ctrl-C
	@$(install) server prometheus
	@echo "Building the programs and the demo ..."
	@$(go_build) ./cmd/... ./deploy/demo
	@exec bin/demo

.PHONY: test
test: ## Test everything; installs the servers it needs where missing
	@$(install) plan $(parts)
	@$(install) $(parts)
	@echo 'test: vet, then every package, about 17 minutes on two idle cores; each is told when it is done, and how many there are' >&2
	$(GO) vet ./...
	@if $(install) docker; then export PG_RELIABILITY_DOCKER=1; fi; all=$$($(GO) list $(PACKAGES) | wc -l); \
	(set -x; $(GO) test -vet=off -p $(TEST_PARALLEL) -timeout $(TEST_TIMEOUT) $(TESTFLAGS) $(PACKAGES)) | \
	{ n=0; while IFS= read -r line; do case $$line in (ok\ *$$'\t'*|FAIL$$'\t'*|\?\ *$$'\t'*) \
	  line="$$line  ($$((n += 1)) of $$all)" ;; esac; printf '%s\n' "$$line"; done; }

.PHONY: test-versions
test-versions: ## Test what depends on the server's version on PostgreSQL 13 to 19 (19: see PGTEST_BIN_19)
	@$(install) versions $(parts)
	@[ -n "$${PGTEST_BIN_19:-}" ] || echo 'test-versions: PostgreSQL 19 is left out: no package has it yet; PGTEST_BIN_19=/path/to/its/bin brings it in' >&2
	@args=$$(internal/pgtest/eachversion.sh) && set -f && PGTEST_VERSIONS=all $(GO) test -p $(TEST_PARALLEL) -timeout 20m $(TESTFLAGS) $$args

.PHONY: test-chaos
test-chaos: ## Inject every fault with shortened durations and hear the alerts; as root; writes docs/chaos.md
	@$(install) $(parts) faketime
	@if $(install) docker; then export PG_RELIABILITY_DOCKER=1; fi; set -x; \
	PG_RELIABILITY_CHAOS=1 $(GO) test ./alerts -run Chaos -count=1 -timeout 15m

.PHONY: test-prometheus3
test-prometheus3: ## Test the alerts with Prometheus 3 instead of the package manager's; builds it, in some minutes
	@$(install) $(parts) prometheus3
	PROMETHEUS=3 $(GO) test ./alerts -count=1 -timeout 15m

.PHONY: secrets
secrets: ## Make the passwords that docker-compose.yml needs, in secrets/; keeps those that exist
	@deploy/compose/secrets.sh

.PHONY: test-compose
test-compose: ## Run docker-compose.yml in a Docker engine of its own and break it; as root; writes docs/recovery.md
	@$(install) docker compose
	PG_RELIABILITY_COMPOSE=1 $(GO) test ./deploy/compose -count=1 -timeout 40m -v $(TESTFLAGS)

.PHONY: test-docs
test-docs: ## Run every command of the guides, on a host and beside docker-compose.yml; as root, on Debian or Ubuntu
	@$(install) server prometheus alertmanager docs
	PG_RELIABILITY_DOCS=1 $(GO) test ./internal/doctest -count=1 -timeout 30m -v $(TESTFLAGS)
	@if $(install) docker compose; then set -x; \
	PG_RELIABILITY_DOCS=1 $(GO) test ./deploy/compose -run Guides -count=1 -timeout 30m -v $(TESTFLAGS); fi

.PHONY: test-patroni
test-patroni: ## Kill and switch over the primary of a real Patroni cluster, and see what the exporters say
	@$(install) server prometheus patroni
	PG_RELIABILITY_PATRONI=1 $(GO) test ./cmd/pg_reliability_exporter -run Patroni -count=1 -timeout 10m -v

.PHONY: test-windows
test-windows: ## Run the monitor's program for Windows in Wine: its keys, its screen, its exit codes
	@$(install) server tmux wine
	PG_RELIABILITY_WINDOWS=1 $(GO) test ./cmd/pg_reliability_monitor -run Windows -count=1 -timeout 9m -v $(TESTFLAGS)

# Those that start goroutines, and whose tests take seconds.
race_packages := ./internal/httpserver ./internal/web ./internal/fleet ./internal/containers ./internal/status/gather \
	./internal/postgres ./internal/probe ./collector ./collector/source ./backup/clients ./backup/schedule
.PHONY: race-packages
race-packages: # which .ci/run tests with the race detector
	@echo $(race_packages)

.PHONY: test-race
test-race: ## Test everything with the race detector (needs a C compiler)
	@$(install) plan $(parts)
	@$(install) cc $(parts)
	CGO_ENABLED=1 $(GO) test -race -p 1 -timeout 20m $(TESTFLAGS) $(PACKAGES)

FUZZ_TIME ?= 30s
.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZ_TIME (30s) and say how many inputs it tried
	@tools/fuzz.sh $(FUZZ_TIME)

.PHONY: lint
lint: ## Check style and that imports between rooms go down only
	$(lint) run ./...

.PHONY: lint-workflows
lint-workflows: ## Check .github/workflows
	$(release_tool) actionlint -shellcheck=

.PHONY: goreleaser-version
goreleaser-version: # which the release workflow installs
	@echo $(goreleaser_version)

.PHONY: release-check
release-check: ## Check .goreleaser.yml and make everything of a release but what needs syft or is published, in dist/
	$(GO) run github.com/goreleaser/goreleaser/v2@$(goreleaser_version) check
	$(GO) run github.com/goreleaser/goreleaser/v2@$(goreleaser_version) release --snapshot --clean --skip=publish,sbom

.PHONY: fmt
fmt: ## Format the code and sort its imports
	$(lint) fmt

BENCH_RIVAL ?=
BENCHFLAGS ?=
.PHONY: bench
bench: ## Compare the cost with Debian's prometheus-postgres-exporter, and with BENCH_RIVAL=/path/to/another, each on a server of its own
	@$(install) server postgres_exporter
	@$(go_build) ./cmd/pg_reliability_exporter
	$(GO) run ./internal/bench -another='$(BENCH_RIVAL)' -json=bin/bench.json $(BENCHFLAGS)

.PHONY: man
man: build ## Write man pages and shell completions into bin/
	@rm -rf bin/man bin/completion && mkdir -p bin/man bin/completion/bash bin/completion/zsh bin/completion/fish
	@for p in $(notdir $(wildcard cmd/*)); do \
		bin/$$p --help-man >bin/man/$$p.1; \
		bin/$$p --completion-script-bash >bin/completion/bash/$$p; \
		bin/$$p --completion-script-zsh >bin/completion/zsh/_$$p; \
		sed "s/PROGRAM/$$p/g" deploy/packages/completion.fish >bin/completion/fish/$$p.fish; \
	done

.PHONY: licences
licences: ## Write the licences of all that is built into the programs to bin/THIRD_PARTY_LICENCES; fails where one may not be passed on
	@mkdir -p bin
	@$(GO) run ./internal/licences ./cmd/... >bin/THIRD_PARTY_LICENCES.new
	@mv bin/THIRD_PARTY_LICENCES.new bin/THIRD_PARTY_LICENCES

.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities in what our programs call; asks vuln.go.dev
	$(GO) run golang.org/x/vuln/cmd/govulncheck@$(govulncheck_version) ./...

# The packages' version: dpkg and rpm know no "-", and a version before 1.2.3 is 1.2.3~rc1.
package_version = $(shell sed -E 's/-([0-9]+-g)/+\1/; s/-(alpha|beta|rc)/~\1/; s/-/./g; /^[0-9]+\.[0-9]+\.[0-9]/!s/^/0.0.0~git/' <<<'$(VERSION:v%=%)')
PACKAGE_ARCH ?= $(shell $(GO) env GOARCH)
package_root := bin/packages/root

.PHONY: packages
packages: man licences ## Make a deb and an rpm in bin/packages (PACKAGE_ARCH=arm64 for another machine)
	@rm -rf $(package_root)
	@GOOS=linux GOARCH=$(PACKAGE_ARCH) CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(ldflags)' -o $(package_root)/usr/bin/ ./cmd/...
	@deploy/packages/stage.sh $(package_root)
	@for format in deb rpm; do \
		SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 0) PACKAGE_ROOT=$(package_root) \
		PACKAGE_VERSION='$(package_version)' PACKAGE_ARCH=$(PACKAGE_ARCH) \
		$(release_tool) nfpm package --config deploy/packages/nfpm.yaml --packager $$format --target bin/packages/; \
	done

.PHONY: test-packages
test-packages: ## Install deb and rpm in a container with systemd, follow the guides there, upgrade, remove and purge; as root
	@$(install) server systemd tmux s3
	@$(MAKE) packages VERSION=0.0.1 && $(MAKE) packages VERSION=0.0.2
	PG_RELIABILITY_PACKAGES=$(CURDIR)/bin/packages $(GO) test ./deploy/packages -count=1 -timeout 15m $(TESTFLAGS)

.PHONY: docs
docs: ## Write docs/metrics.md and collector/sqlmetric anew from the code
	$(GO) test ./internal/docgen/names -run UpToDate -update
	$(GO) test ./internal/docgen -update

.PHONY: generate
generate: ## Write the alerts' rules and the dashboards anew from their sources and thresholds
	$(GO) generate ./alerts ./dashboards

.PHONY: helm
helm: ## Copy the alerts' rules and the dashboards into the Helm chart
	@deploy/helm/sync.sh

.PHONY: test-helm
test-helm: ## Render the Helm chart and check it against Kubernetes' types and our programs; TESTFLAGS=-update writes anew
	@$(install) prometheus
	cd deploy/helm/test && $(GO) vet . && $(GO) test . -count=1 -timeout 9m $(TESTFLAGS)

.PHONY: test-kubernetes
test-kubernetes: ## Install the Helm chart into a Kubernetes node of its own and follow docs/kubernetes.md there; as root, on Linux
	@$(install) kubernetes
	PG_RELIABILITY_KUBERNETES=1 $(GO) test ./deploy/helm/cluster -count=1 -timeout 30m -v $(TESTFLAGS)

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist
