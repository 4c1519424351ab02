//! What a name stands for: a service, a route or the metadata server. The DNS server and the proxy both ask
//! [`NamePolicy`], so that a name that resolves to runsd is a name that runsd serves.
//!
//! Pure. Which URL a service has is in `destination.rs`.

use crate::names::destination::Destination;
use crate::names::service::{RESERVED, ServiceName, strip_zone};

/// Which names runsd answers for, by the flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePolicy {
    /// The DNS zone of services, lower case, without outer dots: `run.internal` (`-domain`).
    pub zone: String,
    /// The names that stand for URLs (`-route`).
    pub routes: Vec<Route>,
    /// The only names that are answered, lower case, without the zone; `None` allows all (`-only`).
    pub allowlist: Option<Vec<String>>,
}

/// A name for a URL of the user's choice: `-route NAME=URL,audience=AUD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Lower case, without the zone.
    pub name: String,
    /// Without TLS on loopback only.
    pub destination: Destination,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    Service(ServiceName),
    Route(&'a Route),
    /// The metadata server, as on Compute Engine.
    Metadata,
}

impl NamePolicy {
    /// Returns what `name` stands for, in any case, with or without the zone and a trailing dot; `None` for names
    /// that runsd does not answer for.
    ///
    /// A route takes precedence over a service of the same name. The allowlist does not concern the metadata server.
    /// `-only hello` allows the service `hello` in every region and with every tag, `-only hello.us-east1` that one
    /// spelling.
    pub fn target(&self, name: &str) -> Option<Target<'_>> {
        let name = strip_zone(name, &self.zone);
        if METADATA_NAMES.contains(&name.as_str()) {
            return Some(Target::Metadata);
        }
        let target = match self.routes.iter().find(|route| route.name == name) {
            Some(route) => Target::Route(route),
            None => Target::Service(ServiceName::parse(&name)?),
        };
        let Some(allowlist) = &self.allowlist else {
            return Some(target);
        };
        let is_allowed = |entry: &String| match &target {
            Target::Service(service) if *entry == service.name => true,
            _ => *entry == name,
        };
        allowlist.iter().any(is_allowed).then_some(target)
    }
}

/// Whether `name`, in lower case and without the zone, is one that no route may have: a route of that name would never
/// be asked.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || METADATA_NAMES.contains(&name)
}

/// The names of the metadata server.
const METADATA_NAMES: [&str; 2] = ["metadata", "metadata.google.internal"];

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str) -> Route {
        let host = format!("{name}.example.com");
        Route { name: name.to_owned(), destination: Destination { host, port: 443, tls: true, audience: None } }
    }

    #[test]
    fn names_have_a_target_where_routes_and_the_allowlist_say_so() {
        let routes = vec![route("billing"), route("hello.us-east1"), route("my_db")];
        let policy = |allowlist: Option<&str>| NamePolicy {
            zone: "run.internal".to_owned(),
            routes: routes.clone(),
            allowlist: allowlist.map(|names| names.split(',').map(str::to_owned).collect()),
        };
        for (allowlist, name, want) in [
            (None, "hello", Some("service hello")),
            (None, "HELLO.Run.Internal.", Some("service hello")),
            (None, "billing", Some("route billing")),
            (None, "Billing.run.internal", Some("route billing")),
            (None, "billing.us-east1", Some("service billing")),
            (None, "hello.us-east1", Some("route hello.us-east1")),
            (None, "my_db", Some("route my_db")),
            (None, "other_db", None),
            (None, "metadata", Some("metadata")),
            (None, "Metadata.run.internal", Some("metadata")),
            (None, "metadata.google.internal.", Some("metadata")),
            (None, "metadata.us-east1", Some("service metadata")),
            (None, "localhost", None),
            (None, "example.com", None),
            (Some("hello"), "hello", Some("service hello")),
            (Some("hello"), "Hello.us-west1", Some("service hello")),
            (Some("hello"), "hello.us-west1.42", Some("service hello")),
            (Some("hello"), "canary---hello", Some("service hello")),
            (Some("hello"), "hello2", None),
            (Some("hello"), "canary---other", None),
            (Some("hello"), "billing", None),
            (Some("hello"), "hello.us-east1", None),
            (Some("hello,billing"), "billing", Some("route billing")),
            (Some("hello.us-west1"), "hello.us-west1", Some("service hello")),
            (Some("hello.us-west1"), "hello", None),
            (Some("canary---hello"), "hello", None),
            (Some("canary---hello"), "canary---hello", Some("service hello")),
            (Some(""), "hello", None),
            (Some("hello"), "metadata", Some("metadata")),
        ] {
            let policy = policy(allowlist);
            let got = policy.target(name).map(|target| match target {
                Target::Service(service) => format!("service {}", service.name),
                Target::Route(route) => format!("route {}", route.name),
                Target::Metadata => "metadata".to_owned(),
            });
            assert_eq!(got.as_deref(), want, "{name:?} with -only {allowlist:?}");
        }
    }
}
