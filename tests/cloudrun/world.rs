//! What the servers of one miniature share: what they have seen, and how they
//! were told to behave.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

#[derive(Debug)]
pub struct World {
    state: Mutex<State>,
    /// Moves with every count, for those who wait for one.
    moved: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    counts: BTreeMap<&'static str, BTreeMap<String, u64>>,
    last: BTreeMap<String, Value>,
    settings: BTreeMap<String, Map<String, Value>>,
}

impl World {
    pub fn new() -> World {
        World {
            state: Mutex::default(),
            moved: watch::channel(0).0,
        }
    }

    pub fn count(&self, what: &'static str, which: &str) {
        {
            let mut state = self.state();
            *state
                .counts
                .entry(what)
                .or_default()
                .entry(which.to_owned())
                .or_default() += 1;
        }
        self.moved.send_modify(|moves| *moves += 1);
    }

    /// Remembers the latest request of a host.
    pub fn remember(&self, host: &str, request: Value) {
        self.state().last.insert(host.to_owned(), request);
    }

    pub fn stats(&self) -> Value {
        let state = self.state();
        let mut stats = json!({ "last": state.last });
        for what in COUNTED {
            stats[what] = json!(state.counts.get(what).cloned().unwrap_or_default());
        }
        stats
    }

    /// Forgets what was seen, not how to behave.
    pub fn forget(&self) {
        let mut state = self.state();
        state.counts.clear();
        state.last.clear();
    }

    /// Waits until `what` has seen `which` at least `times`; `false` when that
    /// takes too long.
    pub async fn wait_for(&self, what: &str, which: &str, times: u64) -> bool {
        let mut moved = self.moved.subscribe();
        let reached = moved.wait_for(|_| {
            let state = self.state();
            let seen = state.counts.get(what).and_then(|counts| counts.get(which));
            seen.copied().unwrap_or(0) >= times
        });
        matches!(tokio::time::timeout(PATIENCE, reached).await, Ok(Ok(_)))
    }

    /// Changes settings of one room; `Err` names one it does not have.
    pub fn set(&self, room: &str, new: &Value) -> Result<(), String> {
        let Some((_, known)) = SETTINGS.iter().find(|(name, _)| *name == room) else {
            return Err(format!("no room {room:?}; expected one of {SETTINGS:?}"));
        };
        let Some(new) = new.as_object() else {
            return Err(format!("got {new}; expected a JSON object"));
        };
        if let Some(key) = new.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(format!(
                "{room} has no setting {key:?}; expected one of {known:?}"
            ));
        }
        let mut state = self.state();
        let settings = state.settings.entry(room.to_owned()).or_default();
        settings.extend(new.iter().map(|(key, value)| (key.clone(), value.clone())));
        Ok(())
    }

    pub fn setting(&self, room: &str, key: &str) -> Value {
        let state = self.state();
        let value = state
            .settings
            .get(room)
            .and_then(|settings| settings.get(key));
        value.cloned().unwrap_or(Value::Null)
    }

    pub fn mode(&self, room: &str) -> String {
        self.setting(room, "mode")
            .as_str()
            .unwrap_or("ok")
            .to_owned()
    }

    pub fn delay(&self, room: &str) -> Duration {
        Duration::from_millis(self.setting(room, "delay_ms").as_u64().unwrap_or(0))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `GET /stats` tells, each a map from a name to a number.
const COUNTED: &[&str] = &[
    "requests",      // host
    "refused",       // status and host, by the front end itself
    "connections",   // frontend, billing, external, metadata, control
    "handshakes",    // full, resumed, failed
    "protocols",     // h2, http/1.1
    "token_fetches", // audience
    "metadata",      // path
    "dns",           // "name TYPE"
    "dns_tcp",       // the same, of those that came over TCP
    "gone",          // host: the client left before the answer was over
    "received",      // host: bodies that came whole
];

const SETTINGS: &[(&str, &[&str])] = &[
    (
        "metadata",
        &[
            "mode", "text", "delay_ms", "cut", "exp_in", "region", "project", "audience", "times",
        ],
    ),
    ("dns", &["mode", "delay_ms", "front", "only", "type", "at"]),
    ("frontend", &["mode", "delay_ms", "cut", "revoke"]),
    ("service", &["delay_ms"]),
];

/// Less than a test's own patience, so that a test can say what it waited for.
const PATIENCE: Duration = Duration::from_secs(20);
