//! The grammar of service names: `[TAG---]NAME[.REGION[.PROJECT]]`. Pure.

/// A service, as the application named it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceName {
    /// The traffic tag, without its `---`.
    pub tag: Option<String>,
    /// The name of the service itself.
    pub name: String,
    /// The region, where the name has one.
    pub region: Option<String>,
    /// The project's number, where the name has one.
    pub project: Option<String>,
}

impl ServiceName {
    /// Parses a name that [`strip_zone`] returned; `None` where it does not follow the grammar, or is in
    /// [`RESERVED`].
    pub fn parse(text: &str) -> Option<ServiceName> {
        let mut labels = text.split('.');
        let first = labels.next()?;
        let region = labels.next();
        let project = labels.next();
        let (tag, name) = match find_triple_dash(first) {
            Some(at) => (Some(&first[..at]), &first[at + 3..]),
            None => (None, first),
        };
        let is_valid = labels.next().is_none()
            && is_service(name)
            && tag.is_none_or(|tag| is_service(tag) && tag.len() + name.len() <= MAX_TAG_AND_SERVICE_LEN)
            && region.is_none_or(is_region)
            && project.is_none_or(is_project_number)
            && !(region.is_none() && RESERVED.contains(&first));
        is_valid.then(|| ServiceName {
            tag: tag.map(str::to_owned),
            name: name.to_owned(),
            region: region.map(str::to_owned),
            project: project.map(str::to_owned),
        })
    }
}

/// Names of one label that are never services: the metadata server and this machine.
pub const RESERVED: [&str; 2] = ["metadata", "localhost"];

/// Octets of the longest service name that Cloud Run accepts.
const MAX_SERVICE_LEN: usize = 49;
/// Octets that a tag and its service may have together, for the front end.
const MAX_TAG_AND_SERVICE_LEN: usize = 46;

/// Returns `name` in lower case, without a trailing dot and without `.zone` at its end. `zone` is in lower case,
/// without outer dots.
pub fn strip_zone(name: &str, zone: &str) -> String {
    let mut name = name.to_ascii_lowercase();
    if name.ends_with('.') {
        name.pop();
    }
    if let Some(inner) = name.strip_suffix(zone).and_then(|n| n.strip_suffix('.')) {
        name.truncate(inner.len());
    }
    name
}

/// Returns the index of the first `---`. `str::find` builds a search table for each call, which took a sixth of the
/// time of a DNS query.
fn find_triple_dash(text: &str) -> Option<usize> {
    let mut dashes = 0;
    let last = text.bytes().position(|byte| {
        dashes = if byte == b'-' { dashes + 1 } else { 0 };
        dashes == 3
    })?;
    Some(last - 2)
}

/// Whether `text` is the name of a service, or a traffic tag, which has the same grammar.
fn is_service(text: &str) -> bool {
    (1..=MAX_SERVICE_LEN).contains(&text.len())
        && text.as_bytes()[0].is_ascii_lowercase()
        && is_ldh(text)
        // `---` separates a tag from a service.
        && find_triple_dash(text).is_none()
}

/// Whether `text` has the shape of a region: words of letters between dashes, then digits, as `us-east1`.
///
/// By shape, not by a table: Google adds regions each year.
pub fn is_region(text: &str) -> bool {
    let words = text.trim_end_matches(|c: char| c.is_ascii_digit());
    words.len() < text.len()
        && text.len() <= 63
        && words.contains('-')
        && words.split('-').all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
}

/// Whether `text` is a project's number, as the metadata server and deterministic URLs have it.
pub fn is_project_number(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether `text` has only letters, digits and hyphens, and no hyphen at its end (RFC 1035 section 2.3.1).
fn is_ldh(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(tag: &str, name: &str, region: &str, project: &str) -> Option<ServiceName> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(ServiceName { tag: some(tag), name: name.to_owned(), region: some(region), project: some(project) })
    }

    #[test]
    fn names_by_the_grammar() {
        let long = "a".repeat(49);
        let too_long = "a".repeat(50);
        let tagged = format!("t---{}", "a".repeat(45));
        let tagged_too_long = format!("t---{}", "a".repeat(46));
        for (text, want) in [
            ("hello", service("", "hello", "", "")),
            ("hello-2", service("", "hello-2", "", "")),
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
            assert_eq!(ServiceName::parse(&strip_zone(text, "run.internal")), want, "{text:?}");
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

    #[test]
    fn lengths_are_those_of_cloud_run() {
        let letters = |len: usize| "a".repeat(len);
        for (text, want) in [
            (letters(49), true),
            (letters(50), false),
            (format!("{}---{}", letters(1), letters(45)), true),
            (format!("{}---{}", letters(1), letters(46)), false),
            (format!("a.{}-b1", letters(60)), true),
            (format!("a.{}-b1", letters(61)), false),
            (format!("a.us-east1.{}", "1".repeat(20)), true),
            (format!("a.us-east1.{}", "1".repeat(21)), false),
            ("a.us-east1.".to_owned(), false),
        ] {
            assert_eq!(ServiceName::parse(&text).is_some(), want, "{text}");
        }
    }

    #[test]
    fn a_zone_is_whole_labels_at_the_end() {
        for (name, want) in [
            ("hello.run.internal", "hello"),
            ("Hello.RUN.internal.", "hello"),
            ("hellorun.internal", "hellorun.internal"),
            ("run.internal.hello", "run.internal.hello"),
            ("hello.run.internal..", "hello.run.internal."),
            (".run.internal", ""),
        ] {
            assert_eq!(strip_zone(name, "run.internal"), want, "{name}");
        }
    }

    #[test]
    fn a_reserved_name_is_a_service_with_its_region() {
        for (name, want) in
            [("metadata", false), ("localhost", false), ("metadata.us-east1", true), ("metadata1", true)]
        {
            assert_eq!(ServiceName::parse(name).is_some(), want, "{name}");
        }
    }
}
