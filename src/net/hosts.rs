//! Reads hosts(5): names that resolve without DNS, such as the other containers of a Cloud Run instance.

use std::net::IpAddr;
use std::path::Path;

use crate::sys::file;

/// The text of a hosts file.
#[derive(Debug, Clone, Default)]
pub struct HostsFile(String);

impl HostsFile {
    /// Reads `/etc/hosts`. A file that cannot be read has no names.
    pub fn read() -> HostsFile {
        let bytes = file::read_file(Path::new("/etc/hosts")).unwrap_or_default();
        HostsFile(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the first address that the file has for `name`, in any case.
    pub fn lookup(&self, name: &str) -> Option<IpAddr> {
        self.fields().find_map(|mut fields| {
            let ip = fields.next()?.parse().ok()?;
            fields.any(|field| field.eq_ignore_ascii_case(name)).then_some(ip)
        })
    }

    /// Returns all names in the order of the file, whether or not their line has a valid address.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields().flat_map(|fields| fields.skip(1))
    }

    /// Splits each line into an address and names, without its comment.
    fn fields(&self) -> impl Iterator<Item = impl Iterator<Item = &str>> {
        self.0.lines().map(|line| line.split('#').next().unwrap_or_default().split_ascii_whitespace())
    }
}

impl From<&str> for HostsFile {
    fn from(text: &str) -> HostsFile {
        HostsFile(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_hosts_file() {
        let hosts = HostsFile::from(
            "127.0.0.1\tlocalhost\n# 192.0.2.1 old\n192.0.2.2 one two # three\n\
             ::1 six\nnonsense four\n192.0.2.3 two",
        );
        for (name, want) in [
            ("localhost", Some("127.0.0.1")),
            ("ONE", Some("192.0.2.2")),
            ("two", Some("192.0.2.2")),
            ("three", None),
            ("four", None),
            ("old", None),
            ("six", Some("::1")),
        ] {
            let want = want.map(|ip| ip.parse().unwrap());
            assert_eq!(hosts.lookup(name), want, "{name}");
        }
        assert_eq!(hosts.names().collect::<Vec<_>>(), ["localhost", "one", "two", "six", "four", "two"]);
    }
}
