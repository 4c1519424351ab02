//! Which trace a request belongs to (W3C Trace Context, section 3.2; and the older `X-Cloud-Trace-Context`). Pure.

use std::fmt;

/// Displays as `projects/123456789012/traces/4bf92f3577b34da6a3ce929d0e0e4736`, as Cloud Logging has it; as nothing
/// where one of the two is missing.
pub struct Trace<'a> {
    /// The project's number, or empty.
    pub project: &'a str,
    /// The trace's id.
    pub id: Option<&'a str>,
}

impl fmt::Display for Trace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) if !self.project.is_empty() => {
                write!(f, "projects/{}/traces/{id}", self.project)
            }
            _ => Ok(()),
        }
    }
}

/// Returns the id in the value of `traceparent`, or else in that of `X-Cloud-Trace-Context`.
pub fn trace_id<'a>(traceparent: Option<&'a [u8]>, cloud: Option<&'a [u8]>) -> Option<&'a str> {
    let from_w3c = traceparent.and_then(|value| {
        let mut parts = value.trim_ascii().split(|&b| b == b'-');
        // A later version has more parts behind the same ones.
        parts.next().filter(|version| version.len() == 2)?;
        parts.next()
    });
    let from_cloud = || cloud?.trim_ascii().split(|&b| b == b'/' || b == b';').next();
    from_w3c.and_then(valid).or_else(|| valid(from_cloud()?))
}

/// Returns an id of 32 hex digits that are not all 0.
fn valid(id: &[u8]) -> Option<&str> {
    let is_valid = id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit) && id.iter().any(|&b| b != b'0');
    std::str::from_utf8(id).ok().filter(|_| is_valid)
}

/// A field name in lower case.
pub const TRACEPARENT: &str = "traceparent";
/// A field name in lower case.
pub const CLOUD_TRACE: &str = "x-cloud-trace-context";

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const OTHER: &str = "105445aa7843bc8bf206b12000100000";

    #[test]
    fn trace_ids_come_from_traceparent_first() {
        let w3c = format!("00-{ID}-00f067aa0ba902b7-01");
        let future = format!("cc-{ID}-00f067aa0ba902b7-01-what-else");
        let cloud = format!("{OTHER}/1;o=1");
        let bare = OTHER.to_owned();
        for (traceparent, header, want) in [
            (None, None, None),
            (Some(&w3c[..]), None, Some(ID)),
            (Some(&future[..]), None, Some(ID)),
            (Some(&w3c[..]), Some(&cloud[..]), Some(ID)),
            (None, Some(&cloud[..]), Some(OTHER)),
            (None, Some(&bare[..]), Some(OTHER)),
            (Some("garbage"), Some(&cloud[..]), Some(OTHER)),
            (Some("00-\u{e9}-1-01"), None, None),
            (Some("00-00000000000000000000000000000000-1-01"), None, None),
            (None, Some("x/1;o=1"), None),
            (None, Some(""), None),
        ] {
            let got = trace_id(traceparent.map(str::as_bytes), header.map(str::as_bytes));
            assert_eq!(got, want, "{traceparent:?} {header:?}");
        }
    }

    #[test]
    fn trace_names_the_project() {
        let text = |project, id| Trace { project, id }.to_string();
        assert_eq!(text("42", Some(ID)), format!("projects/42/traces/{ID}"));
        assert_eq!(text("", Some(ID)), "");
        assert_eq!(text("42", None), "");
    }
}
