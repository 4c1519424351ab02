use std::net::{Ipv4Addr, TcpListener};

use super::*;
use crate::dns::nameservers::Nameservers;
use crate::net::context::{Background, Cancelled};
use crate::sys::net::PollFd;

/// None of the ports of these tests.
const OWN_PORT: u16 = 1;

fn dialer(fixed_address: Option<SocketAddr>) -> Dialer {
    let nameservers = Arc::new(Nameservers::new(&[], &[]));
    let limiter = ConnLimiter::new(8, usize::MAX);
    Dialer::new(Arc::new(Resolver::new(nameservers)), limiter, OWN_PORT, fixed_address)
}

/// Cancelled from the start.
struct Left;

impl Context for Left {
    fn wait(&mut self, _: &mut Vec<PollFd>, _: std::time::Duration) -> Result<(), Cancelled> {
        Err(Cancelled)
    }
}

#[test]
fn a_dial_ends_when_the_client_has_left() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let port = address.port();
    for (host, fixed) in [("localhost", None), ("127.0.0.1", None), ("host", Some(address))] {
        let dialed = dialer(fixed).connect(host, port, &mut Left);
        assert!(matches!(&dialed, Err(err) if err.kind == DialErrorKind::Cancelled), "{host}: {dialed:?}");
    }
    assert!(dialer(Some(address)).connect("host", port, &mut Background).is_ok());
}
