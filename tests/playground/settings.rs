//! What the environment says. Pure.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde_json::Value;

#[derive(Debug)]
pub struct Settings {
    port: u16,
    pub access: Access,
    /// Names that the page offers.
    pub names: Vec<String>,
    /// Requests that the page offers, as JSON: see `examples.json`.
    pub examples: Value,
    /// runsd's own HTTP proxy, where it has no port 80 and no DNS server.
    pub http_proxy: Option<SocketAddr>,
    /// The runsd to ask, where it is not the parent process.
    pub runsd: Option<PathBuf>,
    /// Where the page is found from outside, for the greeting.
    url: Option<String>,
}

/// Who may open the page.
#[derive(Debug, PartialEq, Eq)]
pub enum Access {
    Password(Password),
    /// Whoever reaches it, because somebody said so.
    Open,
    /// Who is on this machine.
    Loopback,
}

/// Its `Debug` shows nothing.
#[derive(PartialEq, Eq)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

impl Settings {
    /// # Errors
    /// A sentence: on Cloud Run without a password, and for values that cannot be.
    pub fn from_env(env: impl Fn(&str) -> Option<String>) -> Result<Settings, String> {
        let port = env("PORT").map_or(Ok(DEFAULT_PORT), |text| {
            text.parse().map_err(|_| format!("got PORT={text:?}; expected a port number"))
        })?;
        let examples = env("PLAYGROUND_EXAMPLES").map_or(Ok(Value::Null), |text| {
            serde_json::from_str(&text).map_err(|err| format!("PLAYGROUND_EXAMPLES is not JSON: {err}"))
        })?;
        let names = env("PLAYGROUND_NAMES").unwrap_or_default();
        let names = names.split([',', ' ']).filter(|name| !name.is_empty());
        Ok(Settings {
            port,
            access: access(&env)?,
            names: names.map(str::to_owned).collect(),
            examples,
            http_proxy: env("http_proxy").as_deref().and_then(loopback_proxy),
            runsd: env("RUNSD").map(PathBuf::from),
            url: env("PUBLISHED_URL"),
        })
    }

    /// The addresses to listen at; the first that works will do.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        match self.access {
            Access::Loopback => vec![(Ipv4Addr::LOCALHOST, self.port).into()],
            // A container may have no IPv6.
            _ => vec![(Ipv6Addr::UNSPECIFIED, self.port).into(), (Ipv4Addr::UNSPECIFIED, self.port).into()],
        }
    }

    /// What to say once the page can be opened.
    pub fn greeting(&self) -> String {
        match (&self.url, &self.access) {
            (Some(url), _) => format!("open {url} (Ctrl-C ends it)"),
            (None, Access::Loopback) => format!("open http://127.0.0.1:{}", self.port),
            (None, Access::Password(_)) => {
                format!("port {}; any user name, PLAYGROUND_PASSWORD", self.port)
            }
            (None, Access::Open) => format!("port {}, open to whoever reaches it", self.port),
        }
    }
}

fn access(env: &impl Fn(&str) -> Option<String>) -> Result<Access, String> {
    match env("PLAYGROUND_PASSWORD") {
        Some(password) if password.chars().count() < MIN_PASSWORD_CHARS => {
            Err(format!("PLAYGROUND_PASSWORD is too short; {MIN_PASSWORD_CHARS} characters are the least"))
        }
        Some(password) => Ok(Access::Password(Password(password))),
        None if env("PLAYGROUND_OPEN").as_deref() == Some("1") => Ok(Access::Open),
        None if env("K_SERVICE").is_some() => Err(NO_PASSWORD.to_owned()),
        None => Ok(Access::Loopback),
    }
}

/// The address of `http://127.0.0.1:PORT`. Another proxy than runsd's would
/// lead elsewhere.
fn loopback_proxy(url: &str) -> Option<SocketAddr> {
    let address = url.strip_prefix("http://")?.trim_end_matches('/');
    let address: SocketAddr = address.parse().ok()?;
    address.ip().is_loopback().then_some(address)
}

const DEFAULT_PORT: u16 = 8080;
/// Against guessing over the network, with a margin: 12 random letters and
/// digits have 71 bits.
const MIN_PASSWORD_CHARS: usize = 12;
const NO_PASSWORD: &str = "whoever opens this page can call the private services that this \
service account may call; set PLAYGROUND_PASSWORD, or PLAYGROUND_OPEN=1 where something else \
(such as --no-allow-unauthenticated) keeps others out";

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(env: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::from_env(|key| {
            let pair = env.iter().find(|(name, _)| *name == key);
            pair.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn on_cloud_run_it_wants_a_password() {
        let on = ("K_SERVICE", "playground");
        let err = settings(&[on]).expect_err("a refusal");
        assert!(err.contains("set PLAYGROUND_PASSWORD"), "{err}");
        let err = settings(&[on, ("PLAYGROUND_PASSWORD", "short")]).expect_err("a refusal");
        assert!(err.contains("too short"), "{err}");
        let with = settings(&[on, ("PLAYGROUND_PASSWORD", "correct horse")]).expect("settings");
        assert_eq!(with.access, Access::Password(Password("correct horse".into())));
        assert!(!format!("{with:?}").contains("horse"), "{with:?}");
        let open = settings(&[on, ("PLAYGROUND_OPEN", "1")]).expect("settings");
        assert_eq!(open.access, Access::Open);
    }

    #[test]
    fn elsewhere_only_this_machine_reaches_it() {
        let here = settings(&[("PORT", "9000")]).expect("settings");
        assert_eq!(here.access, Access::Loopback);
        assert_eq!(here.addresses(), [([127, 0, 0, 1], 9000).into()]);
        assert!(settings(&[("PORT", "http")]).is_err());
    }

    #[test]
    fn only_a_proxy_on_loopback_is_runsds() {
        for (url, want) in [
            ("http://127.0.0.1:41234", true),
            ("http://127.0.0.1:41234/", true),
            ("http://[::1]:80", true),
            ("http://192.0.2.1:3128", false),
            ("http://proxy:3128", false),
            ("127.0.0.1:41234", false),
        ] {
            assert_eq!(loopback_proxy(url).is_some(), want, "{url}");
        }
    }
}
