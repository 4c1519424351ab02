//! resolv.conf(5): what the platform wrote, and what runsd puts in its place.
//!
//! Read as generously as the most generous resolver does, so that no line of
//! the original gets past runsd. The file is written in place: on Cloud Run it
//! may be a bind mount, which cannot be renamed over.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::net::IpAddr;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
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

/// The file's bytes: of a regular file only, and of one of at most 64 KiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    contents(&open(File::options().read(true), path)?)
}

/// Opens without waiting: a pipe in its place would wait for a writer.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.custom_flags(libc::O_NONBLOCK).open(path)
}

fn contents(mut file: &File) -> io::Result<Vec<u8>> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if found.len() > LARGEST {
        return Err(io::Error::other("larger than 64 KiB"));
    }
    // With room to spare, one read takes it all, and another sees its end.
    let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(0) + 64);
    file.rewind()?;
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file as it was found, opened once for all that is done with it.
#[derive(Debug)]
pub struct Found<'a> {
    path: &'a Path,
    /// Where it may be written to.
    file: Option<File>,
    /// What [`read`] gives.
    pub text: io::Result<Vec<u8>>,
}

/// Reads a file that may be rewritten.
pub fn find(path: &Path) -> Found<'_> {
    let file = open(File::options().read(true).write(true), path).ok();
    let text = match &file {
        Some(file) => contents(file),
        None => read(path),
    };
    Found { path, file, text }
}

impl Found<'_> {
    /// Puts `ours` into the file in place. Where it could not be read there
    /// must be nothing at all at that path, and a file is made.
    pub fn rewrite(self, ours: Vec<u8>) -> io::Result<Rewritten> {
        let mut options = File::options();
        options.read(true).write(true);
        let original = self.text.ok();
        let file = match (&original, self.file) {
            (Some(_), Some(file)) => file,
            // Once more, to learn why it may not.
            (Some(_), None) => open(&mut options, self.path)?,
            // Whatever else stands there is not ours to write to, or to remove.
            (None, _) => open(options.create_new(true), self.path).map_err(|err| {
                match self.path.is_dir() {
                    true => io::ErrorKind::IsADirectory.into(),
                    false => err,
                }
            })?,
        };
        let rewritten = Rewritten {
            path: self.path.to_owned(),
            file,
            original,
            ours,
        };
        let before = rewritten.original.as_ref().map_or(0, Vec::len);
        if let Err(err) = overwrite(&rewritten.file, &rewritten.ours, before) {
            // Half a file, as on a full disk, would be worse than the old one.
            let _ = rewritten.put_back();
            return Err(err);
        }
        Ok(rewritten)
    }
}

/// A file that was rewritten, and what it takes to put it back.
#[derive(Debug)]
pub struct Rewritten {
    path: PathBuf,
    file: File,
    original: Option<Vec<u8>>,
    ours: Vec<u8>,
}

impl Rewritten {
    /// Gives the file its original content back, unless someone else wrote it
    /// since, or put another in its place.
    pub fn restore(&self) -> io::Result<()> {
        if contents(&self.file)? == self.ours {
            self.put_back()?;
        }
        Ok(())
    }

    fn put_back(&self) -> io::Result<()> {
        match &self.original {
            Some(original) => overwrite(&self.file, original, self.ours.len()),
            None if same_file(&self.file, &self.path)? => fs::remove_file(&self.path),
            None => Ok(()),
        }
    }
}

fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let (one, other) = (file.metadata()?, fs::symlink_metadata(path)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Writes first and cuts then, where there were more bytes before: nobody ever
/// reads an empty file, and no file system takes it for a replacement that has
/// to reach the disk at once. Cutting nothing off takes longer than writing.
fn overwrite(file: &File, bytes: &[u8], before: usize) -> io::Result<()> {
    file.write_all_at(bytes, 0)?;
    match bytes.len() {
        len if len >= before => Ok(()),
        len => file.set_len(len as u64),
    }
}

/// The largest file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;

#[cfg(test)]
mod tests;
