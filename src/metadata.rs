//! What is asked of the metadata server.
//!
//! It answers three questions: where this instance runs, who it is, and with
//! which token it shows that. It keeps nothing: `tokens.rs` does. How it is
//! asked is in `metadata/client.rs`.

mod client;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use self::client::Client;
use crate::dns::resolver::Resolver;
use crate::names::destination::Location;
use crate::names::service::{is_project_number, is_region};
use crate::secret::Secret;

/// The metadata server of this instance.
pub struct Metadata {
    client: Client,
    patience: Patience,
    sleep: fn(Duration),
}

/// How long a caller may have to wait.
struct Patience {
    one_try: Duration,
    in_all: Duration,
}

impl Metadata {
    /// The one at `host[:port]`, whose address `resolver` knows if that is a
    /// name. Nothing is asked of either before a question.
    pub fn new(host: String, resolver: Arc<Resolver>) -> Metadata {
        Metadata { client: Client::new(host, resolver), patience: PATIENCE, sleep: thread::sleep }
    }

    /// Where it is: `host[:port]`.
    pub fn host(&self) -> &str {
        self.client.host()
    }

    /// Region and project number of this instance.
    pub fn place(&self) -> Result<Location, String> {
        match self.get("region").map(|text| place_of_region(&text)) {
            Ok(Some(place)) => Ok(place),
            // Where there is no such thing, or not in the shape we know, the
            // zone has the same two in it.
            Ok(None) | Err(Error::Final(_)) => {
                let text = self.get("zone").map_err(Error::sentence)?;
                place_of_zone(&text)
                    .ok_or_else(|| format!("the metadata server answered {} for instance/zone", brief(&text)))
            }
            Err(Error::Passing(sentence)) => Err(sentence),
        }
    }

    /// A token that shows the service at `audience` who we are.
    ///
    /// Whatever text the server sent: `tokens.rs` looks at its inside.
    pub fn identity_token(&self, audience: &str) -> Result<Secret, String> {
        let path = format!("service-accounts/default/identity?audience={}", percent_encoded(audience));
        let text = self.get(&path).map_err(Error::sentence)?;
        Ok(Secret::new(text.trim_ascii()))
    }

    /// The service account of this instance.
    pub fn email(&self) -> Result<String, String> {
        let text = self.get("service-accounts/default/email").map_err(Error::sentence)?;
        let email = text.trim_ascii();
        let fits = email.contains('@') && email.bytes().all(|b| b.is_ascii_graphic());
        match fits {
            true => Ok(email.to_owned()),
            false => Err(format!("the metadata server answered {} for an email", brief(email))),
        }
    }

    /// One answer, with up to five tries in at most ten seconds, as Google's own
    /// libraries do it.
    fn get(&self, path: &str) -> Result<String, Error> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        loop {
            let left = self.patience.in_all.saturating_sub(start.elapsed());
            let failure = match self.ask(path, left.min(self.patience.one_try)) {
                Err(Error::Passing(sentence)) => sentence,
                done => return done,
            };
            let left = self.patience.in_all.saturating_sub(start.elapsed());
            if tries == TRIES || left <= pause {
                let s = if tries == 1 { "try" } else { "tries" };
                return Err(Error::Passing(format!("{failure}, after {tries} {s}")));
            }
            (self.sleep)(pause);
            pause *= 2;
            tries += 1;
        }
    }

    fn ask(&self, path: &str, time: Duration) -> Result<String, Error> {
        let full = format!("/computeMetadata/v1/instance/{path}");
        let answer = self.client.get(&full, time).map_err(failure)?;
        let (what, _) = path.split_once('?').unwrap_or((path, ""));
        let status = answer.status;
        if !answer.flavored {
            return Err(Error::of_status(
                status,
                format!(
                    "the answer (status {status}) for instance/{what} came without \
                     \"Metadata-Flavor: Google\", so it is not the metadata server's"
                ),
            ));
        }
        if status != 200 {
            return Err(Error::of_status(status, format!("the metadata server answered {status} for instance/{what}")));
        }
        String::from_utf8(answer.body)
            .map_err(|_| Error::Final(format!("the metadata server's answer for instance/{what} is no text")))
    }
}

const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Google's libraries would go on for 16.5 s; here a request waits.
const PATIENCE: Patience = Patience { one_try: Duration::from_secs(3), in_all: Duration::from_secs(10) };

/// Why there is no answer, and whether asking again may help.
#[derive(Debug, PartialEq, Eq)]
enum Error {
    Passing(String),
    Final(String),
}

impl Error {
    fn of_status(status: u16, sentence: String) -> Error {
        match status {
            408 | 429 | 500..=599 => Error::Passing(sentence),
            _ => Error::Final(sentence),
        }
    }

    fn sentence(self) -> String {
        match self {
            Error::Passing(sentence) | Error::Final(sentence) => sentence,
        }
    }
}

fn failure(err: client::Error) -> Error {
    let sentence = err.to_string();
    match err {
        client::Error::Unresolved(_)
        | client::Error::TimedOut
        | client::Error::Unreachable(_)
        | client::Error::Incomplete => Error::Passing(sentence),
        // The next answer would be no other.
        client::Error::NotAHost(_) | client::Error::NotHttp(_) | client::Error::TooLarge(_) => Error::Final(sentence),
    }
}

/// Reads `projects/123/regions/us-east1`.
fn place_of_region(text: &str) -> Option<Location> {
    let (project, region) = parts(text, "regions")?;
    place_of(project, region)
}

/// Reads `projects/123/zones/us-east1-1`.
fn place_of_zone(text: &str) -> Option<Location> {
    let (project, zone) = parts(text, "zones")?;
    let (region, _) = zone.rsplit_once('-')?;
    place_of(project, region)
}

fn parts<'a>(text: &'a str, kind: &str) -> Option<(&'a str, &'a str)> {
    let mut parts = text.trim_ascii().split('/');
    let found = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    match found {
        ("projects", project, is, last) if is == kind && parts.next().is_none() => Some((project, last)),
        _ => None,
    }
}

fn place_of(project: &str, region: &str) -> Option<Location> {
    (is_project_number(project) && is_region(region))
        .then(|| Location { region: region.to_owned(), project: project.to_owned() })
}

/// Enough of a wrong answer to see what it is, and never a token: those are
/// longer.
fn brief(text: &str) -> String {
    match text.len() {
        0..=MAX_QUOTED => format!("{text:?}"),
        len => format!("{len} bytes of something else"),
    }
}

/// Bytes; the shortest tokens have some hundreds, what is asked for here fewer.
const MAX_QUOTED: usize = 64;

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 16);
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(b));
            }
            _ => encoded.push_str(&format!("%{b:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
