//! resolv.conf(5): what the platform wrote, and what runsd puts in its place.
//!
//! Read as generously as the most generous resolver does, so that no line of
//! the original gets past runsd. The file is written in place: on Cloud Run it
//! may be a bind mount, which cannot be renamed over.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a resolv.conf says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// In their order; a zone (`%eth0`) is left out.
    pub nameservers: Vec<IpAddr>,
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
            let mut words = text
                .split_ascii_whitespace()
                .take_while(|word| !word.starts_with(['#', ';']));
            match words.next() {
                Some("nameserver") => {
                    let word = words.next().unwrap_or_default();
                    let ip = word.split(['%', '#', ';']).next().unwrap_or_default();
                    conf.nameservers.extend(ip.parse::<IpAddr>().ok());
                }
                Some(keyword @ ("search" | "domain")) => {
                    let limit = if keyword == "domain" { 1 } else { usize::MAX };
                    let mut domains = words
                        .take(limit)
                        .map(|word| word.trim_matches('.').to_ascii_lowercase())
                        .peekable();
                    // An empty line says nothing, in glibc.
                    if domains.peek().is_some() {
                        conf.search = domains.filter(|domain| !domain.is_empty()).collect();
                    }
                }
                Some("options") => conf.options.extend(words.map(str::to_owned)),
                _ if line.is_empty() => {}
                _ => conf.other.push(line.to_vec()),
            }
        }
        conf
    }

    /// The file that sends resolvers to `own` nameservers, for names in `zone` first.
    pub fn render(&self, own: &[IpAddr], zone: &str, ndots: u8) -> Vec<u8> {
        let mut file = Vec::new();
        for line in &self.other {
            file.extend_from_slice(line);
            file.push(b'\n');
        }
        for ip in own {
            file.extend_from_slice(format!("nameserver {ip}\n").as_bytes());
        }
        let mut search = String::from(zone);
        for domain in self.search.iter().filter(|domain| *domain != zone) {
            search.push(' ');
            search.push_str(domain);
        }
        // `hello.us-east1.123456789012` has two dots and must go through the
        // search list first.
        let ndots = ndots.max(self.ndots()).max(3);
        let mut options = format!("ndots:{ndots}");
        for option in self.options.iter().filter(|option| !is_ndots(option)) {
            options.push(' ');
            options.push_str(option);
        }
        file.extend_from_slice(format!("search {search}\noptions {options}\n").as_bytes());
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
        ndots
            .and_then(|ndots| u8::try_from(ndots).ok())
            .unwrap_or(1)
    }

    /// The number of an option: of several the last one counts.
    fn option(&self, name: &str) -> Option<u64> {
        let values = self.options.iter().rev();
        let last = values
            .filter_map(|option| option.strip_prefix(name))
            .next()?;
        last.parse().ok()
    }
}

fn is_ndots(option: &str) -> bool {
    option.starts_with("ndots:")
}

/// The file's bytes: of a regular file only, for a pipe in its place would
/// wait for a writer, and of one of at most 64 KiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if found.len() > LARGEST {
        return Err(io::Error::other("larger than 64 KiB"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file that was rewritten, and what it takes to put it back.
#[derive(Debug)]
pub struct Rewritten {
    path: PathBuf,
    original: Option<Vec<u8>>,
    ours: Vec<u8>,
}

/// Puts `ours` into the file in place; `original` is what [`read`] gave. Where
/// it is `None` there must be nothing at all at that path, and a file is made.
pub fn rewrite(path: &Path, original: Option<Vec<u8>>, ours: Vec<u8>) -> io::Result<Rewritten> {
    if original.is_none() {
        // Whatever else stands there is not ours to write to, or to remove.
        File::create_new(path).map_err(|err| match path.is_dir() {
            true => io::ErrorKind::IsADirectory.into(),
            false => err,
        })?;
    }
    let rewritten = Rewritten {
        path: path.to_owned(),
        original,
        ours,
    };
    if let Err(err) = overwrite(path, &rewritten.ours) {
        // Half a file, as on a full disk, would be worse than the old one.
        let _ = rewritten.put_back();
        return Err(err);
    }
    Ok(rewritten)
}

impl Rewritten {
    /// Gives the file its original content back, unless someone else wrote it since.
    pub fn restore(&self) -> io::Result<()> {
        if read(&self.path)? == self.ours {
            self.put_back()?;
        }
        Ok(())
    }

    fn put_back(&self) -> io::Result<()> {
        match &self.original {
            Some(original) => overwrite(&self.path, original),
            None => fs::remove_file(&self.path),
        }
    }
}

/// Writes first and cuts then: nobody ever reads an empty file, and no file
/// system takes it for a replacement that has to reach the disk at once.
fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    let before = file.metadata()?.len();
    file.write_all(bytes)?;
    match bytes.len() as u64 {
        // Cutting nothing off takes a file system longer than writing.
        len if len >= before => Ok(()),
        len => file.set_len(len),
    }
}

/// The largest file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;

#[cfg(test)]
mod tests;
