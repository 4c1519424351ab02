//! Responses of the metadata server: whatever bytes come, a text is one that a metadata server sent, a region and a
//! project are right or there are none, and no error shows a part of what may be a token.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use super::client::{Client, Error};
use super::{Metadata, TIMEOUTS, parse_region, parse_zone};
use crate::dns::nameservers::Nameservers;
use crate::dns::resolver::Resolver;
use crate::names::location::Location;
use crate::names::service::{is_project_number, is_region};

/// A response, as it comes on the connection; its first octet says where it is cut in two.
pub fn metadata(data: &[u8]) {
    let Some((cut, response)) = data.split_first() else { return };
    locations(&String::from_utf8_lossy(response));
    let cut = usize::from(*cut).min(response.len());
    match ask([&response[..cut], &response[cut..]]) {
        Ok(text) => {
            let mut rest = response;
            loop {
                let mut fields = vec![httparse::EMPTY_HEADER; rest.len() / 2];
                let mut head = httparse::Response::new(&mut fields);
                let httparse::Status::Complete(len) = head.parse(rest).expect("a head") else { panic!("half a head") };
                rest = &rest[len..];
                if !matches!(head.code, Some(100..=199)) {
                    assert_eq!(head.code, Some(200));
                    let mut fields = head.headers.iter();
                    let flavor = fields.find(|field| field.name.eq_ignore_ascii_case("metadata-flavor"));
                    let flavor = flavor.expect("a flavor");
                    assert!(flavor.value.eq_ignore_ascii_case(b"Google"));
                    break;
                }
            }
            locations(&text);
        }
        Err(Error::Transient(sentence) | Error::Permanent(sentence)) => {
            assert!(!sentence.contains(['\n', '\r']), "{sentence:?}");
            let body =
                response.windows(4).position(|four| four == b"\r\n\r\n").map_or(&b""[..], |at| &response[at + 4..]);
            // Tokens have digits all over, and what runsd says itself has hardly any: libFuzzer learns its words.
            let is_telling = |part: &&[u8]| part.iter().filter(|octet| octet.is_ascii_digit()).count() >= 4;
            let is_shown = |part: &[u8]| sentence.as_bytes().windows(part.len()).any(|shown| shown == part);
            assert!(!body.windows(TELLING_LEN).filter(is_telling).any(is_shown), "{sentence:?}");
        }
    }
}

/// What is read of a region or a zone can be a part of a host.
fn locations(text: &str) {
    for location in [parse_region(text), parse_zone(text)].into_iter().flatten() {
        let Location { region, project } = &location;
        assert!(is_region(region) && is_project_number(project), "{region} {project}");
        let is_label = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        assert!(is_label(region) && is_label(project), "{region} {project}");
        assert!(text.contains(&**region) && text.contains(&**project));
    }
}

/// Asks a server that sends these pieces, and closes.
fn ask(pieces: [&[u8]; 2]) -> Result<String, Error> {
    static LISTENER: OnceLock<Mutex<TcpListener>> = OnceLock::new();
    let listener = LISTENER.get_or_init(|| Mutex::new(TcpListener::bind("127.0.0.1:0").expect("a port")));
    let listener = crate::sync::lock(listener);
    let host = listener.local_addr().expect("its address").to_string();
    let resolver = Arc::new(Resolver::new(Arc::new(Nameservers::new(&[], &[]))));
    let metadata = Metadata { client: Client::new(host, resolver), timeouts: TIMEOUTS, sleep: |_| {} };
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut tcp, _) = listener.accept().expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut octets = [0; 1024];
                match tcp.read(&mut octets) {
                    Ok(n @ 1..) => request.extend_from_slice(&octets[..n]),
                    _ => return,
                }
            }
            let _ = tcp.set_nodelay(true);
            let _ = pieces.into_iter().try_for_each(|piece| tcp.write_all(piece));
        });
        metadata.round_trip("service-accounts/default/identity?audience=x", PATIENCE)
    })
}

/// Octets of a response that are no accident in a sentence.
const TELLING_LEN: usize = 24;
/// Far longer than a response takes.
const PATIENCE: Duration = Duration::from_secs(10);
