//! What to look at when the front end, and not the service behind it, says no.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::sync::lock;

/// Says each thing once for each host.
#[derive(Debug, Default)]
pub struct DenialLog {
    said: Mutex<HashSet<(String, u16)>>,
}

impl DenialLog {
    /// Whether this is the first such answer of this host.
    pub fn is_first(&self, host: &str, status: u16) -> bool {
        let mut said = lock(&self.said);
        said.len() < MOST && said.insert((host.to_owned(), status))
    }
}

/// Whether an answer was made by the front end itself: its pages for people
/// all start alike. An application's own 404 is the application's business.
/// `challenge` is `WWW-Authenticate`, where that can be seen.
pub fn is_front_end(status: u16, challenge: Option<&[u8]>, body: &[u8]) -> bool {
    let start = &body[..body.len().min(512)];
    let has = |mark: &[u8]| start.windows(mark.len()).any(|window| window == mark);
    let page = || has(format!("<title>{status} ").as_bytes()) && has(b"<h1>Error: ");
    match status {
        401 => page() && challenge.is_none_or(|value| value.starts_with(b"Bearer")),
        403 | 404 => page(),
        _ => false,
    }
}

/// One sentence for a person; `account` is who the token names, if it was
/// one of ours.
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

/// How many are kept in mind.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_answer_it_is() {
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
            // What applications say for themselves.
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
    fn once_for_each_host() {
        let hints = DenialLog::default();
        assert!(hints.is_first("a", 403));
        assert!(!hints.is_first("a", 403));
        assert!(hints.is_first("a", 404));
        assert!(hints.is_first("b", 403));
    }
}
