# From a fresh machine (Debian 12 or later) to a release; what is missing is
# installed where this is run as root, and named where it is not.

# What is needed beside the compiler, by test and demo, by test alone, by lint where
# there is no rustup, and by the comparisons.
TOOLS = bind9-dnsutils busybox-static curl gcc golang-go iproute2 libc6-dev musl-tools nghttp2-client nginx-light nodejs openssl procps python3 python3-venv util-linux
TESTERS = buildah uidmap
LINTERS = cargo-web rust-web-clippy rustc-web rustfmt-web gcc libc6-dev ca-certificates
PEERS = catatonit dnsmasq-base dnsperf dumb-init gcc haproxy libc6-dev nghttp2-proxy tini wrk

build: ; ./build.sh
test: tools testers python build ; RUNSD_BIN="$$PWD/dist/runsd" ./build.sh --cargo test --locked
lint: linters ; ./build.sh --cargo fmt --check && ./build.sh --cargo clippy --locked --all-targets -- -D warnings
demo: tools build ; ./build.sh --cargo build --quiet --locked --example cloudrun && RUNSD_BIN="$$PWD/dist/runsd" tests/demo.sh
bench: tools peers build ; tests/bench.sh $(ROW)
coldstart: tools peers build ; tests/coldstart.sh
release: ; .ci/release
clean: ; rm -rf target dist
tools: ; @./build.sh --install $(TOOLS)
python: target/venv/installed
target/venv/installed: tests/requirements.txt | tools
	@umask 022 && python3 -m venv target/venv
	@umask 022 && target/venv/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@
testers: ; @./build.sh --install $(TESTERS)
linters: ; @command -v cargo-clippy >/dev/null || ./build.sh --install $(LINTERS)
peers: ; @./build.sh --install $(PEERS)
.PHONY: build test lint demo bench coldstart release clean tools testers python linters peers
