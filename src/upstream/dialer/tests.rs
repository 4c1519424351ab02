use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use super::*;
use crate::dns::nameservers::Nameservers;
use crate::net::context::Background;

/// None of the ports of these tests.
const OWN_PORT: u16 = 1;
const LONG: Duration = Duration::from_secs(5);

fn dialer() -> Dialer {
    let nameservers = Arc::new(Nameservers::new(&[], &[]));
    Dialer::new(Arc::new(Resolver::new(nameservers)), ConnLimiter::new(8, usize::MAX), OWN_PORT)
}

/// A port on which only this address listens.
fn listener(ip: IpAddr) -> (TcpListener, u16) {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Cancelled from the start.
struct Left;

impl Context for Left {
    fn wait(&mut self, _: &mut Vec<PollFd>, _: Duration) -> Result<(), Cancelled> {
        Err(Cancelled)
    }
}

#[test]
fn an_address_that_refuses_is_tried_last_from_then_on() {
    let dialer = dialer();
    let (listener, port) = listener(Ipv4Addr::new(127, 0, 0, 1).into());
    let good: SocketAddr = listener.local_addr().unwrap();
    let bad: SocketAddr = (Ipv4Addr::new(127, 0, 0, 2), port).into();
    let started = Instant::now();
    for refused in [true, false] {
        let mut context = Background;
        let mut race = Race::new(&dialer, "host", &mut context);
        race.add(vec![bad, good]);
        race.run(None).unwrap();
        assert_eq!(race.failure.is_some(), refused);
        let tcp = race.finish().unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), good);
    }
    assert!(started.elapsed() < LONG);
    // Only loopback was reached: that says nothing about the egress.
    assert_eq!(dialer.timeout(), COLD_TIMEOUT);
}

#[test]
fn what_is_said_when_none_answers() {
    let (one, two) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
    let v6 = Ipv6Addr::LOCALHOST;
    // Closed at once, so that nobody listens there.
    let (_, port) = listener(one.into());
    let started = Instant::now();
    for (addresses, want) in [
        (&[IpAddr::V4(one)][..], "127.0.0.1"),
        (&[one.into(), two.into()], "127.0.0.1"),
        (&[v6.into(), two.into()], "127.0.0.2"),
    ] {
        let mut context = Background;
        let dialer = dialer();
        let mut race = Race::new(&dialer, "host", &mut context);
        race.add(addresses.iter().map(|&ip| (ip, port).into()).collect());
        race.run(None).unwrap();
        let Err(err) = race.finish() else {
            panic!("{addresses:?}");
        };
        let want = format!("host at {want}:{port} refused the connection");
        assert_eq!(err.details, want);
    }
    assert!(started.elapsed() < LONG);
}

#[test]
fn nothing_is_waited_for_when_the_client_has_left() {
    let dialer = dialer();
    let (listener, port) = listener(Ipv4Addr::LOCALHOST.into());
    for host in ["localhost", "127.0.0.1"] {
        let dialed = dialer.connect(host, port, &mut Left);
        assert!(matches!(&dialed, Err(err) if err.kind == DialErrorKind::Cancelled), "{dialed:?}");
    }
    let address = listener.local_addr().unwrap();
    let dialed = dialer.connect_to("host", address, &mut Left);
    assert!(matches!(&dialed, Err(err) if err.kind == DialErrorKind::Cancelled), "{dialed:?}");
    assert!(dialer.connect_to("host", address, &mut Background).is_ok());
}

#[test]
fn no_more_attempts_beside_others_than_there_are_descriptors_for() {
    let dialer = dialer();
    let (one, two) = (dialer.spare(), dialer.spare());
    assert!(one.is_some() && two.is_some());
    assert!(dialer.spare().is_none());
    drop(one);
    let one = dialer.spare();
    assert!(one.is_some());
    drop((one, two));
    let (_listener, port) = listener(Ipv4Addr::LOCALHOST.into());
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let permit = dialer.limiter.acquire(client, |_, _| ());
    let one = dialer.spare();
    assert!(one.is_some() && dialer.spare().is_none());
    drop((permit, one));
    assert_eq!(dialer.spares.load(Ordering::Relaxed), 0);
}
