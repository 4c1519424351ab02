//! What an application is told so that it sends its requests to a proxy. Pure.
//!
//! Some clients read the variables in lower case only, some also in upper
//! case: both are set.

use std::ffi::OsString;

use crate::net::hosts::HostsFile;

/// The variables for a proxy on `port`; `env` answers for those the image
/// sets, `hosts` is its `/etc/hosts`. `None` where it has made its own
/// arrangements, which stay as they are.
pub fn environment(
    port: u16,
    env: impl Fn(&str) -> Option<String>,
    hosts: &HostsFile,
) -> Option<Vec<(OsString, OsString)>> {
    let set = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    let (mut proxies, mut no_proxy) = (PROXY.map(set), NO_PROXY.map(set));
    if is_of_runsd(&proxies, &no_proxy) {
        // Said anew, so that the flags of this one count.
        proxies = [None, None];
        no_proxy = no_proxy.map(images_own);
    }
    if proxies.iter().any(Option::is_some) {
        return None;
    }
    // Not to be added to: it means "all" only alone.
    if no_proxy.iter().flatten().any(|value| value.trim() == "*") {
        return None;
    }
    let [lower, upper] = &no_proxy;
    let direct = direct(hosts);
    let kept = [lower.as_ref().or(upper.as_ref()), upper.as_ref().or(lower.as_ref())];
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
    Some(all.map(|(name, value)| (name.into(), value.into())).collect())
}

/// Whether these are the words of a runsd around this one, and not the image's.
fn is_of_runsd(proxies: &[Option<String>; 2], no_proxy: &[Option<String>; 2]) -> bool {
    let ours = |proxy: &String| proxy.starts_with("http://127.0.0.1:");
    let usual = DIRECT.join(",");
    proxies.iter().all(|proxy| proxy.as_ref().is_some_and(ours))
        && no_proxy.iter().all(|list| list.as_ref().is_some_and(|list| list.contains(&usual)))
}

/// What stands before the exceptions of a runsd around this one.
fn images_own(list: Option<String>) -> Option<String> {
    let mut list = list?;
    list.truncate(list.find(&DIRECT.join(","))?);
    (!list.is_empty()).then_some(list)
}

/// The hosts that are not for the proxy: it would send the metadata server's
/// callers to itself, and knows nothing of the names in `/etc/hosts`, which
/// are the other containers of the instance.
fn direct(hosts: &HostsFile) -> String {
    let mut direct = DIRECT.to_vec();
    for name in hosts.names() {
        if !direct.contains(&name) && !name.contains(',') {
            direct.push(name);
        }
    }
    direct.join(",")
}

const PROXY: [&str; 2] = ["http_proxy", "HTTP_PROXY"];
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];
const DIRECT: [&str; 5] = ["169.254.169.254", "metadata.google.internal", "localhost", "127.0.0.1", "::1"];

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
            (&[("no_proxy", "a.example")], both(&format!("a.example,{USUAL}"))),
            (&[("NO_PROXY", "a.example, ")], both(&format!("a.example,{USUAL}"))),
            (&[("no_proxy", "a"), ("NO_PROXY", "b")], Some([format!("a,{USUAL}"), format!("b,{USUAL}")])),
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
                [("http_proxy", ours.clone()), ("HTTP_PROXY", ours), ("no_proxy", lower), ("NO_PROXY", upper)]
                    .map(|(name, value)| (name.into(), value.into()))
                    .to_vec()
            });
            assert_eq!(environment(4000, env, &HostsFile::default()), want, "{image:?}");
        }
    }

    #[test]
    fn a_runsd_around_this_one_is_not_the_image() {
        for (image, hosts) in [
            (&[][..], ""),
            (&[("no_proxy", "a.example")], "127.0.0.1 cache"),
            (&[("no_proxy", "a"), ("NO_PROXY", "b")], ""),
        ] {
            let told = |port, env: &dyn Fn(&str) -> Option<String>| {
                let told = environment(port, env, &HostsFile::from(hosts)).expect("it is told");
                told.into_iter()
                    .map(|(name, value)| (name.into_string(), value.into_string()))
                    .map(|(name, value)| (name.expect("text"), value.expect("text")))
                    .collect::<Vec<_>>()
            };
            let set = |name: &str| {
                let found = image.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let outer = told(4000, &set);
            let inner = told(5000, &|name| {
                let found = outer.iter().find(|(key, _)| key == name);
                found.map(|(_, value)| value.clone())
            });
            let bare = told(5000, &set);
            assert_eq!(inner, bare, "{image:?}");
        }
    }

    #[test]
    fn names_of_the_instance_are_called_directly() {
        for (hosts, want) in [
            ("", ""),
            ("127.0.0.1 localhost\n::1 localhost\n", ""),
            ("127.0.0.1\tlocalhost cache # db\n127.0.0.1 cache worker", ",cache,worker"),
            ("127.0.0.1", ""),
            ("127.0.0.1 a,b", ""),
        ] {
            assert_eq!(direct(&HostsFile::from(hosts)), format!("{USUAL}{want}"), "{hosts:?}");
        }
    }
}
