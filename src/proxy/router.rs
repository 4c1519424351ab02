//! Which upstream a `Host` or `:authority` leads to.

use std::sync::Arc;

use crate::names::destination::{Destination, UrlFormat};
use crate::names::location::{InstanceLocation, Location, LocationNeeds};
use crate::names::policy::{NamePolicy, Target};
use crate::net::authority::Authority;
use crate::proxy::error::{ErrorType, ProxyError};
use crate::proxy::syntax;

/// Leads hosts to destinations. Immutable, but for what [`InstanceLocation`] discovers.
pub struct Router {
    /// Which names are served.
    pub policy: NamePolicy,
    /// How the URLs of services are built.
    pub url_format: UrlFormat,
    /// Region and project of names that leave them open.
    pub location: InstanceLocation,
    /// The metadata server: `host[:port]`.
    pub metadata_host: String,
    /// The port that the proxy listens on. A request may name this port or 80.
    pub own_port: u16,
    /// Whether requests for hosts that are not served pass unchanged: the application uses `http_proxy`.
    pub is_forward_proxy: bool,
}

/// The host of a request, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedHost {
    /// The value of `Host` or `:authority`, as the client sent it.
    pub name: Arc<str>,
    /// The upstream.
    pub destination: Destination,
    /// The value of `Host` or `:authority` for the upstream.
    pub authority: String,
    /// Whether requests and responses pass with neither a token nor changed headers: the metadata server, and other
    /// hosts than runsd's of a forward proxy.
    pub is_passthrough: bool,
}

impl Router {
    /// Resolves the value of `Host` or `:authority`.
    ///
    /// Blocks: until the metadata server answered, where the name leaves the region or the project open.
    ///
    /// # Errors
    /// `http_request_error` for a malformed host, `destination_not_found` for one that is not served,
    /// `proxy_configuration_error` where region or project are not known, `proxy_loop_detected` for a route to runsd.
    pub fn resolve(&self, host: &[u8]) -> Result<ResolvedHost, ProxyError> {
        let authority = syntax::parse_authority(host)?;
        let other_port = authority.port.filter(|&port| port != HTTP_PORT && port != self.own_port);
        let destination = match (self.policy.target(authority.host), other_port) {
            (Some(Target::Service(service)), None) => {
                let needs = LocationNeeds::for_service(&service, &self.url_format);
                let location = self.location.resolve(needs).map_err(location_unknown)?;
                Destination::from_service(&service, location, &self.url_format).map_err(not_found)?
            }
            // A route without TLS leads to loopback, where runsd listens, too.
            (Some(Target::Route(route)), None) if !route.destination.tls && route.destination.port == self.own_port => {
                let name = authority.text;
                let details = format!("{name:?} leads back to runsd; give the name another URL with -route");
                return Err(ProxyError::new(ErrorType::ProxyLoopDetected, details));
            }
            (Some(Target::Route(route)), None) => route.destination.clone(),
            (Some(Target::Metadata), None) => {
                return Ok(passthrough(authority.text, syntax::parse_authority(self.metadata_host.as_bytes())?));
            }
            _ if self.is_forward_proxy => return Ok(passthrough(authority.text, authority)),
            (Some(_), Some(port)) => {
                let host = authority.host;
                return Err(not_found(format!("nothing is served at port {port} of {host:?}; ask for http://{host}")));
            }
            (None, _) => return Err(not_found(format!("{:?} is not the name of a service", authority.text))),
        };
        Ok(ResolvedHost {
            name: authority.text.into(),
            authority: destination.authority(),
            destination,
            is_passthrough: false,
        })
    }

    /// Returns region and project, as a name without a region needs them.
    ///
    /// Blocks: until the metadata server answered, where flags do not say them.
    ///
    /// # Errors
    /// A sentence of the failed lookup.
    pub fn location(&self) -> Result<&Location, String> {
        self.location.resolve(LocationNeeds::for_bare_name(&self.url_format))
    }
}

fn passthrough(name: &str, to: Authority<'_>) -> ResolvedHost {
    ResolvedHost {
        name: name.into(),
        destination: Destination {
            host: to.host.to_ascii_lowercase(),
            port: to.port.unwrap_or(HTTP_PORT),
            tls: false,
            audience: None,
        },
        authority: name.to_owned(),
        is_passthrough: true,
    }
}

fn location_unknown(err: String) -> ProxyError {
    ProxyError::new(ErrorType::LocationUnknown, format!("the region and project of this instance are not known: {err}"))
}

fn not_found(details: String) -> ProxyError {
    ProxyError::new(ErrorType::DestinationNotFound, details)
}

/// The default port of `http` URLs (RFC 9110 section 4.2.1).
const HTTP_PORT: u16 = 80;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::policy::Route;

    fn router(is_forward_proxy: bool) -> Router {
        let route = |name: &str, host: &str, port, tls| Route {
            name: name.to_owned(),
            destination: Destination { host: host.to_owned(), port, tls, audience: None },
        };
        let configured = Location { region: "us-west1".to_owned(), project: "7".to_owned() };
        Router {
            policy: NamePolicy {
                zone: "run.internal".to_owned(),
                routes: vec![route("billing", "billing.example", 443, true), route("loop", "127.0.0.1", 8080, false)],
                allowlist: None,
            },
            url_format: UrlFormat::Deterministic { domain: "run.app".to_owned() },
            location: InstanceLocation::new(configured, || Err("must not be called".to_owned())),
            metadata_host: "169.254.169.254:81".to_owned(),
            own_port: 8080,
            is_forward_proxy,
        }
    }

    #[test]
    fn hosts_lead_to_destinations() {
        let hello = "https://hello-7.us-west1.run.app";
        let metadata = "through to 169.254.169.254:81";
        for (host, want, want_as_forward_proxy) in [
            ("hello", hello, hello),
            ("Hello:80", hello, hello),
            ("hello:8080", hello, hello),
            ("hello:", hello, hello),
            ("hello.", hello, hello),
            ("hello.:80", hello, hello),
            ("HELLO.run.internal.:8080", hello, hello),
            ("hello.us-east1.42", "https://hello-42.us-east1.run.app", "https://hello-42.us-east1.run.app"),
            (
                "canary---hello",
                "https://canary---hello-7.us-west1.run.app",
                "https://canary---hello-7.us-west1.run.app",
            ),
            ("billing", "https://billing.example", "https://billing.example"),
            ("BILLING.run.internal:80", "https://billing.example", "https://billing.example"),
            ("loop", "ProxyLoopDetected", "ProxyLoopDetected"),
            ("metadata", metadata, metadata),
            ("Metadata:80", metadata, metadata),
            ("metadata.google.internal.", metadata, metadata),
            ("hello:443", "nothing is served at port 443 of \"hello\"; ask for http://hello", "through to hello:443"),
            (
                "metadata:8081",
                "nothing is served at port 8081 of \"metadata\"; ask for http://metadata",
                "through to metadata:8081",
            ),
            ("hello:+80", "HttpRequestError(400)", "HttpRequestError(400)"),
            ("hello:http", "HttpRequestError(400)", "HttpRequestError(400)"),
            ("", "HttpRequestError(400)", "HttpRequestError(400)"),
            ("localhost", "\"localhost\" is not the name of a service", "through to localhost:80"),
            ("127.0.0.1", "\"127.0.0.1\" is not the name of a service", "through to 127.0.0.1:80"),
            ("[::1]:80", "\"[::1]:80\" is not the name of a service", "through to ::1:80"),
            ("[::1]", "\"[::1]\" is not the name of a service", "through to ::1:80"),
            ("Example.com", "\"Example.com\" is not the name of a service", "through to example.com:80"),
            ("example.com:8081", "\"example.com:8081\" is not the name of a service", "through to example.com:8081"),
            ("hello ", "HttpRequestError(400)", "HttpRequestError(400)"),
            ("user@hello", "HttpRequestError(400)", "HttpRequestError(400)"),
            ("h\u{e9}llo", "HttpRequestError(400)", "HttpRequestError(400)"),
        ] {
            for (is_forward_proxy, want) in [(false, want), (true, want_as_forward_proxy)] {
                let got = match router(is_forward_proxy).resolve(host.as_bytes()) {
                    Ok(found) if found.is_passthrough => {
                        assert_eq!(found.authority, host);
                        format!("through to {}:{}", found.destination.host, found.destination.port)
                    }
                    Ok(found) => format!("https://{}", found.authority),
                    Err(err) if err.kind == ErrorType::DestinationNotFound => err.details,
                    Err(err) => format!("{:?}", err.kind),
                };
                assert_eq!(got, want, "{host:?}, forward proxy: {is_forward_proxy}");
            }
        }
    }
}
