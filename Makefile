# What is needed beside the compiler, by test and demo, by lint where there is no
# rustup, and by the comparisons. Installed by apt when missing and we are root.
TOOLS = bind9-dnsutils busybox-static curl gcc golang-go iproute2 libc6-dev musl-tools nghttp2-client nginx-light nodejs openssl procps python3 python3-venv util-linux
LINTERS = cargo-web rust-web-clippy rustc-web rustfmt-web gcc libc6-dev ca-certificates
PEERS = catatonit dnsmasq-base dnsperf dumb-init gcc haproxy libc6-dev nghttp2-proxy tini wrk
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

build: ; ./build.sh
test: tools python build ; RUNSD_BIN="$$PWD/dist/runsd" ./build.sh --cargo test --locked
lint: linters ; ./build.sh --cargo fmt --check && ./build.sh --cargo clippy --locked --all-targets -- -D warnings
demo: tools build ; ./build.sh --cargo build --quiet --locked --example cloudrun && RUNSD_BIN="$$PWD/dist/runsd" tests/demo.sh
bench: tools peers build ; tests/bench.sh $(ROW)
coldstart: tools peers build ; tests/coldstart.sh
release: build ; cd dist && cp runsd runsd-$(VERSION)-linux-amd64 && sha256sum runsd-$(VERSION)-linux-amd64 >runsd-$(VERSION)-linux-amd64.sha256
clean: ; rm -rf target dist
tools: ; @./build.sh --install $(TOOLS)
python: tools target/venv/installed
target/venv/installed: tests/requirements.txt
	@python3 -m venv target/venv
	@target/venv/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@
linters: ; @command -v cargo-clippy >/dev/null || ./build.sh --install $(LINTERS)
peers: ; @./build.sh --install $(PEERS)
.PHONY: build test lint demo bench coldstart release clean tools python linters peers
