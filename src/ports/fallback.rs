//! What an application is told so that it sends its requests to a proxy. Pure.
//!
//! Some clients read the variables in lower case only, some also in upper
//! case: both are set.

use std::ffi::OsString;

/// The variables for a proxy on `port`; `env` answers for those the image
/// sets, `hosts` is its `/etc/hosts`. `None` where it has made its own
/// arrangements, which stay as they are.
pub fn environment(
    port: u16,
    env: impl Fn(&str) -> Option<String>,
    hosts: &[u8],
) -> Option<Vec<(OsString, OsString)>> {
    let set = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    if PROXY.iter().any(|name| set(name).is_some()) {
        return None;
    }
    let no_proxy = NO_PROXY.map(set);
    // Not to be added to: it means "all" only alone.
    if no_proxy.iter().flatten().any(|value| value.trim() == "*") {
        return None;
    }
    let [lower, upper] = &no_proxy;
    let direct = direct(hosts);
    let kept = [
        lower.as_ref().or(upper.as_ref()),
        upper.as_ref().or(lower.as_ref()),
    ];
    let proxy = format!("http://127.0.0.1:{port}");
    let proxies = PROXY.iter().map(|name| (*name, proxy.clone()));
    let exceptions = NO_PROXY.iter().zip(kept).map(|(name, kept)| {
        let value = match kept {
            Some(kept) => format!("{},{direct}", kept.trim().trim_end_matches(',')),
            None => direct.clone(),
        };
        (*name, value)
    });
    let all = proxies.chain(exceptions);
    Some(
        all.map(|(name, value)| (name.into(), value.into()))
            .collect(),
    )
}

/// The hosts that are not for the proxy: it would send the metadata server's
/// callers to itself, and knows nothing of the names in `/etc/hosts`, which
/// are the other containers of the instance.
fn direct(hosts: &[u8]) -> String {
    let mut direct = DIRECT.map(str::to_owned).to_vec();
    for line in String::from_utf8_lossy(hosts).lines() {
        let words = line
            .split('#')
            .next()
            .unwrap_or_default()
            .split_ascii_whitespace();
        for name in words.skip(1) {
            if !direct.iter().any(|known| known == name) && !name.contains(',') {
                direct.push(name.to_owned());
            }
        }
    }
    direct.join(",")
}

const PROXY: [&str; 2] = ["http_proxy", "HTTP_PROXY"];
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];
const DIRECT: [&str; 5] = [
    "169.254.169.254",
    "metadata.google.internal",
    "localhost",
    "127.0.0.1",
    "::1",
];

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: &str = "169.254.169.254,metadata.google.internal,localhost,127.0.0.1,::1";

    #[test]
    fn what_an_application_is_told() {
        let both = |value: &str| Some([value.to_owned(), value.to_owned()]);
        for (image, want) in [
            (&[][..], both(USUAL)),
            (&[("no_proxy", "")], both(USUAL)),
            (
                &[("no_proxy", "a.example")],
                both(&format!("a.example,{USUAL}")),
            ),
            (
                &[("NO_PROXY", "a.example, ")],
                both(&format!("a.example,{USUAL}")),
            ),
            (
                &[("no_proxy", "a"), ("NO_PROXY", "b")],
                Some([format!("a,{USUAL}"), format!("b,{USUAL}")]),
            ),
            (&[("no_proxy", "*")], None),
            (&[("http_proxy", "http://proxy:3128")], None),
            (&[("HTTP_PROXY", "http://proxy:3128")], None),
            (&[("http_proxy", "")], both(USUAL)),
            (&[("https_proxy", "http://proxy:3128")], both(USUAL)),
        ] {
            let env = |name: &str| {
                let found = image.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let want = want.map(|[lower, upper]| {
                let ours = "http://127.0.0.1:4000".to_owned();
                [
                    ("http_proxy", ours.clone()),
                    ("HTTP_PROXY", ours),
                    ("no_proxy", lower),
                    ("NO_PROXY", upper),
                ]
                .map(|(name, value)| (name.into(), value.into()))
                .to_vec()
            });
            assert_eq!(environment(4000, env, b""), want, "{image:?}");
        }
    }

    #[test]
    fn names_of_the_instance_are_called_directly() {
        for (hosts, want) in [
            ("", ""),
            ("127.0.0.1 localhost\n::1 localhost\n", ""),
            (
                "127.0.0.1\tlocalhost cache # db\n127.0.0.1 cache worker",
                ",cache,worker",
            ),
            ("127.0.0.1", ""),
            ("127.0.0.1 a,b", ""),
        ] {
            assert_eq!(
                direct(hosts.as_bytes()),
                format!("{USUAL}{want}"),
                "{hosts:?}"
            );
        }
    }
}
