//! Names as callers write them, and the Cloud Run services they stand for.
//!
//! The DNS server and the proxy both read names here, so that a name which
//! resolves is a name which routes.

/// A service as a caller named it: `[TAG---]NAME[.REGION[.PROJECT]]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Service {
    /// The traffic tag, without its `---`.
    pub tag: Option<String>,
    /// The service's own name, lower case.
    pub name: String,
    /// Where it runs, if the caller said so.
    pub region: Option<String>,
    /// The project's number, if the caller said so.
    pub project: Option<String>,
}

impl Service {
    /// Reads what [`relative`] made of a name.
    ///
    /// `None` for whatever cannot be a service: a wrong shape, a label over
    /// 63 octets, or a name that has a meaning of its own ([`RESERVED`]).
    pub fn parse(name: &str) -> Option<Service> {
        let mut labels = name.split('.');
        let first = labels.next()?;
        let region = labels.next();
        let project = labels.next();
        let (tag, service) = match three_dashes(first) {
            Some(at) => (Some(&first[..at]), &first[at + 3..]),
            None => (None, first),
        };
        let fits = labels.next().is_none()
            && is_service_name(service)
            && tag.is_none_or(is_tag)
            && region.is_none_or(is_region)
            && project.is_none_or(is_project_number)
            // The front end gives tag and service 46 characters together.
            && tag.is_none_or(|tag| tag.len() + service.len() <= 46)
            && !(region.is_none() && RESERVED.contains(&first));
        fits.then(|| Service {
            tag: tag.map(str::to_owned),
            name: service.to_owned(),
            region: region.map(str::to_owned),
            project: project.map(str::to_owned),
        })
    }
}

/// Names of one label that are never services: the metadata server, and this
/// machine.
pub const RESERVED: [&str; 2] = ["metadata", "localhost"];

/// The name in lower case, without a trailing dot, and without `.zone` at its end
/// (`zone` in lower case, without outer dots).
pub fn relative(text: &str, zone: &str) -> String {
    let mut name = text.to_ascii_lowercase();
    if name.ends_with('.') {
        name.pop();
    }
    if let Some(inner) = name.strip_suffix(zone).and_then(|n| n.strip_suffix('.')) {
        name.truncate(inner.len());
    }
    name
}

/// Where the first three dashes in a row begin. std's search prepares tables for
/// each name that is looked at, a sixth of the work for a query.
fn three_dashes(text: &str) -> Option<usize> {
    let mut row = 0;
    let end = text.bytes().position(|byte| {
        row = if byte == b'-' { row + 1 } else { 0 };
        row == 3
    })?;
    Some(end - 2)
}

fn is_service_name(text: &str) -> bool {
    (1..=49).contains(&text.len())
        && text.as_bytes()[0].is_ascii_lowercase()
        && is_label_tail(text)
        // Three dashes part a tag from a service; neither may hold them.
        && three_dashes(text).is_none()
}

fn is_tag(text: &str) -> bool {
    is_service_name(text)
}

/// `us-east1`, `northamerica-northeast2`: words parted by dashes, then digits.
///
/// By shape, not by table: new regions come each year.
pub fn is_region(text: &str) -> bool {
    let words = text.trim_end_matches(|c: char| c.is_ascii_digit());
    words.len() < text.len()
        && text.len() <= 63
        && words.contains('-')
        && words.split('-').all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
}

/// A project's number, as the metadata server and deterministic URLs have it.
pub fn is_project_number(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_label_tail(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(tag: &str, name: &str, region: &str, project: &str) -> Option<Service> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Service { tag: some(tag), name: name.to_owned(), region: some(region), project: some(project) })
    }

    #[test]
    fn names() {
        let long = "a".repeat(49);
        let too_long = "a".repeat(50);
        let tagged = format!("t---{}", "a".repeat(45));
        let tagged_too_long = format!("t---{}", "a".repeat(46));
        for (text, want) in [
            ("hello", service("", "hello", "", "")),
            ("HELLO.", service("", "hello", "", "")),
            ("hello.run.internal", service("", "hello", "", "")),
            ("Hello.Run.Internal.", service("", "hello", "", "")),
            ("hello.us-east1", service("", "hello", "us-east1", "")),
            ("hello.us-east1.123456789012", service("", "hello", "us-east1", "123456789012")),
            ("hello.us-east1.123456789012.run.internal", service("", "hello", "us-east1", "123456789012")),
            ("canary---hello", service("canary", "hello", "", "")),
            (&long, service("", &long, "", "")),
            (&too_long, None),
            (&tagged, service("t", &"a".repeat(45), "", "")),
            (&tagged_too_long, None),
            ("metadata", None),
            ("metadata.run.internal", None),
            ("metadata.us-east1", service("", "metadata", "us-east1", "")),
            ("localhost", None),
            ("", None),
            (".", None),
            ("run.internal", None),
            ("hello..run.internal", None),
            ("example.com", None),
            ("www.example.com", None),
            ("-hello", None),
            ("hello-", None),
            ("1hello", None),
            ("hel_lo", None),
            ("a---b---c", None),
            ("---b", None),
            ("a---", None),
            ("hello.us-east1.x", None),
            ("hello.us-east1.1.2", None),
            ("hello.useast1", None),
            ("hello.us-east", None),
            ("h\u{e9}llo", None),
        ] {
            assert_eq!(Service::parse(&relative(text, "run.internal")), want, "{text:?}");
        }
    }

    #[test]
    fn regions_by_shape() {
        for (text, want) in [
            ("us-east1", true),
            ("europe-west12", true),
            ("northamerica-northeast1", true),
            ("me-central2", true),
            ("us-central1-a", false),
            ("-east1", false),
            ("us-1", false),
            ("us1", false),
            ("1", false),
            ("", false),
        ] {
            assert_eq!(is_region(text), want, "{text:?}");
        }
    }
}
