//! Where a request goes: the URL of a service, and the audience of its identity token.
//!
//! Pure: region and project of this instance come in as a [`Location`].

use crate::names::location::Location;
use crate::names::service::ServiceName;

/// The upstream of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// A name or an address, lower case; an IPv6 address without brackets.
    pub host: String,
    /// The TCP port of the URL.
    pub port: u16,
    /// Whether the scheme is `https`.
    pub tls: bool,
    /// The audience of its identity tokens; `None` sends none.
    pub audience: Option<String>,
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
        /// As in [`UrlFormat::Deterministic`].
        domain: String,
    },
}

impl Destination {
    /// Builds the URL of a service, as seen from `location`.
    ///
    /// # Errors
    /// A sentence, where neither the name nor `location` has the region or the project, where a URL with a hash needs
    /// the code of an unknown region, or where the first label is longer than DNS allows.
    pub fn from_service(service: &ServiceName, location: &Location, format: &UrlFormat) -> Result<Destination, String> {
        let region = known(service.region.as_ref(), &location.region, "region")?;
        let (suffix, domain) = match (format, &service.project) {
            // The hash is that of this instance's project: a project in the name has a URL by its number only.
            (UrlFormat::Hash { hash, domain }, None) => {
                let code = region_code(region)?;
                (format!("-{hash}-{code}"), format!("a.{domain}"))
            }
            (UrlFormat::Deterministic { domain } | UrlFormat::Hash { domain, .. }, project) => {
                let project = known(project.as_ref(), &location.project, "project number")?;
                (format!("-{project}"), format!("{region}.{domain}"))
            }
        };
        let tag = service.tag.as_ref().map(|tag| format!("{tag}---")).unwrap_or_default();
        let name = &service.name;
        let len = tag.len() + name.len() + suffix.len();
        if len > MAX_LABEL_LEN {
            return Err(format!(
                "\"{tag}{name}{suffix}\" has {len} characters; the first part of a host may have {MAX_LABEL_LEN}"
            ));
        }
        Ok(Destination {
            host: format!("{tag}{name}{suffix}.{domain}").to_ascii_lowercase(),
            port: 443,
            tls: true,
            // Without the tag: the front end accepts no other audience.
            audience: Some(format!("https://{name}{suffix}.{domain}").to_ascii_lowercase()),
        })
    }

    /// Returns the value of `Host` and `:authority`: the port is left out where it is the scheme's default
    /// (RFC 9110 section 4.2.3).
    pub fn authority(&self) -> String {
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => self.uri_host(),
            (_, port) => format!("{}:{port}", self.uri_host()),
        }
    }

    /// Returns the host as a URL has it: an IPv6 address in brackets (RFC 3986 section 3.2.2).
    pub fn uri_host(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        }
    }
}

fn known<'a>(named: Option<&'a String>, default: &'a String, what: &str) -> Result<&'a String, String> {
    let text = named.unwrap_or(default);
    match text.is_empty() {
        true => Err(format!("the {what} of this instance is not known")),
        false => Ok(text),
    }
}

/// Returns the two letters of a region in a URL with a hash.
fn region_code(region: &str) -> Result<&'static str, String> {
    let found = REGION_CODES.iter().find(|(name, _)| *name == region);
    found.map(|(_, code)| *code).ok_or_else(|| {
        format!(
            "no region code is known for {region:?}, and URLs with a project hash need one; \
             leave the hash out, or say the project too: NAME.{region}.PROJECTNUMBER"
        )
    })
}

/// Octets of the longest DNS label (RFC 1035 section 2.3.4).
const MAX_LABEL_LEN: usize = 63;

/// The codes that Cloud Run gave to regions. New regions are missing until somebody adds them, which is why
/// [`UrlFormat::Deterministic`], which needs no code, is the default.
const REGION_CODES: [(&str, &str); 43] = [
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
