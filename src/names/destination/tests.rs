use super::*;
use crate::names::location::LocationNeeds;

fn location() -> Location {
    Location { region: "us-central1".to_owned(), project: "123456789012".to_owned() }
}

fn deterministic() -> UrlFormat {
    UrlFormat::Deterministic { domain: "run.app".to_owned() }
}

fn hash() -> UrlFormat {
    UrlFormat::Hash { hash: "abcdefghij".to_owned(), domain: "run.app".to_owned() }
}

fn service(text: &str) -> ServiceName {
    ServiceName::parse(&crate::names::service::strip_zone(text, "run.internal")).expect(text)
}

#[test]
fn urls_of_services() {
    for (name, format, host, audience) in [
        (
            "hello",
            deterministic(),
            "hello-123456789012.us-central1.run.app",
            "https://hello-123456789012.us-central1.run.app",
        ),
        (
            "Hello.US-East1",
            deterministic(),
            "hello-123456789012.us-east1.run.app",
            "https://hello-123456789012.us-east1.run.app",
        ),
        ("hello.us-east1.42", deterministic(), "hello-42.us-east1.run.app", "https://hello-42.us-east1.run.app"),
        (
            "canary---hello",
            deterministic(),
            "canary---hello-123456789012.us-central1.run.app",
            "https://hello-123456789012.us-central1.run.app",
        ),
        ("canary---hello", hash(), "canary---hello-abcdefghij-uc.a.run.app", "https://hello-abcdefghij-uc.a.run.app"),
        ("hello.europe-west12", hash(), "hello-abcdefghij-og.a.run.app", "https://hello-abcdefghij-og.a.run.app"),
        ("hello.us-east1.42", hash(), "hello-42.us-east1.run.app", "https://hello-42.us-east1.run.app"),
        (
            "hello",
            UrlFormat::Deterministic { domain: "run.example.eu".to_owned() },
            "hello-123456789012.us-central1.run.example.eu",
            "https://hello-123456789012.us-central1.run.example.eu",
        ),
    ] {
        let got = Destination::from_service(&service(name), &location(), &format);
        let want = Destination { host: host.to_owned(), port: 443, tls: true, audience: Some(audience.to_owned()) };
        assert_eq!(got, Ok(want), "{name}");
    }
}

#[test]
fn location_needs_are_what_the_name_leaves_open() {
    for (name, format, region, project) in [
        ("hello", deterministic(), true, true),
        ("hello.us-east1", deterministic(), false, true),
        ("hello.us-east1.42", deterministic(), false, false),
        ("hello", hash(), true, false),
        ("hello.us-east1", hash(), false, false),
        ("hello.us-east1.42", hash(), false, false),
    ] {
        let needs = LocationNeeds::for_service(&service(name), &format);
        assert_eq!(needs, LocationNeeds { region, project }, "{name} {format:?}");
        // And what is said to be enough is enough.
        let location = Location {
            region: if region { "us-west1" } else { "" }.to_owned(),
            project: if project { "1" } else { "" }.to_owned(),
        };
        let got = Destination::from_service(&service(name), &location, &format);
        assert!(got.is_ok(), "{name} {format:?}: {got:?}");
        if region || project {
            let got = Destination::from_service(&service(name), &Location::default(), &format);
            assert!(got.is_err(), "{name} {format:?}: {got:?}");
        }
    }
}

#[test]
fn names_without_a_url() {
    let long = "a".repeat(49);
    let too_long = format!("{long}.us-east1.12345678901234");
    for (name, format, want) in [
        (too_long.as_str(), deterministic(), "has 64 characters; the first part of a host may have 63"),
        ("hello.mars-north1", hash(), "no region code is known for \"mars-north1\""),
    ] {
        let got = Destination::from_service(&service(name), &location(), &format);
        let got = got.expect_err(name);
        assert!(got.contains(want), "{name}: {got}");
    }
    // One digit less, and it fits.
    let longest = format!("{long}.us-east1.1234567890123");
    assert!(Destination::from_service(&service(&longest), &location(), &deterministic()).is_ok(), "{longest}");
}

#[test]
fn region_codes_are_unique_and_their_regions_well_formed() {
    for (at, (region, code)) in REGION_CODES.iter().enumerate() {
        assert!(crate::names::service::is_region(region), "{region}");
        for (other, same) in &REGION_CODES[..at] {
            assert_ne!(other, region);
            assert_ne!(same, code, "{region} and {other}");
        }
    }
}

#[test]
fn authorities_have_a_port_where_it_is_not_the_default() {
    for (host, port, tls, want) in [
        ("a.run.app", 443, true, "a.run.app"),
        ("a.run.app", 80, true, "a.run.app:80"),
        ("127.0.0.1", 80, false, "127.0.0.1"),
        ("127.0.0.1", 8080, false, "127.0.0.1:8080"),
        ("::1", 8080, false, "[::1]:8080"),
        ("::1", 80, false, "[::1]"),
    ] {
        let destination = Destination { host: host.to_owned(), port, tls, audience: None };
        assert_eq!(destination.authority(), want);
    }
}
