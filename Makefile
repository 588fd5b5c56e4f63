# Everything a developer runs. `make` alone lists it.

SHELL       := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build run test race lint fuzz conformance conformance-amqp conformance-cluster conformance-crash conformance-clients conformance-openwire conformance-sqs conformance-sns \
        bench bench-load profile image soak soak-cluster crash clean

VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOFLAGS_BIN := -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
FUZZTIME    ?= 30s
CRASH_ROUNDS ?= 100
SUITES      := conformance/harness conformance/amqp conformance/mqtt conformance/stomp conformance/sqs conformance/sns conformance/crash conformance/websocket conformance/tls conformance/interop conformance/openwire conformance/cluster

help:         ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build:        ## ./bin/hermod, static
	CGO_ENABLED=0 go build $(GOFLAGS_BIN) -o bin/hermod ./cmd/hermod

run: build    ## build and serve from ./data; ARGS='--set key=value'
	./bin/hermod serve $(ARGS)

test:         ## what you run before every commit
	go vet ./...
	go test ./...

race:         ## the same under the race detector
	go test -race ./...

lint:         ## formatting, vet, staticcheck, layering, package docs, forbidden calls; nested suites too
	@out="$$(gofmt -l .)"; if [ -n "$$out" ]; then echo "not formatted:"; echo "$$out"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...
	go test ./conformance
	@staticcheck=$$(go tool -n staticcheck); \
	for dir in $(SUITES); do echo "vet and staticcheck $$dir"; (cd $$dir && go vet ./... && $$staticcheck ./...) || exit 1; done

fuzz:         ## every Fuzz target for FUZZTIME each, those of nested suites too
	@set -euo pipefail; \
	for dir in . $(SUITES); do \
		for pkg in $$(cd $$dir && go list ./...); do \
			grep -qs '^func Fuzz' $$(cd $$dir && go list -f '{{.Dir}}' $$pkg)/*_test.go || continue; \
			for target in $$(cd $$dir && go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
				echo "== $$pkg $$target"; \
				(cd $$dir && go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg); \
			done; \
		done; \
	done

conformance: build ## black-box suites against ./bin/hermod: AMQP, crash, clients in other languages
	HERMOD_BIN=$(CURDIR)/bin/hermod conformance/run.sh

conformance-amqp: build ## the numbered AMQP statements; RUN=AMQP17 limits it; BROKER_ADDR tests another broker
	cd conformance/amqp && HERMOD_BIN=$(CURDIR)/bin/hermod go test -count=1 $(if $(RUN),-run '$(RUN)') -v .

conformance-crash: build ## CRASH_ROUNDS hard kills under load, every message accounted for
	cd conformance/crash && HERMOD_BIN=$(CURDIR)/bin/hermod CRASH_ROUNDS=$(CRASH_ROUNDS) go test -count=1 -timeout 0 -v .

conformance-cluster: build ## three nodes that are killed, frozen, cut off and upgraded under load, on disks that fill up or forget; CLUSTER_ROUNDS, CLUSTER_POWER_ROUNDS, CLUSTER_SEED
	cd conformance/cluster && HERMOD_BIN=$(CURDIR)/bin/hermod go test -count=1 -timeout 0 -v ./...

conformance-clients: build ## stock clients: Go's own tests, node, Java, Python, Celery
	HERMOD_BIN=$(CURDIR)/bin/hermod conformance/clients/run.sh

conformance-openwire: build ## stock JMS clients 5.18 and 6.x (Maven); RUN='OW-16 ', CLIENTS=jakarta, CHURN_SECONDS=3600; BROKER_URL tests another broker
	cd conformance/openwire && HERMOD_BIN=$(CURDIR)/bin/hermod go test -count=1 -timeout 0 -v .

conformance-sqs: build ## SQS by aws-sdk-go-v2 and by hand; RUN='SQS_28' limits it; SQS_ENDPOINT tests another service, real AWS too
	cd conformance/sqs && HERMOD_BIN=$(CURDIR)/bin/hermod go test -count=1 -timeout 30m $(if $(RUN),-run '$(RUN)') -v .

conformance-sns: build ## SNS by aws-sdk-go-v2 and by hand; RUN limits it
	cd conformance/sns && HERMOD_BIN=$(CURDIR)/bin/hermod go test -count=1 -timeout 30m $(if $(RUN),-run '$(RUN)') -v .

crash: CRASH_ROUNDS = 2000
crash: conformance-crash ## the long form of the crash suite

soak: build   ## crash and AMQP suites again and again for SOAK (default 1h)
	HERMOD_BIN=$(CURDIR)/bin/hermod SOAK=$(or $(SOAK),1h) conformance/soak.sh

soak-cluster: build ## the cluster under calm load and faults in turn for SOAK (default 1h); fails on growth or loss; CLUSTER_SEED
	cd conformance/cluster && HERMOD_BIN=$(CURDIR)/bin/hermod CLUSTER_SOAK=$(or $(SOAK),1h) go test -count=1 -timeout 0 -run TestSoak -v .

bench:        ## micro-benchmarks of all packages, with allocations
	go test -run '^$$' -bench . -benchmem ./...

bench-load: build ## the load runs of docs/performance.md, beside a relay and RabbitMQ if installed; PARTS, ARGS='--rounds 5'
	python3 conformance/bench/run.py --bin bin/hermod $(ARGS) $(PARTS)

profile: build ## cmd/hermod/default.pgo anew: what the compiler knows of the hot paths; on a quiet machine, 2 minutes
	python3 conformance/bench/run.py --bin bin/hermod profile

image:        ## container image hermod:VERSION
	docker build --build-arg VERSION=$(VERSION) -t hermod:$(VERSION) .

clean:        ## remove what the targets above made in the tree
	rm -rf bin conformance/clients/java/target conformance/clients/node/node_modules conformance/openwire/java/target
