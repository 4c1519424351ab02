//! resolv.conf(5): what the platform wrote, and what runsd puts in its place.
//!
//! Read as generously as the most generous resolver does, so that no line of
//! the original gets past runsd. The file is written in place: on Cloud Run it
//! may be a bind mount, which cannot be renamed over.

mod file;
mod nameserver;
mod original;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use log::warn;

pub use file::{OpenedFile, RewriteGuard, find};
pub use nameserver::Nameserver;

/// What a resolv.conf says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// In their order.
    pub nameservers: Vec<Nameserver>,
    /// Of the last `search` or `domain` line, lower case, without outer dots.
    pub search: Vec<String>,
    /// All of them, in their order, `ndots` among them.
    pub options: Vec<String>,
    /// Comments, `sortlist` and what else there is, without line ends.
    other: Vec<Vec<u8>>,
}

impl ResolvConf {
    /// Reads a file; nothing in it is an error.
    pub fn parse(input: &[u8]) -> ResolvConf {
        let mut conf = ResolvConf::default();
        for line in input.split(|&b| b == b'\n') {
            let line = line.trim_ascii_end();
            let text = String::from_utf8_lossy(line);
            // Old resolvers took comments at the end of a line, too.
            let mut words = text.split_ascii_whitespace().take_while(|word| !word.starts_with(['#', ';']));
            match words.next() {
                Some("nameserver") => {
                    let word = words.next().unwrap_or_default();
                    conf.nameservers.extend(Nameserver::parse(word));
                }
                Some(keyword @ ("search" | "domain")) => {
                    let limit = if keyword == "domain" { 1 } else { usize::MAX };
                    let mut domains =
                        words.take(limit).map(|word| word.trim_matches('.').to_ascii_lowercase()).peekable();
                    // An empty line says nothing, in glibc.
                    if domains.peek().is_some() {
                        // `.#2` is one only with its dot: without it, a comment.
                        conf.search =
                            domains.filter(|domain| !domain.is_empty() && !domain.starts_with(['#', ';'])).collect();
                    }
                }
                Some("options") => conf.options.extend(words.map(str::to_owned)),
                _ if line.is_empty() => {}
                _ => conf.other.push(line.to_vec()),
            }
        }
        conf
    }

    /// The file that sends resolvers to `own` nameservers, for names in `zone`
    /// first, where the search list has room for it.
    pub fn render(&self, own: &[IpAddr], zone: &str, ndots: u8) -> Vec<u8> {
        let mut file = Vec::new();
        for line in &self.other {
            file.extend_from_slice(line);
            file.push(b'\n');
        }
        for ip in own {
            file.extend_from_slice(format!("nameserver {ip}\n").as_bytes());
        }
        let others = self.search.iter().map(String::as_str);
        let mut search = vec![zone];
        search.extend(others.clone().filter(|domain| *domain != zone));
        // `hello.us-east1.123456789012` has two dots and must go through the
        // search list first.
        let mut ndots = ndots.max(self.ndots()).max(3);
        let length = search.iter().map(|domain| domain.len() + 1).sum::<usize>();
        if "search".len() + length > LINE || search.len() > DOMAINS {
            // Nor has `hello.us-east1` to go through it when it is not there.
            search = others.collect();
            ndots = self.ndots();
            warn!(
                "the search list of resolv.conf is too long to put {zone} before it: a service \
                 is found where no search domain has its name; in full, as in hello.{zone}, at once"
            );
        }
        push_lines("search", &search, usize::MAX, &mut file);
        let ndots = format!("ndots:{ndots}");
        let mut options = vec![ndots.as_str()];
        let others = self.options.iter().map(String::as_str);
        options.extend(others.filter(|option| !is_ndots(option)));
        push_lines("options", &options, LINE, &mut file);
        file
    }

    /// How long a resolver waits for one nameserver: `timeout:N`, 1 to 30
    /// seconds, or 5.
    pub fn timeout(&self) -> Duration {
        let seconds = self.option("timeout:").unwrap_or(5);
        Duration::from_secs(seconds.clamp(1, 30))
    }

    /// As resolvers read it: none is above 15.
    fn ndots(&self) -> u8 {
        let ndots = self.option("ndots:").map(|ndots| ndots.min(15));
        ndots.and_then(|ndots| u8::try_from(ndots).ok()).unwrap_or(1)
    }

    /// The number of an option: of several the last one counts.
    fn option(&self, name: &str) -> Option<u64> {
        let values = self.options.iter().rev();
        let last = values.filter_map(|option| option.strip_prefix(name)).next()?;
        last.parse().ok()
    }
}

/// Appends a line with these words, or several, each of `limit` octets at most.
fn push_lines(keyword: &str, words: &[&str], limit: usize, file: &mut Vec<u8>) {
    let mut line = keyword.to_owned();
    for word in words {
        if line.len() > keyword.len() && line.len() + 1 + word.len() > limit {
            file.extend_from_slice(format!("{line}\n").as_bytes());
            line.truncate(keyword.len());
        }
        line.push(' ');
        line.push_str(word);
    }
    if line.len() > keyword.len() {
        file.extend_from_slice(format!("{line}\n").as_bytes());
    }
}

fn is_ndots(option: &str) -> bool {
    option.starts_with("ndots:")
}

/// Whether a file names runsd as a nameserver, or none, which is the same: what
/// a resolver asks then is at 127.0.0.1.
fn names_us(file: &[u8]) -> bool {
    let nameservers = ResolvConf::parse(file).nameservers;
    nameservers.is_empty() || nameservers.iter().any(|at| OWN.contains(&at.ip))
}

/// Where runsd's nameservers are.
const OWN: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Octets of a line, without its end, and the most that every resolver reads:
/// musl drops lines that do not fit its buffer of 256.
const LINE: usize = 254;

/// Search domains, and the most that every resolver takes: glibc before 2.26
/// drops the others.
const DOMAINS: usize = 6;

#[cfg(test)]
mod tests;
