//! The address of a `nameserver` line.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::sys::net::interface_index;

/// A nameserver as resolv.conf or `-nameserver` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nameserver {
    /// IPv4, also where the line maps it into IPv6.
    pub ip: IpAddr,
    /// The zone of a link-local address (RFC 4007, section 11): the name of an interface, or its number. All other
    /// addresses mean the same on every interface.
    pub zone: Option<String>,
}

impl Nameserver {
    /// Reads `10.0.0.1` or `fe80::53%eth0`; a comment may follow without a space. `None` if it is not an address.
    pub fn parse(word: &str) -> Option<Nameserver> {
        let word = word.split(['#', ';']).next()?;
        let (ip, zone) = match word.split_once('%') {
            Some((ip, zone)) => (ip, Some(zone)),
            None => (word, None),
        };
        // `::ffff:127.0.0.1` is 127.0.0.1, which may be runsd itself.
        let ip = ip.parse::<IpAddr>().ok()?.to_canonical();
        let zone = zone.filter(|_| link_local(ip).is_some());
        Some(Nameserver { ip, zone: zone.map(str::to_owned) })
    }

    /// Returns the address to send queries to.
    ///
    /// # Errors
    /// Why it cannot be asked: its interface is not named or does not exist.
    pub fn address(&self) -> Result<SocketAddr, String> {
        let Some(ip) = link_local(self.ip) else {
            return Ok((self.ip, 53).into());
        };
        let Some(zone) = &self.zone else {
            return Err("it does not say on which interface, as in fe80::53%eth0".to_owned());
        };
        // An interface may have a number for a name: names come first.
        let index = interface_index(zone).or_else(|| zone.parse().ok().filter(|&index| index > 0));
        let index = index.ok_or_else(|| format!("there is no interface {zone:?}"))?;
        Ok(SocketAddrV6::new(ip, 53, 0, index).into())
    }
}

fn link_local(ip: IpAddr) -> Option<Ipv6Addr> {
    match ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
        _ => None,
    }
}

impl fmt::Display for Nameserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => write!(f, "{}%{zone}", self.ip),
            None => self.ip.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_sent_to_port_53_of_the_interface() {
        // The index of loopback, whatever it is here.
        let lo = interface_index("lo").expect("there is a loopback");
        for (word, want) in [
            ("169.254.169.254", Ok("169.254.169.254:53".to_owned())),
            ("fd00::53", Ok("[fd00::53]:53".to_owned())),
            ("::ffff:127.0.0.1", Ok("127.0.0.1:53".to_owned())),
            ("fd00::53%none", Ok("[fd00::53]:53".to_owned())),
            ("fe80::53%lo", Ok(format!("[fe80::53%{lo}]:53"))),
            ("fe80::53%lo#x", Ok(format!("[fe80::53%{lo}]:53"))),
            ("febf::53%7", Ok("[febf::53%7]:53".to_owned())),
            ("fe80::53%none", Err("there is no interface \"none\"")),
            ("fe80::53%0", Err("there is no interface \"0\"")),
            ("fe80::53%", Err("there is no interface \"\"")),
            ("fe80::53%a\0b", Err("there is no interface \"a\\0b\"")),
            ("fe80::53", Err("it does not say on which interface, as in fe80::53%eth0")),
        ] {
            let nameserver = Nameserver::parse(word).expect("an address");
            let got = nameserver.address().map(|at| at.to_string());
            assert_eq!(got, want.map_err(str::to_owned), "{word:?}");
        }
        for word in ["", "x", "%lo", "1.2.3.4.5", "#1.2.3.4", "fe80::53%lo%lo "] {
            let parsed = Nameserver::parse(word);
            assert!(parsed.is_none() || word.starts_with("fe80"), "{word:?}: {parsed:?}");
        }
    }
}
