# Everything here needs Go, a C compiler and make; targets under "real
# clients" need what they name.

GO      ?= go
BIN     := bin/spoor
DATA    ?= ./data
# Packages whose concurrency is worth the race detector's price on every run.
RACE    := ./internal/journal/... ./internal/call/... ./internal/kv/... ./internal/record/... \
           ./internal/sigv4/... ./internal/policy/... ./internal/iam/... ./internal/sts/... \
           ./internal/trail/... ./internal/notify/... ./internal/bridge/... ./internal/lake/... ./internal/history/... ./internal/columnar/... ./internal/insights/... ./internal/cql/... ./internal/keyspaces/...
FUZZTIME ?= 10s

.PHONY: build run test race lint vuln bench fuzz oracle peers crash tour clients operations terraform clean

build:
	$(GO) build -trimpath -o $(BIN) ./cmd/spoor

run: build
	$(BIN) serve --data $(DATA)

# The whole suite that needs only Go and a C compiler.
test:
	$(GO) test ./...

# The table of operations, from the code.
operations:
	$(GO) test ./internal/server/ -run '^TestOperations$$' -update

race:
	$(GO) test -race -short $(RACE)

lint:
	@out=$$(gofmt -l cmd internal test); if [ -n "$$out" ]; then echo "not gofmt'ed:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

# Needs the vulnerability database, which not every machine can reach.
vuln:
	$(GO) tool govulncheck ./...

# Each fuzz target for FUZZTIME.
fuzz:
	./test/fuzz.sh $(FUZZTIME)

# Compares event patterns with AWS's own matcher, aws/event-ruler. Needs a JDK
# and Maven.
RULER := bin/ruler
oracle:
	mvn -q -f internal/eventpattern/testdata/ruler/pom.xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(RULER)
	javac -d $(RULER) -cp '$(RULER)/*' internal/eventpattern/testdata/ruler/EventRuler.java
	EVENT_RULER="java -cp '$(CURDIR)/$(RULER):$(CURDIR)/$(RULER)/*' EventRuler" \
		$(GO) test -tags oracle -count 1 -v -run TestOracle ./internal/eventpattern/ $(ORACLEFLAGS)

# Sends events to Apache Kafka and to ElasticMQ, an SQS. Needs a JDK and Maven.
peers:
	./test/peers.sh bin/peers

# Kills the server with SIGKILL under load, ROUNDS times, at random times and
# points, with a failing bucket mixed in. SEED repeats a schedule; the data of a
# run that fails stays, that of any run with KEEP=DIR.
crash:
	$(GO) test ./test/crash -run TestCrash -count=1 -timeout 60m -v -rounds $(or $(ROUNDS),20) -seed $(or $(SEED),0) $(if $(KEEP),-keep $(KEEP))

# Shows every tampering of the tamper suite to the AWS CLI as well, and writes
# the table in docs/SECURITY.md. Needs the AWS CLI.
tamper:
	$(GO) test ./test/tamper -run TestAWSCLI -count=1 -timeout 30m -aws

# Prints the figures of docs/BENCHMARKS.md, all in one run.
bench: build
	$(GO) run ./test/bench
	$(GO) run ./test/bench -columnar 400000
	$(GO) run ./test/bench -lookup 1000000,10000000
	$(GO) test ./internal/verify -run '^$$' -bench Verify -cpu 1,2

# Real clients: the AWS CLI and cqlsh (installed into .venv from PyPI).
tour: build
	./test/tour.sh

# Unmodified drivers and SDKs of other languages; installs them outside the
# repository. CLIENTS names some, SKIP leaves some out.
clients: build
	./test/clients/run.sh $(CLIENTS)

# Terraform (provider hashicorp/aws 5.x) and the AWS CLI create, read, update
# and destroy a project. Says so when Terraform is not to be had; REQUIRE=1
# makes that a failure.
terraform: build
	./test/terraform/run.sh

clean:
	rm -rf bin .venv
