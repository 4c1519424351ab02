//! Nameservers that do not respond, or respond with an error: which one is next, and what the client gets when none
//! is left.

use super::*;

/// A timeout that a test waits for, and still enough for a nameserver that responds.
const A_WHILE: Duration = Duration::from_secs(1);

#[test]
fn the_next_nameserver_is_tried_after_a_timeout() {
    let (first, second) = (Peer::new(), Peer::new());
    let server = start(&[first.address(), second.address()], A_WHILE);
    let client = Peer::client(&server);
    let asked = question(1, "example.com", A);
    client.ask(&asked);
    let (_, _) = first.next();
    let (heard, from) = second.next();
    let said = answer(&heard, &[("example.com", A, 60, IP)]);
    second.tell(&said, from);
    assert_eq!(client.hear(), with_id(&said, &asked));
    // Remembered: the second is asked at once.
    let asked = question(2, "example.org", A);
    client.ask(&asked);
    let (heard, from) = second.next();
    let said = answer(&heard, &[]);
    second.tell(&said, from);
    assert_eq!(client.hear(), with_id(&said, &asked));
    first.0.set_nonblocking(true).unwrap();
    assert!(first.0.recv(&mut [0; 512]).is_err());
}

#[test]
fn a_nameserver_that_is_back_comes_first_again() {
    let (first, second) = (Peer::new(), Peer::new());
    let config = config(&[first.address(), second.address()]);
    let timeouts = Timeouts { first: A_WHILE, total: LONG, probe_interval: Duration::ZERO };
    let server = serve_with(bind(0).unwrap(), config, timeouts);
    let client = Peer::client(&server);
    let exchange = |who: &Peer, id| {
        let (heard, from) = who.next();
        let said = answer(&heard, &[]);
        who.tell(&said, from);
        assert_eq!(client.hear(), with_id(&said, &[0, id]));
    };
    client.ask(&question(1, "one.example", A));
    first.hear();
    exchange(&second, 1);
    // Both are asked now, and the first is the one to answer.
    client.ask(&question(2, "two.example", A));
    second.hear();
    exchange(&first, 2);
    client.ask(&question(3, "three.example", A));
    exchange(&first, 3);
}

#[test]
fn a_late_response_is_accepted() {
    let (first, second) = (Peer::new(), Peer::new());
    let server = start(&[first.address(), second.address()], A_WHILE);
    let client = Peer::client(&server);
    let asked = question(1, "example.com", A);
    client.ask(&asked);
    let (heard, from) = first.next();
    let (_, _) = second.next();
    let said = answer(&heard, &[]);
    first.tell(&said, from);
    assert_eq!(client.hear(), with_id(&said, &asked));
}

#[test]
fn the_next_nameserver_is_tried_after_an_error_response() {
    let (first, second) = (Peer::new(), Peer::new());
    let server = start(&[first.address(), second.address()], LONG);
    let client = Peer::client(&server);
    for error in [Rcode::SERVFAIL, Rcode::REFUSED] {
        let asked = question(1, "example.com", A);
        client.ask(&asked);
        let (heard, from) = first.next();
        first.tell(&with_rcode(&heard, error), from);
        let (heard, from) = second.next();
        let said = answer(&heard, &[]);
        second.tell(&said, from);
        assert_eq!(client.hear(), with_id(&said, &asked));
    }
    // Both: the first one's own words, and NXDOMAIN under a search domain.
    for (name, want) in [("example.com", Rcode::REFUSED), ("vm.c.proj.internal", Rcode::NXDOMAIN)] {
        let asked = question(1, name, A);
        client.ask(&asked);
        let (heard, from) = first.next();
        first.tell(&with_rcode(&heard, Rcode::REFUSED), from);
        let (heard, from) = second.next();
        second.tell(&with_rcode(&heard, Rcode::SERVFAIL), from);
        assert_eq!(rcode(&client.hear()), want, "{name}");
    }
}

#[test]
fn nxdomain_settles_a_query() {
    let (first, second) = (Peer::new(), Peer::new());
    let server = start(&[first.address(), second.address()], LONG);
    let client = Peer::client(&server);
    client.ask(&question(1, "vm.c.proj.internal", A));
    let (heard, from) = first.next();
    first.tell(&with_rcode(&heard, Rcode::NXDOMAIN), from);
    assert_eq!(rcode(&client.hear()), Rcode::NXDOMAIN);
}

#[test]
fn without_a_responsive_nameserver_the_client_gets_a_failure() {
    let silent = Peer::new();
    let closed = Peer::new().address();
    for (nameservers, first) in [
        (&[][..], LONG),
        (&[closed][..], LONG),
        (&[silent.address()], Duration::from_millis(20)),
        (&[silent.address(), closed], Duration::from_millis(20)),
    ] {
        let server = start(nameservers, first);
        let client = Peer::client(&server);
        for (name, want) in [("example.com", Rcode::SERVFAIL), ("vm.c.proj.internal", Rcode::NXDOMAIN)] {
            let asked = question(1, name, A);
            client.ask(&asked);
            let heard = client.hear();
            assert_eq!(rcode(&heard), want, "{name} {nameservers:?}");
            assert_eq!(heard[12..], asked[12..], "{name} {nameservers:?}");
        }
    }
}

#[test]
fn after_a_closed_port_the_next_nameserver_is_tried_at_once() {
    let closed = Peer::new().address();
    let second = Peer::new();
    let server = start(&[closed, second.address()], LONG);
    let client = Peer::client(&server);
    let asked = question(1, "example.com", A);
    client.ask(&asked);
    let (heard, from) = second.next();
    let said = answer(&heard, &[]);
    second.tell(&said, from);
    assert_eq!(client.hear(), with_id(&said, &asked));
}

#[test]
fn a_lost_datagram_is_sent_again() {
    let upstream = Peer::new();
    let server = start(&[upstream.address()], A_WHILE);
    let client = Peer::client(&server);
    let asked = question(1, "example.com", A);
    client.ask(&asked);
    let (_, _) = upstream.next();
    let (heard, from) = upstream.next();
    let said = answer(&heard, &[]);
    upstream.tell(&said, from);
    assert_eq!(client.hear(), with_id(&said, &asked));
}
