//! What is asked of the metadata server; the only file that knows ureq.
//!
//! It answers three questions: where this instance runs, who it is, and with
//! which token it shows that. It keeps nothing: `tokens.rs` does.

use std::thread;
use std::time::{Duration, Instant};

use ureq::http::header::HeaderMap;
use ureq::{Agent, Body};

use crate::destination::Place;
use crate::secret::Secret;
use crate::service::{is_project_number, is_region};

/// The metadata server of this instance.
pub struct Metadata {
    host: String,
    base: String,
    patience: Patience,
    sleep: fn(Duration),
}

/// How long a caller may have to wait.
struct Patience {
    one_try: Duration,
    in_all: Duration,
}

impl Metadata {
    /// The one at `host[:port]`. Nothing is built or asked before a question.
    pub fn new(host: String) -> Metadata {
        Metadata {
            base: format!("http://{host}/computeMetadata/v1/instance/"),
            host,
            patience: PATIENCE,
            sleep: thread::sleep,
        }
    }

    /// Where it is: `host[:port]`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Region and project number of this instance.
    pub fn place(&self) -> Result<Place, String> {
        match self.get("region").map(|text| place_of_region(&text)) {
            Ok(Some(place)) => Ok(place),
            // Where there is no such thing, or not in the shape we know, the
            // zone has the same two in it.
            Ok(None) | Err(Failure::Final(_)) => {
                let text = self.get("zone").map_err(Failure::sentence)?;
                place_of_zone(&text).ok_or_else(|| {
                    format!(
                        "the metadata server answered {:?} for instance/zone",
                        brief(&text)
                    )
                })
            }
            Err(Failure::Passing(sentence)) => Err(sentence),
        }
    }

    /// A token that shows the service at `audience` who we are.
    ///
    /// Whatever text the server sent: `tokens.rs` looks at its inside.
    pub fn identity_token(&self, audience: &str) -> Result<Secret, String> {
        let path = format!(
            "service-accounts/default/identity?audience={}",
            percent_encoded(audience)
        );
        let text = self.get(&path).map_err(Failure::sentence)?;
        Ok(Secret::new(text.trim_ascii()))
    }

    /// The service account of this instance.
    pub fn email(&self) -> Result<String, String> {
        let text = self
            .get("service-accounts/default/email")
            .map_err(Failure::sentence)?;
        let email = text.trim_ascii();
        let fits = email.contains('@') && email.bytes().all(|b| b.is_ascii_graphic());
        match fits {
            true => Ok(email.to_owned()),
            false => Err(format!(
                "the metadata server answered {:?} for an email",
                brief(email)
            )),
        }
    }

    /// One answer, with up to five tries in at most ten seconds, as Google's own
    /// libraries do it.
    fn get(&self, path: &str) -> Result<String, Failure> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        loop {
            let left = self.patience.in_all.saturating_sub(start.elapsed());
            let failure = match self.ask(path, left.min(self.patience.one_try)) {
                Err(Failure::Passing(sentence)) => sentence,
                done => return done,
            };
            let left = self.patience.in_all.saturating_sub(start.elapsed());
            if tries == TRIES || left <= pause {
                let s = if tries == 1 { "try" } else { "tries" };
                return Err(Failure::Passing(format!("{failure}, after {tries} {s}")));
            }
            (self.sleep)(pause);
            pause *= 2;
            tries += 1;
        }
    }

    fn ask(&self, path: &str, time: Duration) -> Result<String, Failure> {
        let mut response = agent(time)
            .get(format!("{}{path}", self.base))
            .header("metadata-flavor", "Google")
            .call()
            .map_err(failure)?;
        let (what, _) = path.split_once('?').unwrap_or((path, ""));
        let status = response.status().as_u16();
        if !flavored(response.headers()) {
            return Err(Failure::of_status(
                status,
                format!(
                    "the answer (status {status}) for instance/{what} came without \
                     \"Metadata-Flavor: Google\", so it is not the metadata server's"
                ),
            ));
        }
        if status != 200 {
            return Err(Failure::of_status(
                status,
                format!("the metadata server answered {status} for instance/{what}"),
            ));
        }
        read(response.body_mut(), what)
    }
}

const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Google's libraries would go on for 16.5 s; here a request waits.
const PATIENCE: Patience = Patience {
    one_try: Duration::from_secs(3),
    in_all: Duration::from_secs(10),
};
const LARGEST_BODY: u64 = 64 * 1024;

/// An agent for each question: questions are rare, and a connection kept over
/// a pause without CPU would be a dead one.
fn agent(time: Duration) -> Agent {
    let config = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_global(Some(time))
        .max_idle_connections(0)
        // A request is one write: nothing to gain, and a failure would be one.
        .no_delay(false)
        .input_buffer_size(16 * 1024)
        .output_buffer_size(4 * 1024)
        .user_agent(concat!("runsd/", env!("CARGO_PKG_VERSION")));
    Agent::from(config.build())
}

/// Why there is no answer, and whether asking again may help.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    Passing(String),
    Final(String),
}

impl Failure {
    fn of_status(status: u16, sentence: String) -> Failure {
        match status {
            408 | 429 | 500..=599 => Failure::Passing(sentence),
            _ => Failure::Final(sentence),
        }
    }

    fn sentence(self) -> String {
        match self {
            Failure::Passing(sentence) | Failure::Final(sentence) => sentence,
        }
    }
}

fn failure(err: ureq::Error) -> Failure {
    let sentence = match &err {
        ureq::Error::Timeout(_) => "the metadata server did not answer in time".to_owned(),
        ureq::Error::Io(err) => format!("cannot reach the metadata server: {err}"),
        ureq::Error::HostNotFound => "the metadata server's name has no address".to_owned(),
        // What ureq found in the bytes could be the token itself.
        _ => return Failure::Final("the metadata server's answer is not HTTP".to_owned()),
    };
    Failure::Passing(sentence)
}

fn flavored(headers: &HeaderMap) -> bool {
    let flavor = headers.get("metadata-flavor");
    flavor.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"google"))
}

fn read(body: &mut Body, what: &str) -> Result<String, Failure> {
    let bytes = match body.with_config().limit(LARGEST_BODY).read_to_vec() {
        Ok(bytes) => bytes,
        Err(ureq::Error::BodyExceedsLimit(limit)) => {
            return Err(Failure::Final(format!(
                "the metadata server's answer for instance/{what} is over {limit} bytes"
            )));
        }
        Err(err) => return Err(failure(err)),
    };
    String::from_utf8(bytes).map_err(|_| {
        Failure::Final(format!(
            "the metadata server's answer for instance/{what} is no text"
        ))
    })
}

/// Reads `projects/123/regions/us-east1`.
fn place_of_region(text: &str) -> Option<Place> {
    let (project, region) = parts(text, "regions")?;
    place_of(project, region)
}

/// Reads `projects/123/zones/us-east1-1`.
fn place_of_zone(text: &str) -> Option<Place> {
    let (project, zone) = parts(text, "zones")?;
    let (region, _) = zone.rsplit_once('-')?;
    place_of(project, region)
}

fn parts<'a>(text: &'a str, kind: &str) -> Option<(&'a str, &'a str)> {
    let mut parts = text.trim_ascii().split('/');
    let found = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    match found {
        ("projects", project, is, last) if is == kind && parts.next().is_none() => {
            Some((project, last))
        }
        _ => None,
    }
}

fn place_of(project: &str, region: &str) -> Option<Place> {
    (is_project_number(project) && is_region(region)).then(|| Place {
        region: region.to_owned(),
        project: project.to_owned(),
    })
}

/// Enough of a wrong answer to see what it is.
fn brief(text: &str) -> String {
    text.chars().take(80).collect()
}

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
