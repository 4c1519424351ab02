//! resolv.conf(5): reads what the platform wrote, renders what runsd writes in its place, and restores it.
//!
//! Read as generously as the most generous resolver does, so that no line of the original bypasses runsd. The file is
//! written in place: on Cloud Run it may be a bind mount, which cannot be renamed over.

mod backup;
mod file;
mod nameserver;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use log::warn;

pub use file::{OpenedFile, RewriteGuard, open};
pub use nameserver::Nameserver;

/// What a resolv.conf says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// In the order of the file, which is that of asking.
    pub nameservers: Vec<Nameserver>,
    /// Of the last `search` or `domain` line, lower case, without outer dots.
    pub search: Vec<String>,
    /// Of all `options` lines, in the order of the file.
    pub options: Vec<String>,
    /// Comments, `sortlist` and unknown lines, without line ends.
    passthrough_lines: Vec<Vec<u8>>,
}

impl ResolvConf {
    /// Reads a file. As in resolvers, nothing in it is an error.
    pub fn parse(input: &[u8]) -> ResolvConf {
        let mut conf = ResolvConf::default();
        for line in input.split(|&b| b == b'\n') {
            let line = line.trim_ascii_end();
            let text = String::from_utf8_lossy(line);
            // Old resolvers accept a comment at the end of a line, too.
            let mut words = text.split_ascii_whitespace().take_while(|word| !word.starts_with(['#', ';']));
            match words.next() {
                Some("nameserver") => conf.nameservers.extend(words.next().and_then(Nameserver::parse)),
                Some(keyword @ ("search" | "domain")) => {
                    let max = if keyword == "domain" { 1 } else { usize::MAX };
                    let domains = words.take(max).map(|word| word.trim_matches('.').to_ascii_lowercase());
                    let domains: Vec<String> = domains.collect();
                    // In glibc a line without domains changes nothing.
                    if !domains.is_empty() {
                        conf.search = domains;
                        // `.#2` would be a comment without its dot.
                        conf.search.retain(|domain| !domain.is_empty() && !domain.starts_with(['#', ';']));
                    }
                }
                Some("options") => conf.options.extend(words.map(str::to_owned)),
                _ if line.is_empty() => {}
                _ => conf.passthrough_lines.push(line.to_vec()),
            }
        }
        conf
    }

    /// Renders the file that names runsd's `local_addrs` as nameservers, and `zone` as the first search domain where
    /// every resolver reads a search list of that length.
    pub fn render(&self, local_addrs: &[IpAddr], zone: &str, ndots: u8) -> Vec<u8> {
        let mut file = Vec::new();
        for line in &self.passthrough_lines {
            file.extend_from_slice(line);
            file.push(b'\n');
        }
        for ip in local_addrs {
            file.extend_from_slice(format!("nameserver {ip}\n").as_bytes());
        }
        let original = self.search.iter().map(String::as_str);
        let mut search = vec![zone];
        search.extend(original.clone().filter(|domain| *domain != zone));
        // `hello.us-east1.123456789012` has two dots, and a resolver has to try the search list first.
        let mut ndots = ndots.max(self.ndots()).max(3);
        let line_len = "search".len() + search.iter().map(|domain| domain.len() + 1).sum::<usize>();
        if line_len > MAX_LINE_LEN || search.len() > MAX_SEARCH_DOMAINS {
            // Without the zone there is no reason to try the search list first.
            search = original.collect();
            ndots = self.ndots();
            warn!(
                "the search list of resolv.conf is too long to put {zone} before it: a service \
                 is found where no search domain has its name; in full, as in hello.{zone}, at once"
            );
        }
        push_lines("search", &search, usize::MAX, &mut file);
        let ndots = format!("ndots:{ndots}");
        let mut options = vec![ndots.as_str()];
        options.extend(self.options.iter().map(String::as_str).filter(|option| !option.starts_with("ndots:")));
        push_lines("options", &options, MAX_LINE_LEN, &mut file);
        file
    }

    /// Returns how long a resolver waits for one nameserver: `timeout:N`, which glibc limits to 30 seconds, or its
    /// default of 5.
    pub fn timeout(&self) -> Duration {
        let seconds = self.option("timeout:").unwrap_or(5);
        Duration::from_secs(seconds.clamp(1, 30))
    }

    /// Returns `ndots:N`, which resolvers limit to 15, or their default of 1.
    fn ndots(&self) -> u8 {
        let ndots = self.option("ndots:").unwrap_or(1).min(15);
        u8::try_from(ndots).unwrap_or(15)
    }

    /// Returns the number of an option; the last one of its name counts.
    fn option(&self, name: &str) -> Option<u64> {
        self.options.iter().rev().find_map(|option| option.strip_prefix(name))?.parse().ok()
    }
}

/// Appends one line of `words`, or several of `max_len` bytes at most; none without words.
fn push_lines(keyword: &str, words: &[&str], max_len: usize, file: &mut Vec<u8>) {
    let mut line = keyword.to_owned();
    for word in words {
        if line.len() > keyword.len() && line.len() + 1 + word.len() > max_len {
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

/// Whether a file names runsd as a nameserver, or none: a resolver then asks 127.0.0.1.
fn names_runsd(file: &[u8]) -> bool {
    let nameservers = ResolvConf::parse(file).nameservers;
    nameservers.is_empty() || nameservers.iter().any(|nameserver| LOCAL_ADDRS.contains(&nameserver.ip))
}

/// The addresses of runsd's DNS server.
const LOCAL_ADDRS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Bytes of a line without its end that every resolver reads: musl drops lines that exceed its buffer of 256.
const MAX_LINE_LEN: usize = 254;

/// Search domains that every resolver reads: glibc before 2.26 drops further ones.
const MAX_SEARCH_DOMAINS: usize = 6;

#[cfg(test)]
mod tests;
