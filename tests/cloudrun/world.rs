//! What the servers of one miniature share: what they have seen, and how they
//! were told to behave.

use std::collections::BTreeMap;
use std::future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

#[derive(Debug)]
pub struct World {
    state: Mutex<State>,
    /// Moves with every count, for those who wait for one.
    moved: watch::Sender<u64>,
    /// Moves when the front end's connections are to end after what runs on them.
    drains: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    counts: BTreeMap<&'static str, BTreeMap<String, u64>>,
    last: BTreeMap<String, Value>,
    settings: BTreeMap<String, Map<String, Value>>,
    recorded: Vec<Recorded>,
}

/// What a connection of `scripted.rs` received.
#[derive(Debug)]
struct Recorded {
    service: String,
    bytes: Vec<u8>,
    /// How it ended.
    ended: Option<String>,
}

impl World {
    pub fn new() -> World {
        World { state: Mutex::default(), moved: watch::channel(0).0, drains: watch::channel(0).0 }
    }

    pub fn count(&self, what: &'static str, which: &str) {
        self.add(what, which, 1);
    }

    fn add(&self, what: &'static str, which: &str, n: usize) {
        {
            let mut state = self.state();
            *state.counts.entry(what).or_default().entry(which.to_owned()).or_default() += n as u64;
        }
        self.moved.send_modify(|moves| *moves += 1);
    }

    pub fn has_script(&self, service: &str) -> bool {
        self.setting("scripted", "services")[service].is_array()
    }

    /// The steps for the service's next connection, and the number under
    /// which it is recorded.
    pub fn next_script(&self, service: &str) -> (usize, Vec<Value>) {
        let scripts = self.setting("scripted", "services")[service].take();
        let mut state = self.state();
        let earlier = &state.recorded;
        let before = earlier.iter().filter(|one| one.service == service).count();
        let number = earlier.len();
        state.recorded.push(Recorded { service: service.to_owned(), bytes: Vec::new(), ended: None });
        let scripts = scripts.as_array().map(Vec::as_slice).unwrap_or_default();
        let script = scripts.get(before).or(scripts.last());
        let steps = script.and_then(Value::as_array).cloned();
        (number, steps.unwrap_or_default())
    }

    pub fn record(&self, service: &str, number: usize, bytes: &[u8]) {
        // First what can be asked for, then the count somebody may wait for.
        if let Some(one) = self.state().recorded.get_mut(number) {
            one.bytes.extend_from_slice(bytes);
        }
        self.add("recorded", service, bytes.len());
    }

    pub fn record_end(&self, service: &str, number: usize, how: &str) {
        if let Some(one) = self.state().recorded.get_mut(number) {
            one.ended.get_or_insert_with(|| how.to_owned());
        }
        self.count("ended", service);
    }

    /// All connections of `scripted.rs`, in the order they came.
    pub fn recorded(&self) -> Value {
        let all = &self.state().recorded;
        let all = all.iter().map(|one| {
            let text: String = one.bytes.iter().map(|&b| char::from(b)).collect();
            json!({ "service": one.service, "bytes": text, "ended": one.ended })
        });
        all.collect()
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

    /// Has the front end's connections end in order, as at their greatest age.
    pub fn drain(&self) {
        self.drains.send_modify(|drains| *drains += 1);
    }

    /// Returns at the next drain.
    pub async fn drained(&self) {
        let mut drains = self.drains.subscribe();
        if drains.changed().await.is_err() {
            future::pending().await
        }
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
            return Err(format!("{room} has no setting {key:?}; expected one of {known:?}"));
        }
        let mut state = self.state();
        if room == "scripted" {
            state.recorded.clear();
        }
        let settings = state.settings.entry(room.to_owned()).or_default();
        settings.extend(new.iter().map(|(key, value)| (key.clone(), value.clone())));
        Ok(())
    }

    pub fn setting(&self, room: &str, key: &str) -> Value {
        let state = self.state();
        let value = state.settings.get(room).and_then(|settings| settings.get(key));
        value.cloned().unwrap_or(Value::Null)
    }

    pub fn mode(&self, room: &str) -> String {
        self.setting(room, "mode").as_str().unwrap_or("ok").to_owned()
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
    "cues",          // name: as a test said
    "recorded",      // service of scripted.rs: bytes that came
    "ended",         // service of scripted.rs: connections that are over
];

const SETTINGS: &[(&str, &[&str])] = &[
    ("metadata", &["mode", "text", "delay_ms", "cut", "exp_in", "region", "project", "audience", "times"]),
    ("dns", &["mode", "delay_ms", "front", "only", "type", "at"]),
    ("frontend", &["mode", "delay_ms", "cut", "revoke"]),
    ("service", &["delay_ms"]),
    ("scripted", &["services"]),
];

/// Less than a test's own patience, so that a test can say what it waited for.
const PATIENCE: Duration = Duration::from_secs(20);
