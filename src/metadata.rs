//! What the metadata server knows: where this instance runs, its account, and identity tokens.
//!
//! Nothing is cached here: `names/location.rs` and `auth/tokens.rs` do that. One request and its response are in
//! `metadata/client.rs`; the retries are here.

mod client;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use self::client::{Client, Error};
use crate::dns::resolver::Resolver;
use crate::names::location::Location;
use crate::names::service::{is_project_number, is_region};
use crate::net::percent;
use crate::secret::Secret;

/// The metadata server of this instance.
pub struct Metadata {
    client: Client,
    timeouts: Timeouts,
    sleep: fn(Duration),
}

/// How long a caller may have to wait.
struct Timeouts {
    /// For one attempt.
    attempt: Duration,
    /// For all attempts and the pauses between them.
    total: Duration,
}

impl Metadata {
    /// The server at `host[:port]`, whose name `resolver` looks up. Asks nothing yet.
    pub fn new(host: String, resolver: Arc<Resolver>) -> Metadata {
        Metadata { client: Client::new(host, resolver), timeouts: TIMEOUTS, sleep: thread::sleep }
    }

    /// Asks for the region and the project number of this instance.
    ///
    /// Blocks: for [`TIMEOUTS`] at most, twice where the server does not know the region.
    ///
    /// # Errors
    /// A sentence that says what failed.
    pub fn location(&self) -> Result<Location, String> {
        match self.get("region").map(|text| parse_region(&text)) {
            Ok(Some(location)) => return Ok(location),
            Err(Error::Transient(sentence)) => return Err(sentence),
            // Some servers do not know the region; the zone contains it.
            Ok(None) | Err(Error::Permanent(_)) => {}
        }
        let text = self.get("zone").map_err(Error::into_sentence)?;
        parse_zone(&text).ok_or_else(|| format!("the metadata server answered {} for instance/zone", excerpt(&text)))
    }

    /// Asks for an identity token for `audience`. Returns whatever text the server sent: `auth/tokens.rs` validates it.
    ///
    /// Blocks: for [`TIMEOUTS`] at most.
    ///
    /// # Errors
    /// A sentence that says what failed.
    pub fn identity_token(&self, audience: &str) -> Result<Secret, String> {
        let audience = percent::encode(audience, percent::is_unreserved);
        let path = format!("service-accounts/default/identity?audience={audience}");
        let text = self.get(&path).map_err(Error::into_sentence)?;
        Ok(Secret::new(text.trim_ascii()))
    }

    /// Asks for the email address of this instance's service account.
    ///
    /// Blocks: for [`TIMEOUTS`] at most.
    ///
    /// # Errors
    /// A sentence that says what failed.
    pub fn email(&self) -> Result<String, String> {
        let text = self.get("service-accounts/default/email").map_err(Error::into_sentence)?;
        let email = text.trim_ascii();
        match email.contains('@') && email.bytes().all(|b| b.is_ascii_graphic()) {
            true => Ok(email.to_owned()),
            false => Err(format!("the metadata server answered {} for an email", excerpt(email))),
        }
    }

    /// Asks for `path`, again after transient errors, as Google's client libraries do.
    fn get(&self, path: &str) -> Result<String, Error> {
        let start = Instant::now();
        let mut backoff = INITIAL_BACKOFF;
        let mut attempts = 1;
        loop {
            let left = self.timeouts.total.saturating_sub(start.elapsed());
            let sentence = match self.round_trip(path, left.min(self.timeouts.attempt)) {
                Err(Error::Transient(sentence)) => sentence,
                done => return done,
            };
            let left = self.timeouts.total.saturating_sub(start.elapsed());
            if attempts == MAX_ATTEMPTS || left <= backoff {
                let s = if attempts == 1 { "try" } else { "tries" };
                return Err(Error::Transient(format!("{sentence}, after {attempts} {s}")));
            }
            (self.sleep)(backoff);
            backoff *= 2;
            attempts += 1;
        }
    }

    /// One request, and the check of its response.
    fn round_trip(&self, path: &str, timeout: Duration) -> Result<String, Error> {
        let response = self.client.round_trip(&format!("/computeMetadata/v1/instance/{path}"), timeout)?;
        let (what, _query) = path.split_once('?').unwrap_or((path, ""));
        let status = response.status;
        let sentence = match (response.has_flavor, status) {
            (true, 200) => {
                return String::from_utf8(response.body).map_err(|_| {
                    Error::Permanent(format!("the metadata server's response for instance/{what} is no text"))
                });
            }
            (true, _) => format!("the metadata server answered {status} for instance/{what}"),
            (false, _) => format!(
                "the response (status {status}) for instance/{what} came without \"Metadata-Flavor: Google\", so it is \
                 not the metadata server's"
            ),
        };
        Err(match status {
            408 | 429 | 500..=599 => Error::Transient(sentence),
            _ => Error::Permanent(sentence),
        })
    }
}

/// Parses `projects/123/regions/us-east1`.
fn parse_region(text: &str) -> Option<Location> {
    let (project, region) = parse_path(text, "regions")?;
    new_location(project, region)
}

/// Parses `projects/123/zones/us-east1-1`.
fn parse_zone(text: &str) -> Option<Location> {
    let (project, zone) = parse_path(text, "zones")?;
    let (region, _) = zone.rsplit_once('-')?;
    new_location(project, region)
}

fn parse_path<'a>(text: &'a str, collection: &str) -> Option<(&'a str, &'a str)> {
    let parts: Vec<&str> = text.trim_ascii().split('/').collect();
    match parts[..] {
        ["projects", project, found, last] if found == collection => Some((project, last)),
        _ => None,
    }
}

fn new_location(project: &str, region: &str) -> Option<Location> {
    let is_valid = is_project_number(project) && is_region(region);
    is_valid.then(|| Location { region: region.to_owned(), project: project.to_owned() })
}

/// Quotes a text that was not expected, unless it is so long that it may be a token.
fn excerpt(text: &str) -> String {
    match text.len() {
        0..=MAX_EXCERPT_LEN => format!("{text:?}"),
        len => format!("{len} bytes of something else"),
    }
}

/// How often a request is sent, as Google's client libraries do.
const MAX_ATTEMPTS: u32 = 5;

/// The pause after the first attempt; it doubles after each.
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);

/// Google's client libraries try for 16.5 s; here a request waits for the result.
const TIMEOUTS: Timeouts = Timeouts { attempt: Duration::from_secs(3), total: Duration::from_secs(10) };

/// Bytes of text that are quoted at most. The shortest tokens have some hundreds; regions and emails have fewer.
const MAX_EXCERPT_LEN: usize = 64;

#[cfg(any(test, fuzzing))]
#[path = "../tests/fuzz/metadata.rs"]
pub mod fuzz;
#[cfg(test)]
mod tests;
