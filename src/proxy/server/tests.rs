//! A panic costs the connection that it happens in, and nothing else.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use log::{LevelFilter, Log, Metadata, Record};

use super::{PREFACE, Proxy, bind};
use crate::cli::{self, Cli};
use crate::config::Config;
use crate::dns::nameservers::Nameservers;
use crate::proxy::http2::frame::{self, flag, frame_type};

/// Panics in the thread that logs a line about `bug.example`.
struct PanickingLogger;

impl Log for PanickingLogger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        assert!(!record.args().to_string().contains("bug.example"), "on purpose");
    }

    fn flush(&self) {}
}

#[test]
fn a_panic_costs_one_connection() {
    log::set_logger(&PanickingLogger).expect("no other test has a logger");
    log::set_max_level(LevelFilter::Warn);
    let proxy = proxy();
    let sockets = bind(0).expect("a port");
    let to = SocketAddr::from(([127, 0, 0, 1], sockets.port()));
    thread::spawn({
        let proxy = Arc::clone(&proxy);
        move || sockets.serve(proxy)
    });
    let mut other = connect(to);
    // No name of runsd's leads there.
    let get = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
    for request in [get("bug.example"), http2_get(b"bug.example")] {
        let mut client = connect(to);
        client.write_all(&request).expect("a write");
        let mut response = Vec::new();
        // It may be reset, as more was sent than was read.
        let _ = client.read_to_end(&mut response);
        assert!(!response.starts_with(b"HTTP/"), "{response:?}");
        // A connection of before, and a new one.
        for client in [&mut other, &mut connect(to)] {
            client.write_all(&get("good.example")).expect("a write");
            let mut start = [0; 9];
            client.read_exact(&mut start).expect("a response");
            assert_eq!(&start, b"HTTP/1.1 ", "{request:?}");
        }
        drain(&mut other);
    }
    drop(other);
    let deadline = Instant::now() + Duration::from_secs(20);
    while proxy.limiter.active() > 0 {
        assert!(Instant::now() < deadline, "{} connections are still counted", proxy.limiter.active());
        thread::yield_now();
    }
}

/// A proxy that asks nothing of the network.
fn proxy() -> Arc<Proxy> {
    let argv = ["-gcp_region=us-east1", "-gcp_project_number=123456789012", "app"].map(Into::into);
    let Ok(Cli::Run(args)) = cli::parse(argv.into_iter(), &[]) else {
        panic!("flags");
    };
    // No metadata server, whatever this machine has.
    let config = Config::new(args, |name| (name == "GCE_METADATA_HOST").then(|| "127.0.0.1:0".into()));
    Arc::new(Proxy::new(&config, Arc::new(Nameservers::new(&[], &[])), 80, false))
}

fn connect(to: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(to).expect("a connection");
    client.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    client
}

/// Reads what has come of a response beyond its start.
fn drain(client: &mut TcpStream) {
    let mut body = Vec::new();
    while !body.ends_with(b"\n") || !body.windows(4).any(|octets| octets == b"\r\n\r\n") {
        let mut octets = [0; 1024];
        let n = client.read(&mut octets).expect("a response");
        assert_ne!(n, 0, "a response that is cut");
        body.extend_from_slice(&octets[..n]);
    }
}

fn http2_get(authority: &[u8]) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    frame::write_settings(&mut bytes, &[]);
    let len = u8::try_from(authority.len()).expect("a short authority");
    let block = [b"\x82\x86\x84\x01", &[len][..], authority].concat();
    frame::write_header(&mut bytes, block.len(), frame_type::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1);
    bytes.extend_from_slice(&block);
    bytes
}
