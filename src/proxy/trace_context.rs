//! Which trace a request belongs to, as its headers say. Pure.

use std::fmt;

/// `projects/123456789012/traces/4bf92f3577b34da6a3ce929d0e0e4736`, as Cloud
/// Logging wants it; nothing without an id.
pub struct Trace<'a> {
    pub project: &'a str,
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

/// The id in the value of `traceparent`, or else in that of
/// `X-Cloud-Trace-Context`, which is older.
pub fn id<'a>(traceparent: Option<&'a [u8]>, cloud: Option<&'a [u8]>) -> Option<&'a str> {
    let of_w3c = traceparent.and_then(|value| {
        let mut parts = value.trim_ascii().split(|&b| b == b'-');
        // A version of the future has more parts, not others.
        parts.next().filter(|version| version.len() == 2)?;
        parts.next()
    });
    let of_cloud = || cloud?.trim_ascii().split(|&b| b == b'/' || b == b';').next();
    of_w3c.and_then(checked).or_else(|| checked(of_cloud()?))
}

fn checked(id: &[u8]) -> Option<&str> {
    let good = id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit) && id.iter().any(|&b| b != b'0');
    std::str::from_utf8(id).ok().filter(|_| good)
}

/// Header names in lower case.
pub const TRACEPARENT: &str = "traceparent";
pub const CLOUD_TRACE: &str = "x-cloud-trace-context";

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const OTHER: &str = "105445aa7843bc8bf206b12000100000";

    #[test]
    fn ids() {
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
            let got = id(traceparent.map(str::as_bytes), header.map(str::as_bytes));
            assert_eq!(got, want, "{traceparent:?} {header:?}");
        }
    }

    #[test]
    fn the_project_is_part_of_it() {
        let text = |project, id| Trace { project, id }.to_string();
        assert_eq!(text("42", Some(ID)), format!("projects/42/traces/{ID}"));
        assert_eq!(text("", Some(ID)), "");
        assert_eq!(text("42", None), "");
    }
}
