//! resolv.conf(5) as a resolver reads it: whom to ask, and under which names.
//! Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::{Value, json};

#[derive(Debug, PartialEq, Eq)]
pub struct ResolvConf {
    pub nameservers: Vec<SocketAddr>,
    pub search: Vec<String>,
    pub ndots: usize,
}

impl ResolvConf {
    pub fn parse(text: &str) -> ResolvConf {
        let mut parsed = ResolvConf { nameservers: Vec::new(), search: Vec::new(), ndots: 1 };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    parsed.nameservers.extend(address.map(|address| SocketAddr::new(address, DNS_PORT)));
                }
                // The last line of these counts.
                Some("search" | "domain") => parsed.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let mut ndots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    parsed.ndots = ndots.next_back().unwrap_or(parsed.ndots).min(MAX_NDOTS);
                }
                _ => {}
            }
        }
        parsed.nameservers.truncate(MAX_NAMESERVERS);
        if parsed.nameservers.is_empty() {
            parsed.nameservers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT));
        }
        parsed
    }

    /// The names to ask for, in order, each with what was added to it: the
    /// search domain, or nothing.
    pub fn candidates<'a>(&'a self, name: &str) -> Vec<(String, Option<&'a str>)> {
        if name.ends_with('.') {
            return vec![(name.to_owned(), None)];
        }
        let as_it_is = (format!("{name}."), None);
        let searched = self.search.iter().map(|domain| {
            let domain = domain.trim_end_matches('.');
            (format!("{name}.{domain}."), Some(domain))
        });
        match name.matches('.').count() >= self.ndots {
            true => std::iter::once(as_it_is).chain(searched).collect(),
            false => searched.chain([as_it_is]).collect(),
        }
    }

    pub fn to_json(&self) -> Value {
        let nameservers = self.nameservers.iter().map(|address| address.ip().to_string());
        json!({
            "nameservers": nameservers.collect::<Vec<_>>(),
            "search": self.search,
            "ndots": self.ndots,
        })
    }
}

pub const PATH: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;
/// As many as glibc and musl ask (MAXNS).
const MAX_NAMESERVERS: usize = 3;
/// What glibc makes of a larger one (RES_MAXNDOTS).
const MAX_NDOTS: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    const RUNSDS: &str = "# by runsd\nnameserver 127.0.0.1\n\
        search run.internal google.internal\noptions edns0 ndots:3\n";

    fn names(conf: &ResolvConf, name: &str) -> Vec<String> {
        conf.candidates(name).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn what_runsd_writes() {
        let conf = ResolvConf::parse(RUNSDS);
        assert_eq!(conf.nameservers, [([127, 0, 0, 1], 53).into()]);
        assert_eq!(conf.ndots, 3);
        assert_eq!(names(&conf, "hello"), ["hello.run.internal.", "hello.google.internal.", "hello."]);
        assert_eq!(names(&conf, "a.b.c.d")[0], "a.b.c.d.");
        assert_eq!(names(&conf, "hello."), ["hello."]);
        assert_eq!(conf.candidates("hello")[0].1, Some("run.internal"));
    }

    #[test]
    fn what_is_not_there() {
        let conf = ResolvConf::parse("nameserver nonsense\noptions ndots:x\nsearch a\ndomain b\n");
        assert_eq!(conf.nameservers, [([127, 0, 0, 1], 53).into()]);
        assert_eq!((conf.ndots, conf.search), (1, vec!["b".to_owned()]));
    }
}
