//! What the container is, as one page can show it.

use std::env;
use std::fs;

use nix::unistd::{Group, User, getgid, getuid};
use serde_json::{Value, json};

use super::check::Runsd;
use super::resolv_conf::{self, ResolvConf};
use super::settings::Settings;

/// Everything that is known without asking the network.
pub fn described(settings: &Settings, runsd: Option<&Runsd>) -> Value {
    let text = fs::read_to_string(resolv_conf::PATH);
    let (uid, gid) = (getuid(), getgid());
    // A scratch image has no /etc/passwd.
    let user = User::from_uid(uid).ok().flatten().map(|user| user.name);
    let group = Group::from_gid(gid).ok().flatten().map(|group| group.name);
    let variables = VARIABLES.iter().filter_map(|name| Some(json!([name, env::var(name).ok()?])));
    json!({
        "resolv_conf": {
            "path": resolv_conf::PATH,
            "text": text.as_deref().unwrap_or_default(),
            "problem": text.as_ref().err().map(ToString::to_string),
            "parsed": ResolvConf::parse(text.as_deref().unwrap_or_default()).to_json(),
        },
        "user": { "uid": uid.as_raw(), "gid": gid.as_raw(), "name": user, "group": group },
        "variables": variables.collect::<Vec<_>>(),
        "http_proxy": settings.http_proxy.map(|address| address.to_string()),
        "runsd": runsd.and_then(|runsd| runsd.version.as_deref()),
        "names": settings.names,
        "examples": settings.examples,
    })
}

/// Those by which runsd and the platform say what this is; none is a secret.
const VARIABLES: &[&str] =
    &["K_SERVICE", "K_REVISION", "CLOUD_RUN_JOB", "CLOUD_RUN_WORKER_POOL", "PORT", "http_proxy", "no_proxy"];
