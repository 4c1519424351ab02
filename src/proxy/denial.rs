//! Denials: responses with 401, 403 or 404 that the front end makes before a service sees the request, and what to
//! check then. Pure, but for what was logged.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::sync::lock;

/// Which denials were logged, by host and status: each is logged once.
#[derive(Debug, Default)]
pub struct DenialLog {
    /// Read and written by the threads that relay responses.
    logged: Mutex<HashSet<(String, u16)>>,
}

impl DenialLog {
    /// Whether this is the first denial of this host and status, which is recorded then.
    pub fn is_first(&self, host: &str, status: u16) -> bool {
        let mut logged = lock(&self.logged);
        logged.len() < MAX_LOGGED && logged.insert((host.to_owned(), status))
    }
}

/// Whether the front end made a response, by the start of its HTML pages, and not the service behind it. `challenge`
/// is `WWW-Authenticate`, where that is known.
pub fn is_front_end(status: u16, challenge: Option<&[u8]>, body: &[u8]) -> bool {
    let start = &body[..body.len().min(MAX_INSPECTED_LEN)];
    let contains = |mark: &[u8]| start.windows(mark.len()).any(|window| window == mark);
    let is_page = || contains(format!("<title>{status} ").as_bytes()) && contains(b"<h1>Error: ");
    match status {
        401 => is_page() && challenge.is_none_or(|value| value.starts_with(b"Bearer")),
        403 | 404 => is_page(),
        _ => false,
    }
}

/// Returns a sentence that says what to check. `name` is the host of the request, `account` the service account of
/// runsd's token, if the request had one.
pub fn sentence(status: u16, name: &str, url: &str, account: Option<&str>) -> String {
    let Some(account) = account else {
        return format!(
            "{name}: {status} from the front end of {url}, with no token of runsd's own; \
             check -auth_header, and the token the application sends"
        );
    };
    match status {
        401 => format!(
            "{name}: 401: the front end did not accept the token of {account} for {url}; \
             check that the service answers at this URL (region, project, custom audiences)"
        ),
        403 => format!(
            "{name}: 403: {account} may not call {url}; \
             grant it roles/run.invoker on the service, and check the service's ingress setting"
        ),
        _ => format!(
            "{name}: 404: there is no {url}, or its ingress setting does not let this instance in; \
             check the name, the region, and whether internal traffic goes through the VPC"
        ),
    }
}

/// Bounds the memory for denials that were logged: the paths of a request never add to them, but its host may.
const MAX_LOGGED: usize = 1000;
/// Octets of a body that are searched; the marks of the front end's pages are in the first 300.
const MAX_INSPECTED_LEN: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_end_pages_are_recognized() {
        let page = |status: &str, reason: &str| {
            format!(
                "\n<html><head>\n<meta http-equiv=\"content-type\" \
                 content=\"text/html;charset=utf-8\">\n<title>{status} {reason}</title>\n\
                 </head>\n<body text=#000000 bgcolor=#ffffff>\n<h1>Error: {reason}</h1>"
            )
        };
        let unauthorized = page("401", "Unauthorized");
        let forbidden = page("403", "Forbidden");
        let not_found = page("404", "Page not found");
        let invalid = "Bearer error=\"invalid_token\"";
        for (status, challenge, body, want) in [
            (401, Some(invalid), &unauthorized[..], true),
            (401, None, &unauthorized, true),
            (403, None, &forbidden, true),
            (404, None, &not_found, true),
            // Responses of services.
            (401, Some("Basic realm=x"), &unauthorized, false),
            (401, Some(invalid), "{\"error\":\"invalid_token\"}", false),
            (403, None, "", false),
            (404, None, "not here", false),
            (404, None, "<h1>Not Found</h1>", false),
            (404, None, "<h1>Error: no such user</h1>", false),
            (404, None, "<title>404 Not Found</title><pre>Cannot GET /</pre>", false),
            (404, None, &forbidden, false),
            (200, None, &not_found, false),
            (500, None, &page("500", "Server Error"), false),
        ] {
            let challenge = challenge.map(str::as_bytes);
            let got = is_front_end(status, challenge, body.as_bytes());
            assert_eq!(got, want, "{status} {challenge:?} {body}");
        }
    }

    #[test]
    fn denials_are_first_once_for_each_host_and_status() {
        let log = DenialLog::default();
        assert!(log.is_first("a", 403));
        assert!(!log.is_first("a", 403));
        assert!(log.is_first("a", 404));
        assert!(log.is_first("b", 403));
    }
}
