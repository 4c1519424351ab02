//! The environment of an application that reaches runsd by `http_proxy`.
//!
//! Some clients read these variables in lower case only, some in upper case, too: both are set.

use std::ffi::OsString;

use crate::net::hosts::HostsFile;

/// Returns the variables for a proxy on `port` of loopback, or `None` where the image has set its own, which stay.
///
/// `env` returns the value of a variable. The names of `hosts` are excepted.
pub fn environment(
    port: u16,
    env: impl Fn(&str) -> Option<String>,
    hosts: &HostsFile,
) -> Option<Vec<(OsString, OsString)>> {
    let get = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    let (mut proxies, mut no_proxy) = (PROXY.map(get), NO_PROXY.map(get));
    if set_by_runsd(&proxies, &no_proxy) {
        // Set again, for the flags of this runsd.
        proxies = [None, None];
        no_proxy = no_proxy.map(strip_runsd_suffix);
    }
    // A list cannot be added to "*", which means "all" only alone.
    if proxies.iter().any(Option::is_some) || no_proxy.iter().flatten().any(|list| list.trim() == "*") {
        return None;
    }
    let [lower, upper] = &no_proxy;
    let image_lists = [lower.as_ref().or(upper.as_ref()), upper.as_ref().or(lower.as_ref())];
    let direct = direct_hosts(hosts);
    let proxy = format!("http://127.0.0.1:{port}");
    let proxies = PROXY.iter().map(|name| (*name, proxy.clone()));
    let exceptions = NO_PROXY.iter().zip(image_lists).map(|(name, list)| {
        let value = match list {
            Some(list) => format!("{},{direct}", list.trim().trim_end_matches(',')),
            None => direct.clone(),
        };
        (*name, value)
    });
    Some(proxies.chain(exceptions).map(|(name, value)| (name.into(), value.into())).collect())
}

/// Returns whether another runsd, which started this one, set the variables; otherwise the image did.
fn set_by_runsd(proxies: &[Option<String>; 2], no_proxy: &[Option<String>; 2]) -> bool {
    let is_loopback = |proxy: &String| proxy.starts_with("http://127.0.0.1:");
    let direct = NO_PROXY_HOSTS.join(",");
    proxies.iter().all(|proxy| proxy.as_ref().is_some_and(is_loopback))
        && no_proxy.iter().all(|list| list.as_ref().is_some_and(|list| list.contains(&direct)))
}

/// Returns the image's part of a `no_proxy` that runsd added to.
fn strip_runsd_suffix(list: Option<String>) -> Option<String> {
    let mut list = list?;
    list.truncate(list.find(&NO_PROXY_HOSTS.join(","))?);
    (!list.is_empty()).then_some(list)
}

/// Returns the hosts to call without the proxy, as the value of `no_proxy`: [`NO_PROXY_HOSTS`], and the names of
/// `/etc/hosts`, which are the other containers of the instance, and unknown to the proxy.
fn direct_hosts(hosts: &HostsFile) -> String {
    let mut direct = NO_PROXY_HOSTS.to_vec();
    for name in hosts.names() {
        if !direct.contains(&name) && !name.contains(',') {
            direct.push(name);
        }
    }
    direct.join(",")
}

const PROXY: [&str; 2] = ["http_proxy", "HTTP_PROXY"];
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// The metadata server, which would refuse a request that came through runsd, and loopback.
const NO_PROXY_HOSTS: [&str; 5] = ["169.254.169.254", "metadata.google.internal", "localhost", "127.0.0.1", "::1"];

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECT: &str = "169.254.169.254,metadata.google.internal,localhost,127.0.0.1,::1";

    #[test]
    fn variables_for_each_environment_of_an_image() {
        let both = |value: &str| Some([value.to_owned(), value.to_owned()]);
        for (image, want) in [
            (&[][..], both(DIRECT)),
            (&[("no_proxy", "")], both(DIRECT)),
            (&[("no_proxy", "a.example")], both(&format!("a.example,{DIRECT}"))),
            (&[("NO_PROXY", "a.example, ")], both(&format!("a.example,{DIRECT}"))),
            (&[("no_proxy", "a"), ("NO_PROXY", "b")], Some([format!("a,{DIRECT}"), format!("b,{DIRECT}")])),
            (&[("no_proxy", "*")], None),
            (&[("http_proxy", "http://proxy:3128")], None),
            (&[("HTTP_PROXY", "http://proxy:3128")], None),
            (&[("http_proxy", "")], both(DIRECT)),
            (&[("https_proxy", "http://proxy:3128")], both(DIRECT)),
        ] {
            let env = |name: &str| {
                let found = image.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let want = want.map(|[lower, upper]| {
                let proxy = "http://127.0.0.1:4000".to_owned();
                [("http_proxy", proxy.clone()), ("HTTP_PROXY", proxy), ("no_proxy", lower), ("NO_PROXY", upper)]
                    .map(|(name, value)| (name.into(), value.into()))
                    .to_vec()
            });
            assert_eq!(environment(4000, env, &HostsFile::default()), want, "{image:?}");
        }
    }

    #[test]
    fn variables_of_an_outer_runsd_are_replaced() {
        for (image, hosts) in [
            (&[][..], ""),
            (&[("no_proxy", "a.example")], "127.0.0.1 cache"),
            (&[("no_proxy", "a"), ("NO_PROXY", "b")], ""),
        ] {
            let variables = |port, env: &dyn Fn(&str) -> Option<String>| {
                let all = environment(port, env, &HostsFile::from(hosts)).expect("variables");
                all.into_iter()
                    .map(|(name, value)| (name.into_string(), value.into_string()))
                    .map(|(name, value)| (name.expect("text"), value.expect("text")))
                    .collect::<Vec<_>>()
            };
            let set = |name: &str| {
                let found = image.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let outer = variables(4000, &set);
            let inner = variables(5000, &|name| {
                let found = outer.iter().find(|(key, _)| key == name);
                found.map(|(_, value)| value.clone())
            });
            let bare = variables(5000, &set);
            assert_eq!(inner, bare, "{image:?}");
        }
    }

    #[test]
    fn names_in_the_hosts_file_are_excepted() {
        for (hosts, want) in [
            ("", ""),
            ("127.0.0.1 localhost\n::1 localhost\n", ""),
            ("127.0.0.1\tlocalhost cache # db\n127.0.0.1 cache worker", ",cache,worker"),
            ("127.0.0.1", ""),
            ("127.0.0.1 a,b", ""),
        ] {
            assert_eq!(direct_hosts(&HostsFile::from(hosts)), format!("{DIRECT}{want}"), "{hosts:?}");
        }
    }
}
