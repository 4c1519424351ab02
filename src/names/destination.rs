//! Where a request really goes: the host of a service or a route, and the
//! audience of its token.
//!
//! Pure: what the metadata server knows comes in as a [`Location`].

use crate::names::service::Service;

/// The far end of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Host of the URL, lower case.
    pub host: String,
    /// Port of the URL.
    pub port: u16,
    /// Whether it is `https`.
    pub tls: bool,
    /// What its tokens are for; `None` sends none.
    pub audience: Option<String>,
}

/// A name that stands for a URL of the user's choice: `-route NAME=URL,audience=AUD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The name, lower case, without the zone.
    pub name: String,
    /// `http` is for loopback only.
    pub tls: bool,
    /// Host of the URL, lower case.
    pub host: String,
    /// Port of the URL.
    pub port: u16,
    /// The audience of its tokens; `None` sends none.
    pub audience: Option<String>,
}

/// Where this instance runs.
///
/// A half that is not known, and not needed ([`LocationNeeds`]), may stay empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Location {
    /// `us-east1`
    pub region: String,
    /// The project's number.
    pub project: String,
}

/// How the URLs of services are built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlFormat {
    /// `SERVICE-PROJECTNUMBER.REGION.run.app`
    Deterministic {
        /// `run.app`; sovereign clouds have another.
        domain: String,
    },
    /// `SERVICE-HASH-CODE.a.run.app`
    Hash {
        /// The project's hash, the same in all its regions.
        hash: String,
        /// As above.
        domain: String,
    },
}

/// The halves of a [`Location`] that a name leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocationNeeds {
    pub region: bool,
    pub project: bool,
}

impl LocationNeeds {
    /// What must be known before `service` has a URL: a name that says it all
    /// waits for nobody.
    pub fn of(service: &Service, form: &UrlFormat) -> LocationNeeds {
        LocationNeeds {
            region: service.region.is_none(),
            project: service.project.is_none() && matches!(form, UrlFormat::Deterministic { .. }),
        }
    }
}

impl Destination {
    /// The URL of a service, as seen from `place`.
    pub fn of_service(service: &Service, place: &Location, form: &UrlFormat) -> Result<Destination, String> {
        let region = known(service.region.as_ref(), &place.region, "region")?;
        let (end, domain) = match (form, &service.project) {
            // The hash is that of our own project: for a project that was
            // named, whichever it is, only its number makes a URL.
            (UrlFormat::Hash { hash, domain }, None) => {
                let code = region_code(region).ok_or_else(|| unknown_code(region))?;
                (format!("-{hash}-{code}"), format!("a.{domain}"))
            }
            (UrlFormat::Deterministic { domain } | UrlFormat::Hash { domain, .. }, project) => {
                let project = known(project.as_ref(), &place.project, "project number")?;
                (format!("-{project}"), format!("{region}.{domain}"))
            }
        };
        let tag = match &service.tag {
            Some(tag) => format!("{tag}---"),
            None => String::new(),
        };
        let name = &service.name;
        let length = tag.len() + name.len() + end.len();
        if length > 63 {
            return Err(format!("\"{tag}{name}{end}\" has {length} characters; the first part of a host may have 63"));
        }
        Ok(Destination {
            host: format!("{tag}{name}{end}.{domain}").to_ascii_lowercase(),
            port: 443,
            tls: true,
            // Without the tag: the front end knows no other audience.
            audience: Some(format!("https://{name}{end}.{domain}").to_ascii_lowercase()),
        })
    }

    /// What the user said with `-route`.
    pub fn of_route(route: &Route) -> Destination {
        Destination { host: route.host.clone(), port: route.port, tls: route.tls, audience: route.audience.clone() }
    }

    /// The host as `Host` and `:authority` have it: with its port, unless the
    /// scheme says it already.
    pub fn authority(&self) -> String {
        // Only an IPv6 address has colons.
        let host = match self.host.contains(':') && !self.host.starts_with('[') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

fn known<'a>(given: Option<&'a String>, found: &'a String, what: &str) -> Result<&'a String, String> {
    let text = given.unwrap_or(found);
    match text.is_empty() {
        true => Err(format!("the {what} of this instance is not known")),
        false => Ok(text),
    }
}

fn unknown_code(region: &str) -> String {
    format!(
        "no region code is known for {region:?}, and URLs with a project hash need one; \
         leave the hash out, or say the project too: NAME.{region}.PROJECTNUMBER"
    )
}

/// The two letters a region has in hash URLs.
///
/// A table that is never complete, which is why the deterministic form, which
/// needs none, is the usual one.
fn region_code(region: &str) -> Option<&'static str> {
    let found = CODES.iter().find(|(name, _)| *name == region);
    found.map(|(_, code)| *code)
}

const CODES: [(&str, &str); 43] = [
    ("asia-east1", "de"),
    ("asia-east2", "df"),
    ("asia-northeast1", "an"),
    ("asia-northeast2", "dt"),
    ("asia-northeast3", "du"),
    ("asia-south1", "el"),
    ("asia-south2", "em"),
    ("asia-southeast1", "as"),
    ("asia-southeast2", "et"),
    ("asia-southeast3", "eu"),
    ("australia-southeast1", "ts"),
    ("australia-southeast2", "km"),
    ("africa-south1", "bq"),
    ("europe-central2", "lm"),
    ("europe-north1", "lz"),
    ("europe-north2", "ma"),
    ("europe-southwest1", "no"),
    ("europe-west1", "ew"),
    ("europe-west2", "nw"),
    ("europe-west3", "ey"),
    ("europe-west4", "ez"),
    ("europe-west6", "oa"),
    ("europe-west8", "oc"),
    ("europe-west9", "od"),
    ("europe-west10", "oe"),
    ("europe-west12", "og"),
    ("me-central1", "ww"),
    ("me-central2", "wx"),
    ("me-west1", "zf"),
    ("northamerica-northeast1", "nn"),
    ("northamerica-northeast2", "pd"),
    ("northamerica-south1", "pv"),
    ("southamerica-east1", "rj"),
    ("southamerica-west1", "tl"),
    ("us-central1", "uc"),
    ("us-east1", "ue"),
    ("us-east4", "uk"),
    ("us-east5", "ul"),
    ("us-south1", "vp"),
    ("us-west1", "uw"),
    ("us-west2", "wl"),
    ("us-west3", "wm"),
    ("us-west4", "wn"),
];

#[cfg(test)]
mod tests;
