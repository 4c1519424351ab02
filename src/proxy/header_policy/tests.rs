use super::*;

const OURS: &str = "Bearer o.u.rs";
const STRIPPED: &str = "Bearer a.b.SIGNATURE_REMOVED_BY_GOOGLE";

#[test]
fn token_goes_into_the_field_that_the_application_left_free() {
    use AuthHeader::{Authorization, Auto, Off, Serverless};
    use HeaderEdit::{Keep, Remove, Set};
    let own = Some("Bearer x.y.z");
    let gone = Some(STRIPPED);
    let same = Some("bearer  o.u.rs");
    for (mode, authorization, serverless, want) in [
        (Auto, None, None, (Set, Keep)),
        (Auto, Some(""), None, (Set, Keep)),
        (Auto, own, None, (Keep, Set)),
        (Auto, Some("Basic eDp5"), None, (Keep, Set)),
        (Auto, None, own, (Keep, Keep)),
        (Auto, own, own, (Keep, Keep)),
        (Auto, gone, own, (Keep, Keep)),
        (Auto, None, gone, (Set, Remove)),
        (Auto, own, gone, (Keep, Set)),
        (Auto, gone, None, (Set, Keep)),
        (Auto, gone, gone, (Set, Remove)),
        (Auto, None, Some(""), (Set, Remove)),
        (Auto, own, Some(" "), (Keep, Set)),
        (Auto, same, None, (Keep, Keep)),
        (Auto, same, gone, (Keep, Remove)),
        (Authorization, None, None, (Set, Keep)),
        (Authorization, own, None, (Keep, Keep)),
        (Authorization, gone, gone, (Set, Remove)),
        (Authorization, None, own, (Keep, Keep)),
        (Serverless, None, None, (Keep, Set)),
        (Serverless, own, None, (Keep, Set)),
        (Serverless, own, own, (Keep, Keep)),
        (Serverless, gone, gone, (Remove, Set)),
        (Off, None, None, (Keep, Keep)),
        (Off, gone, gone, (Keep, Keep)),
    ] {
        let sent = RequestCredentials {
            authorization: authorization.map(str::as_bytes),
            serverless: serverless.map(str::as_bytes),
            user_agent: None,
        };
        let got = HeaderPolicy { auth_header: mode }.edits(&sent, Some(Secret::new(OURS)));
        let got = (got.authorization, got.serverless);
        assert_eq!(got, want, "{mode:?} {authorization:?} {serverless:?}");
    }
}

/// All lines of a header that can be there: none, one, or two.
fn lines() -> Vec<Vec<&'static str>> {
    let values = ["", "Bearer x.y.z", "Basic eDp5", OURS, STRIPPED];
    let mut all = vec![vec![]];
    for one in values {
        all.push(vec![one]);
        all.extend(values.map(|two| vec![one, two]));
    }
    all
}

fn after(lines: &[&'static str], change: HeaderEdit) -> Vec<&'static str> {
    match change {
        HeaderEdit::Keep => lines.to_vec(),
        HeaderEdit::Remove => vec![],
        HeaderEdit::Set => vec![OURS],
    }
}

#[test]
fn application_credentials_are_never_replaced() {
    use AuthHeader::{Authorization, Auto, Off, Serverless};
    let token = Secret::new(OURS);
    for mode in [Auto, Authorization, Serverless, Off] {
        let policy = HeaderPolicy { auth_header: mode };
        for first in lines() {
            for second in lines() {
                let case = format!("{mode:?} {first:?} {second:?}");
                let names = ["Authorization", "X-SERVERLESS-Authorization"];
                let headers = first.iter().map(|value| (names[0], *value));
                let headers = headers.chain(second.iter().map(|value| (names[1], *value)));
                let sent = RequestCredentials::from_fields(headers.map(|(n, v)| (n.as_bytes(), v.as_bytes())));

                // Without a token nothing changes.
                let none = policy.edits(&sent, None);
                assert_eq!(none.authorization, HeaderEdit::Keep, "{case}");
                assert_eq!(none.serverless, HeaderEdit::Keep, "{case}");

                let changes = policy.edits(&sent, Some(token.clone()));
                let changed = (changes.authorization, changes.serverless);
                let got_first = after(&first, changes.authorization);
                let got_second = after(&second, changes.serverless);

                // No token is fetched for nothing, nor any change made without one.
                if !policy.wants_token(&sent) {
                    assert_eq!(changed, (HeaderEdit::Keep, HeaderEdit::Keep), "{case}");
                    continue;
                }
                assert_ne!(mode, Off, "{case}");
                // Ours is set once at most, and then it is the one that counts.
                assert_ne!(changed, (HeaderEdit::Set, HeaderEdit::Set), "{case}");
                let wins = if got_second.is_empty() { &got_first } else { &got_second };
                assert!(wins.contains(&OURS), "{case}");
                // No stripped token is left.
                for left in [&got_first, &got_second] {
                    assert!(!left.contains(&STRIPPED), "{case}");
                }
                // What the application wrote itself is never replaced, unless
                // it sent a stripped one along with it.
                let own = |lines: &[&str]| lines.iter().any(|v| !v.is_empty()) && !lines.contains(&STRIPPED);
                for (lines, got) in [(&first, &got_first), (&second, &got_second)] {
                    if own(lines) {
                        assert_eq!(lines, got, "{case}");
                    }
                }
                // No token goes twice, unless the application sent it so.
                if first.len() < 2 && second.len() < 2 {
                    let all = got_first.iter().chain(&got_second);
                    assert_eq!(all.filter(|v| **v == OURS).count(), 1, "{case}");
                }
            }
        }
    }
}

#[test]
fn user_agent_starts_with_runsd() {
    let version = env!("CARGO_PKG_VERSION");
    for (original, want) in [
        (None, format!("runsd version={version}")),
        (Some(&b""[..]), format!("runsd version={version}")),
        (Some(b"curl/8.5.0"), format!("runsd version={version}; curl/8.5.0")),
    ] {
        let sent = RequestCredentials { user_agent: original, ..RequestCredentials::default() };
        let got = HeaderPolicy { auth_header: AuthHeader::Off }.edits(&sent, None).user_agent;
        assert_eq!(String::from_utf8(got).unwrap(), want);
    }
}

#[test]
fn invalid_token_challenges_are_recognized() {
    let front_end = "Bearer error=\"invalid_token\" error_description=\"The access token \
                     could not be verified\"";
    for (value, want) in [
        (front_end, true),
        ("bearer realm=\"x\", Error=\"Invalid_Token\"", true),
        ("Bearer", false),
        ("Bearer error=\"insufficient_scope\"", false),
        ("", false),
    ] {
        assert_eq!(is_invalid_token(value.as_bytes()), want, "{value:?}");
    }
}

#[test]
fn set_cookie_loses_what_a_client_would_reject() {
    let service = Destination { host: "hello-1.us-east1.run.app".to_owned(), port: 443, tls: true, audience: None };
    for (cookie, want) in [
        ("a=b", "a=b"),
        ("a=b; Path=/; HttpOnly", "a=b; Path=/; HttpOnly"),
        ("a=b; Domain=hello-1.us-east1.run.app; Path=/", "a=b; Path=/"),
        ("a=b; domain=.Hello-1.US-east1.run.app", "a=b"),
        ("a=b;DOMAIN = run.app ;Path=/", "a=b;Path=/"),
        ("a=b; Domain=\"us-east1.run.app\"", "a=b"),
        ("a=b; Domain=app", "a=b"),
        ("a=b; Domain=example.com", "a=b; Domain=example.com"),
        ("a=b; Domain=ello-1.us-east1.run.app", "a=b; Domain=ello-1.us-east1.run.app"),
        ("a=b; Domain=x.hello-1.us-east1.run.app", "a=b; Domain=x.hello-1.us-east1.run.app"),
        ("a=b; Domain=", "a=b; Domain="),
        ("a=b; Domain", "a=b; Domain"),
        ("a=b; Domain=.", "a=b; Domain=."),
        ("a=b; Secure; HttpOnly", "a=b; HttpOnly"),
        ("a=b;secure", "a=b"),
        ("a=b; SECURE ;Path=/;", "a=b;Path=/;"),
        ("a=b; Secure=1", "a=b"),
        ("a=b; Secured", "a=b; Secured"),
        ("a=b; SameSite=None; Secure; Partitioned", "a=b"),
        ("a=b; SameSite=Lax; Secure", "a=b; SameSite=Lax"),
        ("a=\"x; Secure\"; Path=/", "a=\"x; Secure\"; Path=/"),
        ("Secure", "Secure"),
        ("Domain=run.app", "Domain=run.app"),
        ("a=Domain=run.app; Secure", "a=Domain=run.app"),
        ("", ""),
    ] {
        let got = rewrite_set_cookie(cookie.as_bytes(), &service);
        let want = (want != cookie).then(|| want.as_bytes().to_vec());
        assert_eq!(got, want, "{cookie:?}");
    }
    let local = Destination { host: "127.0.0.1".to_owned(), port: 8080, tls: false, audience: None };
    let got = rewrite_set_cookie(b"a=b; Domain=127.0.0.1; Secure", &local);
    assert_eq!(got.as_deref(), Some(&b"a=b; Secure"[..]));
}

#[test]
fn location_of_the_upstream_gets_the_name_of_the_request() {
    let service = Destination { host: "hello-1.us-east1.run.app".to_owned(), port: 443, tls: true, audience: None };
    for (location, want) in [
        ("https://hello-1.us-east1.run.app/a?b#c", Some("http://hello/a?b#c")),
        ("https://hello-1.us-east1.run.app:443/a", Some("http://hello/a")),
        ("https://hello-1.us-east1.run.app", Some("http://hello")),
        ("https://hello-1.us-east1.run.app?x", Some("http://hello?x")),
        ("HTTPS://Hello-1.US-east1.run.app/A", Some("http://hello/A")),
        ("http://hello-1.us-east1.run.app/a", Some("http://hello/a")),
        ("http://hello-1.us-east1.run.app:80/a", Some("http://hello/a")),
        ("//hello-1.us-east1.run.app/a", Some("http://hello/a")),
        ("https://hello-1.us-east1.run.app:8443/a", None),
        ("https://hello-1.us-east1.run.app:80/a", None),
        ("https://hello-1.us-east1.run.app.example.com/a", None),
        ("https://xhello-1.us-east1.run.app/a", None),
        ("https://hello-1.us-east1.run.app@example.com/", None),
        ("https://me@hello-1.us-east1.run.app/", None),
        ("https://example.com/https://hello-1.us-east1.run.app/", None),
        ("https:hello-1.us-east1.run.app", None),
        ("ftp://hello-1.us-east1.run.app/", None),
        ("/a//hello-1.us-east1.run.app/", None),
        ("/a", None),
        ("a", None),
        ("", None),
    ] {
        let got = rewrite_location(location, &service, "hello");
        assert_eq!(got.as_deref(), want, "{location:?}");
    }
    let local = Destination { host: "::1".to_owned(), port: 8080, tls: false, audience: None };
    for (location, want) in [
        ("http://[::1]:8080/a", Some("http://db:8000/a")),
        ("https://[::1]/a", None),
        ("http://[::1]/a", None),
        ("http://[::1/a", None),
    ] {
        let got = rewrite_location(location, &local, "db:8000");
        assert_eq!(got.as_deref(), want, "{location:?}");
    }
}

#[test]
fn edits_say_which_fields_pass_and_which_are_added() {
    use HeaderEdit::{Keep, Remove, Set};
    for (authorization, serverless, kept, token_field) in [
        (Keep, Keep, [true, true], None),
        (Set, Keep, [false, true], Some("Authorization")),
        (Set, Remove, [false, false], Some("Authorization")),
        (Keep, Set, [true, false], Some("X-Serverless-Authorization")),
        (Remove, Set, [false, false], Some("X-Serverless-Authorization")),
        (Keep, Remove, [true, false], None),
    ] {
        let case = format!("{authorization:?} {serverless:?}");
        let user_agent = b"me".to_vec();
        let mut edits = HeaderEdits { authorization, serverless, user_agent, token: Some(Secret::new(OURS)) };
        assert_eq!([edits.keeps(b"AUTHORIZATION"), edits.keeps(b"X-Serverless-AUTHORIZATION")], kept, "{case}");
        assert!(edits.keeps(b"Accept") && !edits.keeps(b"USER-agent"), "{case}");
        assert_eq!(edits.token_field(), token_field.map(|name| (name, OURS.as_bytes())), "{case}");
        let added: Vec<_> = edits.added().collect();
        assert_eq!(added[0], ("User-Agent", &b"me"[..]), "{case}");
        assert_eq!(added.get(1).copied(), edits.token_field(), "{case}");

        // Another token goes where the first one went, or where the front end looks first.
        edits.replace_token(Secret::new("Bearer n.e.w"));
        let name = token_field.unwrap_or("X-Serverless-Authorization");
        assert_eq!(edits.token_field(), Some((name, &b"Bearer n.e.w"[..])), "{case}");
    }
    let without = HeaderPolicy { auth_header: AuthHeader::Auto }.edits(&RequestCredentials::default(), None);
    assert_eq!((without.token_field(), without.added().count()), (None, 1));
}

#[test]
fn a_scheme_is_not_part_of_the_token() {
    for (value, want) in [
        ("Bearer a.b.c", "a.b.c"),
        (" bearer   a.b.c ", "a.b.c"),
        ("Bearer", "Bearer"),
        ("Bearera.b.c", "Bearera.b.c"),
        ("Basic  a.b.c", "Basic  a.b.c"),
        ("a.b.c", "a.b.c"),
    ] {
        assert_eq!(without_scheme(value.as_bytes()), want.as_bytes(), "{value:?}");
    }
}

#[test]
fn location_is_rewritten_for_the_port_of_the_upstream_alone() {
    let on = |tls, port| Destination { host: "a.example".to_owned(), port, tls, audience: None };
    for (upstream, location, is_rewritten) in [
        (on(true, 8443), "https://a.example:8443/", true),
        (on(true, 8443), "//a.example:8443/", true),
        (on(true, 8443), "https://a.example/", false),
        (on(true, 8443), "http://a.example/", false),
        (on(true, 8443), "http://a.example:8443/", false),
        (on(true, 443), "http://a.example:443/", false),
        (on(false, 80), "//a.example/", true),
        (on(false, 80), "http://a.example/", true),
        (on(false, 80), "https://a.example:80/", false),
        (on(false, 443), "http://a.example/", false),
        (on(false, 443), "https://a.example/", false),
        (on(false, 8080), "http://a.example\\@b.example/", false),
    ] {
        assert_eq!(rewrite_location(location, &upstream, "a").is_some(), is_rewritten, "{location} at {upstream:?}");
    }
}

#[test]
fn cookies_of_an_upstream_without_tls_keep_what_needs_it() {
    let local = Destination { host: "a.example".to_owned(), port: 80, tls: false, audience: None };
    for cookie in
        ["a=b; SameSite=None", "a=b; Secure", "a=b; Partitioned", "a=b; Domain=\"a.example", "a=b; Domain=a.example\""]
    {
        assert_eq!(rewrite_set_cookie(cookie.as_bytes(), &local), None, "{cookie}");
    }
}

#[test]
fn credentials_are_looked_for_in_their_fields_alone() {
    let found = |fields: &[(&'static str, &'static str)]| {
        let sent =
            RequestCredentials::from_fields(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        [sent.authorization, sent.serverless, sent.user_agent].map(|value| value.map(|it| str::from_utf8(it).unwrap()))
    };
    assert_eq!(found(&[("Host", "hello"), ("Accept", "*/*"), ("Cookie", "a=b")]), [None; 3]);
    let all = [("AUTHORIZATION", "1"), ("x", "4"), ("X-Serverless-Authorization", "2"), ("User-Agent", "3")];
    assert_eq!(found(&all), [Some("1"), Some("2"), Some("3")]);
    // Of equals the first counts, as for most servers.
    assert_eq!(found(&[("Authorization", "1"), ("authorization", "2")])[0], Some("1"));
    assert_eq!(found(&[("Authorization", " "), ("authorization", "")])[0], Some(" "));
    assert_eq!(found(&[("Authorization", " "), ("authorization", "2")])[0], Some("2"));
    assert_eq!(found(&[("Authorization", "1"), ("authorization", STRIPPED)])[0], Some(STRIPPED));
    assert_eq!(found(&[("Authorization", STRIPPED), ("authorization", "1")])[0], Some(STRIPPED));
}
