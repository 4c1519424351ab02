//! What runsd works with: flags, environment and resolv.conf, put together
//! once and immutable from then on.

use std::net::SocketAddr;

/// Which names are ours, for the DNS server and the proxy alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The zone services live in, lower case, without outer dots: `run.internal`.
    pub zone: String,
    /// Names given with `-route`, lower case, without the zone.
    pub routes: Vec<Route>,
    /// With `-only`: the names that are ours, and no other.
    pub only: Option<Vec<String>>,
}

/// A name that stands for a URL of the user's choice: `-route NAME=URL,audience=AUD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The name, lower case, without the zone.
    pub name: String,
    /// `http` is for loopback only.
    pub tls: bool,
    /// Host of the URL, lower case.
    pub host: String,
    /// Port of the URL.
    pub port: u16,
    /// The audience of its tokens; `None` sends none.
    pub audience: Option<String>,
}

/// What the DNS server needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// Port of all DNS sockets; 0 lets the kernel choose (tests).
    pub port: u16,
    /// The nameservers of the original resolv.conf, in its order.
    pub nameservers: Vec<SocketAddr>,
    /// The search domains of the original resolv.conf, lower case, no outer dots.
    pub search: Vec<String>,
}
