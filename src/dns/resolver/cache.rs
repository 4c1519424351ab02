//! Addresses by name. Concurrent lookups of one name share one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use crate::dns::resolver::ResolveError;
use crate::net::context::{Cancelled, Context};
use crate::sync::{lock, wait_timeout};

/// Which addresses of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4, or where there is none IPv6.
    V4Preferred,
    /// IPv6 alone.
    V6,
}

/// The outcome of a successful lookup; it may be that there are no addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// In the order of the response.
    pub ips: Vec<IpAddr>,
    /// Seconds for which they are valid.
    pub ttl: u32,
}

/// All entries. Read and written by the threads that dial; locked for one access to the table.
#[derive(Default)]
pub struct Cache(Mutex<HashMap<(String, Family), Arc<Entry>>>);

impl Cache {
    /// Returns the entry of a name, which may be new and empty.
    pub fn entry(&self, name: &str, family: Family) -> Arc<Entry> {
        let mut entries = lock(&self.0);
        let key = (name.to_owned(), family);
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(&key) {
            // Threads keep the entries that they have; all names are looked up again.
            entries.clear();
        }
        Arc::clone(entries.entry(key).or_default())
    }

    /// Lets the addresses of a name expire [`MIN_VALIDITY`] after their lookup. Returns whether they did.
    pub fn expire_early(&self, name: &str, family: Family, now: SystemTime) -> bool {
        let entry = lock(&self.0).get(&(name.to_owned(), family)).cloned();
        entry.is_some_and(|entry| {
            lock(&entry.state).last.as_mut().is_some_and(|last| {
                last.valid_for = last.valid_for.min(MIN_VALIDITY);
                !last.is_valid(now)
            })
        })
    }
}

/// One name.
#[derive(Default)]
pub struct Entry {
    /// Read and written by each thread that wants this name; never locked during a lookup.
    state: Mutex<State>,
    /// Notified at the end of each lookup.
    finished: Condvar,
}

#[derive(Default)]
struct State {
    /// A thread looks this name up, and the others wait: a hundred connections to a new host make one lookup.
    in_flight: bool,
    /// How many lookups came to an end, so that a waiting thread knows that one did.
    finished: u64,
    last: Option<Outcome>,
}

/// How the last lookup ended.
#[derive(Clone)]
struct Outcome {
    result: Result<Vec<IpAddr>, ResolveError>,
    /// By the wall clock: the monotonic one may stand still while the container has no CPU.
    looked_up_at: SystemTime,
    valid_for: Duration,
}

impl Outcome {
    fn is_valid(&self, now: SystemTime) -> bool {
        // An error, because the clock was set back, counts as expired.
        now.duration_since(self.looked_up_at).is_ok_and(|age| age < self.valid_for)
    }
}

impl Entry {
    /// Returns the cached addresses, else those that `look_up` or another thread finds. Errors are not cached, but
    /// shared with the threads that waited for them.
    ///
    /// Blocks: during the lookup.
    ///
    /// # Errors
    /// Those of `look_up`, and [`ResolveError::Cancelled`].
    pub fn get_or_look_up(
        &self,
        now: SystemTime,
        context: &mut dyn Context,
        look_up: impl FnOnce(&mut dyn Context) -> Result<Addresses, ResolveError>,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(result) = self.cached_or_begin(now, context)? {
            return result;
        }
        let mut in_flight = InFlight { entry: self, outcome: None };
        let (result, ttl) = match look_up(context) {
            Ok(Addresses { ips, ttl }) => (Ok(ips), ttl),
            // This says nothing about the name: the next thread looks it up.
            Err(ResolveError::Cancelled) => return Err(ResolveError::Cancelled),
            Err(err) => (Err(err), 0),
        };
        let valid_for = Duration::from_secs(ttl.min(MAX_TTL).into());
        in_flight.outcome = Some(Outcome { result: result.clone(), looked_up_at: now, valid_for });
        result
    }

    /// Returns what is cached, or what another thread finds meanwhile; `None` if the caller has to look it up.
    fn cached_or_begin(
        &self,
        now: SystemTime,
        context: &mut dyn Context,
    ) -> Result<Option<Result<Vec<IpAddr>, ResolveError>>, Cancelled> {
        let mut state = lock(&self.state);
        let before = state.finished;
        loop {
            // A lookup that ended meanwhile counts even where it failed: else each waiting thread would fail in turn.
            let has_finished = state.finished != before;
            if let Some(last) = &state.last
                && (has_finished || last.is_valid(now))
            {
                return Ok(Some(last.result.clone()));
            }
            if !state.in_flight {
                state.in_flight = true;
                return Ok(None);
            }
            state = wait_timeout(&self.finished, state, CANCEL_CHECK_INTERVAL);
            if state.in_flight {
                drop(state);
                context.wait(&mut Vec::new(), Duration::ZERO)?;
                state = lock(&self.state);
            }
        }
    }
}

/// Ends a lookup on drop, so that a panic or a cancelled context leaves it to another thread.
struct InFlight<'a> {
    entry: &'a Entry,
    outcome: Option<Outcome>,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.entry.state);
        state.in_flight = false;
        if let Some(outcome) = self.outcome.take() {
            state.last = Some(outcome);
            state.finished += 1;
        }
        drop(state);
        self.entry.finished.notify_all();
    }
}

/// Names in the cache, which bounds its memory; few programs call more hosts.
const MAX_ENTRIES: usize = 1000;

/// Seconds for which an address is cached at most, whatever its TTL: a wrong one does not stay for a day.
const MAX_TTL: u32 = 3600;

/// How long addresses are cached at least, even where none of them responds: else each failing request would make a
/// lookup.
const MIN_VALIDITY: Duration = Duration::from_secs(1);

/// How often a thread that waits for another one's lookup checks whether its own context was cancelled.
const CANCEL_CHECK_INTERVAL: Duration = Duration::from_millis(100);
