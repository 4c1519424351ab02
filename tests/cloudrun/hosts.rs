//! The hosts of `run.app`, read the way the front end reads them, and the
//! query strings of requests.

use hyper::Uri;

/// The project of the miniature.
pub const PROJECT: &str = "123456789012";
/// Another project, which has the same services.
pub const OTHER_PROJECT: &str = "210987654321";

/// A host taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub tag: Option<String>,
    pub service: String,
    pub project: String,
    pub region: String,
    /// What a token must be for: the host without the tag.
    pub audience: String,
}

/// Reads `[TAG---]SERVICE-PROJECT.REGION.run.app` or
/// `[TAG---]SERVICE-HASH-CODE.a.run.app`, in lower case.
pub fn read(host: &str) -> Option<Host> {
    let (first, region) = host.strip_suffix(".run.app")?.split_once('.')?;
    let (tag, name) = match first.split_once("---") {
        Some((tag, name)) => (Some(tag.to_owned()), name),
        None => (None, first),
    };
    let (service, last) = name.rsplit_once('-')?;
    let (service, project, region_name) = if region == "a" {
        let (service, hash) = service.rsplit_once('-')?;
        let shape = hash.len() == 10 && hash.bytes().all(|b| b.is_ascii_alphanumeric());
        let code = CODES.iter().find(|(code, _)| *code == last)?;
        (service, shape.then_some(PROJECT)?, code.1)
    } else {
        let known = [PROJECT, OTHER_PROJECT].contains(&last);
        (service, known.then_some(last)?, region)
    };
    Some(Host {
        tag,
        service: service.to_owned(),
        project: project.to_owned(),
        region: region_name.to_owned(),
        audience: format!("https://{name}.{region}.run.app"),
    })
}

/// One parameter of a query string, decoded.
pub fn query(uri: &Uri, key: &str) -> Option<String> {
    let pairs = uri.query()?.split('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(name, _)| *name == key).map(|(_, value)| decoded(value))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

const CODES: &[(&str, &str)] =
    &[("ue", "us-east1"), ("uc", "us-central1"), ("uw", "us-west1"), ("ew", "europe-west1"), ("de", "asia-east1")];
