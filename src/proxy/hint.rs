//! What to look at when the front end, and not the service behind it, says no.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Says each thing once for each host.
#[derive(Debug, Default)]
pub struct Hints {
    said: Mutex<HashSet<(String, u16)>>,
}

impl Hints {
    /// Whether this is the first such answer of this host.
    pub fn is_first(&self, host: &str, status: u16) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.len() < MOST && said.insert((host.to_owned(), status))
    }
}

/// Whether an answer was made by the front end itself: its pages for people
/// all start alike. An application's own 404 is the application's business.
/// `challenge` is `WWW-Authenticate`, where that can be seen.
pub fn is_front_end(status: u16, challenge: Option<&[u8]>, body: &[u8]) -> bool {
    let start = &body[..body.len().min(512)];
    let has = |mark: &[u8]| start.windows(mark.len()).any(|window| window == mark);
    match status {
        401 => has(PAGE) && challenge.is_none_or(|value| value.starts_with(b"Bearer")),
        403 | 404 => has(PAGE),
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

/// How the front end's pages look.
const PAGE: &[u8] = b"<h1>Error: ";
/// How many are kept in mind.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_answer_it_is() {
        let page = b"<html><head>\n<title>403 Forbidden</title>\n</head>\n<body text=#000000 bgcolor=#ffffff>\n<h1>Error: Forbidden</h1>";
        for (status, challenge, body, want) in [
            (403, None, &page[..], true),
            (404, None, &page[..], true),
            (
                401,
                Some(&b"Bearer error=\"invalid_token\""[..]),
                &page[..],
                true,
            ),
            (401, None, &page[..], true),
            (401, Some(b"Basic realm=x"), &page[..], false),
            (403, None, b"", false),
            (404, None, b"not here", false),
            (200, None, &page[..], false),
        ] {
            assert_eq!(is_front_end(status, challenge, body), want, "{status}");
        }
    }

    #[test]
    fn once_for_each_host() {
        let hints = Hints::default();
        assert!(hints.is_first("a", 403));
        assert!(!hints.is_first("a", 403));
        assert!(hints.is_first("a", 404));
        assert!(hints.is_first("b", 403));
    }
}
