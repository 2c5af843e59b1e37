# SPDX-License-Identifier: Apache-2.0
#
# make demo   the main job on real servers, set-up included
# make test   all tests, set-up included
# Both work on a fresh Debian machine with Go and root; nothing needs to be done before.

SHELL := /bin/bash
GO ?= go
FUZZTIME ?= 10s
FAULT ?= kill-server
FLAVOR ?= mysql
DURABILITY ?= best-effort
AUTHORITY ?= $(if $(filter lossless,$(DURABILITY)),quorum,vrrp)
SEMISYNC ?= true
T ?= 10m
SEED ?= 0
N ?= 5000
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: all build setup demo lab bench soak matrix test unit sim fuzz lint clean help

all: build

help: ## show the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST)

build: ## the binary, in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/highwater ./cmd/highwater

setup: ## fetch the real servers, keepalived and promtool that tests and demo run
	test/lab/setup.sh

demo: build setup ## three hosts with replicating servers; kill the primary; nothing is lost (FAULT=help, FLAVOR=mariadb, AUTHORITY=quorum, DURABILITY=lossless, SEMISYNC=false)
	$(GO) run ./test/demo -binary bin/highwater -fault $(FAULT) -flavor $(FLAVOR) -authority $(AUTHORITY) -durability $(DURABILITY) -semi-sync=$(SEMISYNC)

lab: build setup ## the same cluster, left up to play with
	$(GO) run ./test/demo -binary bin/highwater -flavor $(FLAVOR) -authority $(AUTHORITY) -durability $(DURABILITY) -semi-sync=$(SEMISYNC) -stay

bench: build setup ## outage for each fault, beside keepalived with a promote script (BENCH='-faults latency -runs 20': what is added to a commit)
	$(GO) run ./test/bench -binary bin/highwater $(BENCH)

soak: build setup ## faults drawn at random for T=10m, each judged; the seed is printed (AUTHORITY=quorum, DURABILITY=lossless, SEED=n)
	$(GO) run ./test/soak -binary bin/highwater -time $(T) -authority $(AUTHORITY) -durability $(DURABILITY) -seed $(SEED)

matrix: FLAVOR = mysql,mariadb
matrix: HOSTS = 3,2
matrix: build setup ## every fault in turn with quorum and lossless, judged, for MySQL and MariaDB, three servers and two with a witness (FLAVOR=mysql, HOSTS=2, ONLY=fault,...)
	$(GO) run ./test/soak -matrix -binary bin/highwater -flavor $(FLAVOR) -hosts $(HOSTS) -faults '$(ONLY)' -logs build/matrix

test: setup unit sim fuzz ## everything

unit: ## all tests with the race detector; one that cannot run is a failure
	$(GO) vet ./...
	GO=$(GO) test/run.sh $$($(GO) list ./... | grep -v /test/e2e)
	GO=$(GO) test/run.sh ./test/e2e

sim: ## each rule switched off in simulated clusters, and N=5000 more, broken at random (SEED=n plays one of these and shows it)
	$(GO) test ./test/sim -run '$(if $(filter-out 0,$(SEED)),^TestCampaign$$,Mutations|^TestCampaign$$)' -count=1 -timeout 0 -v \
		-sim.campaign=$(N) $(if $(filter-out 0,$(SEED)),-sim.seed=$(SEED))

# Go's fuzzer may end with "context deadline exceeded" when its time runs out in the middle of
# an input; only that, without a failing input, passes.
fuzz: ## every fuzzer for FUZZTIME
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
	    echo "fuzz $$pkg $$f"; \
	    if ! out=$$($(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) "$$pkg" 2>&1); then \
	      echo "$$out"; \
	      if echo "$$out" | grep -q 'Failing input' || ! echo "$$out" | grep -q 'context deadline exceeded'; then exit 1; fi; \
	    fi; \
	    echo "$$out" | tail -1; \
	  done; \
	done

lint: ## gofumpt, staticcheck, golangci-lint at pinned versions
	@out=$$($(GO) run mvdan.cc/gofumpt@v0.12.0 -l .); test -z "$$out" || { echo "gofumpt: $$out"; exit 1; }
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run ./...

clean: ## what make built
	rm -rf bin
