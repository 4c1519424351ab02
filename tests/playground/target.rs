//! Where a request may go: to the names of services, `http://NAME`, and
//! nowhere else. Pure.

use std::net::IpAddr;

use hyper::Uri;

/// A URL that leads to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// In lower case, without a port and a trailing dot.
    pub name: String,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// Reads a URL as it stands in the address field; `http://` may be left out.
    ///
    /// # Errors
    /// A sentence that says what is not one of a service.
    pub fn parse(text: &str) -> Result<Target, String> {
        let text = text.trim();
        let url = match text.split_once("://") {
            Some(("http" | "ws" | "HTTP", rest)) => format!("http://{rest}"),
            Some(("https" | "wss", _)) => {
                return Err("runsd speaks plain http:// to the application; TLS begins in runsd, \
                            on the way to the service"
                    .to_owned());
            }
            Some((scheme, _)) => return Err(format!("got {scheme}://; expected http://NAME")),
            None => format!("http://{text}"),
        };
        // A fragment stays in the browser.
        let url = url.split('#').next().unwrap_or_default();
        let uri: Uri = url.parse().map_err(|err| format!("{text:?} is not a URL: {err}"))?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err("a user name in a URL goes nowhere; expected http://NAME".to_owned());
        }
        let host = uri.host().unwrap_or_default();
        if !matches!(uri.port_u16(), None | Some(80)) || authority.ends_with(':') {
            return Err(format!(
                "got {authority:?}; only port 80 is runsd's: a name leads to loopback, where \
                 another port is another program's"
            ));
        }
        let name = host.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        service(name)?;
        Ok(Target {
            name: name.to_owned(),
            path: match uri.path_and_query().map_or("", |path| path.as_str()) {
                path if path.starts_with('/') => path.to_owned(),
                query => format!("/{query}"),
            },
        })
    }
}

/// Whether a name has the form of a service's:
/// `NAME[.REGION[.PROJECT]][.run.internal]`.
///
/// # Errors
/// A sentence that says what it is instead.
pub fn service(name: &str) -> Result<(), String> {
    let expected = "expected a service: NAME, NAME.REGION or NAME.REGION.PROJECTNUMBER";
    if name.is_empty() {
        return Err(format!("there is no name; {expected}"));
    }
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return Err(format!("{name} is an address; {expected}"));
    }
    let short = name.strip_suffix(ZONE).unwrap_or(name);
    if matches!(short, "localhost" | "metadata") || name.ends_with(".google.internal") {
        return Err(format!("{name} is not a service, and this page asks services only"));
    }
    let labels: Vec<&str> = short.split('.').collect();
    let fits = match labels.as_slice() {
        [service] => is_service(service),
        [service, region] => is_service(service) && is_region(region),
        [service, region, project] => {
            let is_number = !project.is_empty() && project.bytes().all(|b| b.is_ascii_digit());
            is_service(service) && is_region(region) && is_number
        }
        _ => false,
    };
    match fits {
        true => Ok(()),
        false => Err(format!("{name} is not a name of runsd's; {expected}")),
    }
}

/// `hello` or `tag---hello`: letters, digits and dashes, a letter first.
fn is_service(label: &str) -> bool {
    let ends_well = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    label.len() <= 63
        && label.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && label.as_bytes().last().is_some_and(ends_well)
        && label.bytes().all(|b| ends_well(&b) || b == b'-')
}

/// The shape of `us-east1`, which no label of the internet has that a public
/// suffix is: letters, a dash, letters, a digit at the end.
fn is_region(label: &str) -> bool {
    is_service(label) && label.contains('-') && label.as_bytes().last().is_some_and(u8::is_ascii_digit)
}

const ZONE: &str = ".run.internal";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services() {
        for (text, name, path) in [
            ("http://hello", "hello", "/"),
            ("hello", "hello", "/"),
            (" http://Hello.:80/a?b=c#d ", "hello", "/a?b=c"),
            ("ws://ws/chat", "ws", "/chat"),
            ("http://hello?x", "hello", "/?x"),
            ("http://canary---hello", "canary---hello", "/"),
            ("http://hello.us-east1", "hello.us-east1", "/"),
            ("http://hello.us-east1.123456789012", "hello.us-east1.123456789012", "/"),
            ("http://hello.us-east1.run.internal", "hello.us-east1.run.internal", "/"),
        ] {
            let want = Target { name: name.to_owned(), path: path.to_owned() };
            assert_eq!(Target::parse(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_asked() {
        for (text, why) in [
            ("", "is not a URL"),
            ("https://hello", "plain http://"),
            ("ftp://hello", "expected http://"),
            ("file:///etc/passwd", "expected http://"),
            ("http://hello:8080", "only port 80"),
            ("http://hello:", "only port 80"),
            ("http://169.254.169.254/", "is an address"),
            ("http://127.0.0.1", "is an address"),
            ("http://[::1]/", "is an address"),
            ("http://2852039166/", "not a name"),
            ("http://0x7f.1/", "not a name"),
            ("http://localhost", "asks services only"),
            ("http://LOCALHOST.", "asks services only"),
            ("http://metadata/computeMetadata/v1/", "asks services only"),
            ("http://metadata.run.internal", "asks services only"),
            ("http://metadata.google.internal", "asks services only"),
            ("http://example.com", "not a name"),
            ("http://hello.example.com", "not a name"),
            ("http://user@hello", "user name"),
            ("http://hello@169.254.169.254", "user name"),
            ("http://a_b", "not a name"),
            ("http://hel%6co", "not a"),
            ("http://hello\\@evil", "not a URL"),
            ("http://hello/a b", "not a URL"),
        ] {
            let err = Target::parse(text).expect_err(text);
            assert!(err.contains(why), "{text}: {err}");
        }
    }
}
