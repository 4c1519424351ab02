# From a fresh machine (Debian 12 or later) to a release; what is missing is
# installed where this is run as root, and named where it is not.

# What is needed beside the compiler, by test and demo, by test alone, by the clients
# that are large, by lint, by lint where there is no rustup, and by the comparisons.
TOOLS = bind9-dnsutils busybox-static curl gcc golang-go iproute2 libc6-dev musl-tools nghttp2-client nginx-light nodejs openssl procps python3 python3-venv util-linux
TESTERS = buildah chromium chromium-driver git haproxy perl php-cli php-curl ruby uidmap wget
CLIENTS = aria2 default-jdk-headless golang-github-gorilla-websocket-dev golang-golang-x-net-dev golang-google-grpc-dev libwww-perl php-guzzlehttp-guzzle ruby-excon ruby-faraday
SCRIPT_LINTERS = flake8 shellcheck
LINTERS = cargo-web rust-web-clippy rustc-web rustfmt-web gcc libc6-dev ca-certificates
PEERS = catatonit dnsmasq-base dnsperf dumb-init gcc haproxy libc6-dev nghttp2-proxy tini wrk

# cargo-deny, by .deny.toml. Without optimizing it is made in a third of the time,
# and takes less than a second for its work.
DENY_VERSION = 0.20.2
DENY = target/tools/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
DENIED = PATH="$$PWD/$(dir $(DENY)):$$PATH" ./build.sh --cargo deny --exclude-dev --config .deny.toml check

# libFuzzer, by tests/fuzz.sh; it is built with C++.
FUZZ_VERSION = 0.13.2
FUZZ = target/tools/cargo-fuzz-$(FUZZ_VERSION)/bin/cargo-fuzz
FUZZERS = g++ libc6-dev
TARGET = http1
SECONDS = 60
SANITIZER = none

# Changes the sources, by tests/mutants.sh; FILE= chooses.
MUTANTS_VERSION = 27.1.0
MUTANTS = target/tools/cargo-mutants-$(MUTANTS_VERSION)/bin/cargo-mutants
# Debian's ordinary users have no folder of servers in PATH: nginx, haproxy, dnsmasq.
export PATH := $(PATH):/usr/sbin:/sbin

build: ; ./build.sh
# The Cloud Run in miniature: `cargo test` builds examples only where it is not told which tests.
miniature: tools ; ./build.sh --cargo build --locked --examples
test: tools testers python build ; RUNSD_BIN="$$PWD/dist/runsd" tests/progress.py test ./build.sh --cargo test --locked
lint: linters $(DENY)
	@./build.sh --install $(SCRIPT_LINTERS)
	./build.sh --cargo fmt --check
	./build.sh --cargo clippy --locked --all-targets -- -D warnings
	shellcheck build.sh .ci/run .ci/release $$(find tests -name '*.sh')
	flake8 .ci tests
	$(DENIED) bans licenses sources
# The one part that asks another than the registry: a git repository of github.com.
advisories: linters $(DENY) ; $(DENIED) advisories
demo: tools build miniature ; RUNSD_BIN="$$PWD/dist/runsd" tests/progress.py demo tests/demo.sh
playground: tools build miniature
	@RUNSD_BIN="$$PWD/dist/runsd" tests/playground.sh
bench: tools peers build ; tests/bench.sh $(ROW)
# Everything at once, with faults, for so long; SEED= repeats an earlier run.
MINUTES = 30
soak: tools python build miniature ; python3 -B tests/soak/main.py $(MINUTES) $(SEED)
# Clients too large for each change: Java's, a browser, those of npm, Debian's Go and crates.io.
clients: tools testers python build miniature
	@./build.sh --install $(CLIENTS)
	@command -v npm >/dev/null || ./build.sh --install npm # others' Node.js has its own
	mkdir -p target/clients/node target/clients/go
	cp tests/clients/real/package*.json target/clients/node/ && npm --prefix target/clients/node ci --ignore-scripts --no-audit --no-fund
	for program in grpc proxied; do GO111MODULE=off GOPATH=/usr/share/gocode GOTOOLCHAIN=local GOCACHE="$$PWD/target/go-cache" CGO_ENABLED=0 go build -o target/clients/go/$$program tests/clients/real/$$program.go || exit; done
	target/venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --target target/clients/niquests -r tests/clients/real/requirements.txt
	./build.sh --cargo build --quiet --locked --manifest-path tests/clients/real/rust/Cargo.toml --target-dir target/clients/rust
	RUNSD_BIN="$$PWD/dist/runsd" ./build.sh --cargo test --locked --test tests -- --include-ignored real_clients http_proxy_clients
# One target of tests/fuzz for so long; a short run of each is in `make test`.
fuzz: $(FUZZ) ; @PATH="$$PWD/$(dir $(FUZZ)):$$PATH" tests/fuzz.sh $(TARGET) $(SECONDS) $(SANITIZER)
# Changes that no unit test notices: hours over all files, minutes over one.
mutants: $(MUTANTS) ; @PATH="$$PWD/$(dir $(MUTANTS)):$$PATH" tests/mutants.sh $(FILE)
coldstart: tools peers build ; tests/coldstart.sh
release: ; .ci/release
# Before a release, and too long for each change: two million packets of DNS (an
# ordinary run has a twentieth), ten thousand connections that are closed at the moment
# of reuse, a control group's limits (as root), arm64 under qemu, and what a release is made of.
release-test: tools testers python build miniature
	RUNSD_PACKETS=2000000 ./build.sh --cargo test --locked --bin runsd oracles
	RUNSD_BIN="$$PWD/dist/runsd" REUSES=10000 CHURN=60 ./build.sh --cargo test --locked --test tests -- --include-ignored turn_out_closed a_second_leave control_groups
	tests/arm64.sh
	.ci/release
	tests/release.sh
	tests/playground_image.sh
clean: ; rm -rf target dist
tools: ; @./build.sh --install $(TOOLS)
python: target/venv/installed
target/venv/installed: tests/requirements.txt tests/playground/requirements.txt | tools
	@umask 022 && python3 -m venv target/venv
	@umask 022 && target/venv/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@umask 022 && target/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/playground/requirements.txt
	@touch $@
testers: ; @./build.sh --install $(TESTERS)
$(DENY): | linters
	@echo "compiles cargo-deny: one to two minutes on two cores"
	@./build.sh --cargo install --quiet --debug --locked --root "$(@:/bin/cargo-deny=)" --version $(DENY_VERSION) cargo-deny
$(FUZZ): | linters
	@./build.sh --install $(FUZZERS)
	@echo "compiles cargo-fuzz: a minute on two cores"
	@./build.sh --cargo install --quiet --debug --locked --root "$(@:/bin/cargo-fuzz=)" --version $(FUZZ_VERSION) cargo-fuzz
$(MUTANTS): | linters
	@echo "compiles cargo-mutants: two minutes on two cores"
	@./build.sh --cargo install --quiet --debug --locked --root "$(@:/bin/cargo-mutants=)" --version $(MUTANTS_VERSION) cargo-mutants
linters: ; @command -v cargo-clippy >/dev/null || ./build.sh --install $(LINTERS)
peers: ; @./build.sh --install $(PEERS)
.PHONY: build miniature test lint advisories demo playground bench soak fuzz mutants clients coldstart release release-test clean tools testers python linters peers
