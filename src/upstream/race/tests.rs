use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use super::*;
use crate::net::context::Background;

/// None of the ports of these tests.
const OWN_PORT: u16 = 1;
const LONG: Duration = Duration::from_secs(5);

fn state() -> RaceState {
    RaceState::new(ConnLimiter::new(8, usize::MAX), OWN_PORT)
}

/// A port on which only this address listens.
fn listener(ip: IpAddr) -> (TcpListener, u16) {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn an_address_that_refuses_is_tried_last_afterwards() {
    let state = state();
    let (listener, port) = listener(Ipv4Addr::new(127, 0, 0, 1).into());
    let good: SocketAddr = listener.local_addr().unwrap();
    let bad: SocketAddr = (Ipv4Addr::new(127, 0, 0, 2), port).into();
    let started = Instant::now();
    for refused in [true, false] {
        let mut context = Background;
        let mut race = Race::new(&state, "host", &mut context);
        race.add(vec![bad, good]);
        race.run(None).unwrap();
        assert_eq!(race.first_error.is_some(), refused);
        let tcp = race.finish().unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), good);
    }
    assert!(started.elapsed() < LONG);
    // Only loopback was reached: which says nothing about the egress.
    assert_eq!(state.timeout(), COLD_TIMEOUT);
}

#[test]
fn the_first_error_names_an_ipv4_address() {
    let (one, two) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
    let v6 = Ipv6Addr::LOCALHOST;
    // Closed at once, so that connections to it are refused.
    let (_, port) = listener(one.into());
    let started = Instant::now();
    for (addresses, want) in [
        (&[IpAddr::V4(one)][..], "127.0.0.1"),
        (&[one.into(), two.into()], "127.0.0.1"),
        (&[v6.into(), two.into()], "127.0.0.2"),
    ] {
        let mut context = Background;
        let state = state();
        let mut race = Race::new(&state, "host", &mut context);
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
fn extra_attempts_stay_within_the_descriptors() {
    let state = state();
    let (one, two) = (state.extra_descriptor(), state.extra_descriptor());
    assert!(one.is_some() && two.is_some());
    assert!(state.extra_descriptor().is_none());
    drop(one);
    let one = state.extra_descriptor();
    assert!(one.is_some());
    drop((one, two));
    let (_listener, port) = listener(Ipv4Addr::LOCALHOST.into());
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let permit = state.limiter.acquire(client, |_, _| ());
    let one = state.extra_descriptor();
    assert!(one.is_some() && state.extra_descriptor().is_none());
    drop((permit, one));
    assert_eq!(state.extra_attempts.load(Ordering::Relaxed), 0);
}
