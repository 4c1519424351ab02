//! Identity tokens by audience, kept until near their end.
//!
//! Who fetches them is an argument, and so is the time: nothing here knows the
//! metadata server, and nothing depends on a timer, because between requests
//! the CPU is taken away.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::{debug, warn};

use crate::secret::Secret;
use crate::sys;

mod jwt;

/// The tokens of this instance.
///
/// What it hands out is the whole value of a header, `Bearer TOKEN`, put
/// together once for each token and not for each request.
pub struct Tokens(Kind);

enum Kind {
    Fixed(Secret),
    Fetched(Arc<Shelf>),
}

impl Tokens {
    /// Tokens that `fetch` gets for an audience, each as bare text.
    pub fn new<F>(fetch: F) -> Tokens
    where
        F: Fn(&str) -> Result<Secret, String> + Send + Sync + 'static,
    {
        Tokens(Kind::Fetched(Arc::new(Shelf {
            fetch: Box::new(fetch),
            slots: RwLock::default(),
            uses: AtomicU64::new(0),
        })))
    }

    /// The one token of `CLOUD_RUN_ID_TOKEN`, for every audience.
    pub fn fixed(token: &Secret) -> Result<Tokens, String> {
        // Its end is not looked at: whoever sets it wants to see what happens.
        jwt::check(token.expose())?;
        Ok(Tokens(Kind::Fixed(header_value(token))))
    }

    /// `Bearer TOKEN` for an audience, never one that is past its end.
    ///
    /// Waits for a fetch only when there is no such token, and then together
    /// with all who ask for the same audience, and for no other.
    pub fn bearer(&self, audience: &str, now: SystemTime) -> Result<Secret, String> {
        let shelf = match &self.0 {
            Kind::Fixed(value) => return Ok(value.clone()),
            Kind::Fetched(shelf) => shelf,
        };
        let now = seconds(now);
        let slot = shelf.slot(audience);
        match slot.token() {
            Some(token) if token.end > now.saturating_add(FRESH) => Ok(token.value),
            Some(token) if token.end > now => {
                if slot.take_off(Some(now)) {
                    renew(shelf, &slot, audience, now);
                }
                Ok(token.value)
            }
            _ => slot.fetched(shelf, audience, now),
        }
    }

    /// Forgets a token that the front end called invalid.
    ///
    /// True when asking again is worth it: there is another one now, or there
    /// may be. The token that earned a refusal twice in a short time stays, or
    /// each refused request would ask the metadata server.
    pub fn forget(&self, audience: &str, value: &Secret, now: SystemTime) -> bool {
        let Kind::Fetched(shelf) = &self.0 else {
            return false;
        };
        let now = seconds(now);
        let Some(slot) = shelf.find(audience) else {
            return true;
        };
        let mut flight = slot.flight();
        let mut kept = slot.kept.write().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(token) if token.value == *value => {
                let again = flight
                    .dropped
                    .as_ref()
                    .is_some_and(|(dropped, at)| dropped == value && now.abs_diff(*at) < AGAIN);
                if again {
                    return false;
                }
                flight.dropped = Some((value.clone(), now));
                *kept = None;
                true
            }
            _ => true,
        }
    }
}

/// Above this many seconds before its end a token is simply used. The metadata
/// server hands out the same one until then, so asking earlier gains nothing.
const FRESH: u64 = 240;
/// Seconds between two tries to renew a token that is still good.
const AGAIN: u64 = 10;
/// A caller may invent names without end; a container has little memory.
const AUDIENCES: usize = 1000;

type Fetch = dyn Fn(&str) -> Result<Secret, String> + Send + Sync;

struct Shelf {
    fetch: Box<Fetch>,
    slots: RwLock<HashMap<String, Arc<Slot>>>,
    /// Counts every use, and so dates them; a clock could be set back.
    uses: AtomicU64,
}

impl Shelf {
    fn slot(&self, audience: &str) -> Arc<Slot> {
        self.find(audience).unwrap_or_else(|| self.add(audience))
    }

    fn find(&self, audience: &str) -> Option<Arc<Slot>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get(audience)?;
        slot.used.store(self.date(), Ordering::Relaxed);
        Some(Arc::clone(slot))
    }

    fn add(&self, audience: &str) -> Arc<Slot> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= AUDIENCES && !slots.contains_key(audience) {
            let oldest = slots
                .iter()
                .min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed))
                .map(|(audience, _)| audience.clone());
            if let Some(oldest) = oldest {
                slots.remove(&oldest);
            }
        }
        let slot = slots.entry(audience.to_owned()).or_default();
        slot.used.store(self.date(), Ordering::Relaxed);
        Arc::clone(slot)
    }

    fn date(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks, and looks at what came.
    fn get(&self, audience: &str, start: Start) -> Result<Token, String> {
        // A panic must not leave the others waiting.
        let token = catch_unwind(AssertUnwindSafe(|| (self.fetch)(audience)))
            .unwrap_or_else(|_| Err("the fetch of a token broke off".to_owned()))?;
        let end = jwt::end(token.expose())
            .map_err(|why| format!("the metadata server's token for {audience} {why}"))?;
        let now = start.now();
        if end <= now {
            return Err(format!(
                "the metadata server's token for {audience} ended {} s ago by this clock",
                now - end
            ));
        }
        Ok(Token {
            value: header_value(&token),
            end,
        })
    }
}

/// What is kept for one audience.
#[derive(Default)]
struct Slot {
    kept: RwLock<Option<Token>>,
    flight: Mutex<Flight>,
    landed: Condvar,
    used: AtomicU64,
}

#[derive(Clone)]
struct Token {
    /// `Bearer TOKEN`
    value: Secret,
    /// Its `exp`, in seconds since 1970.
    end: u64,
}

/// The one fetch that may be under way.
#[derive(Default)]
struct Flight {
    up: bool,
    /// How many callers wait for it.
    waiting: usize,
    /// How many have landed.
    landings: u64,
    /// When the last one landed, in seconds since 1970.
    landed_at: Option<u64>,
    /// Why the last one brought nothing.
    failure: Option<String>,
    /// What was dropped last, and when.
    dropped: Option<(Secret, u64)>,
}

impl Slot {
    fn token(&self) -> Option<Token> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller is the one to fetch; then it must [`Slot::land`].
    ///
    /// With a time, only when the last fetch is some while ago: a failing
    /// server is not hammered, and one that repeats itself is no loop.
    fn take_off(&self, now: Option<u64>) -> bool {
        let mut flight = self.flight();
        let early = match (now, flight.landed_at) {
            (Some(now), Some(at)) => now.abs_diff(at) < AGAIN,
            _ => false,
        };
        if flight.up || early {
            return false;
        }
        flight.up = true;
        true
    }

    fn land(&self, outcome: Result<Token, String>, now: u64) {
        let mut flight = self.flight();
        flight.up = false;
        flight.landings += 1;
        flight.landed_at = Some(now);
        flight.failure = match outcome {
            Ok(token) => {
                let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
                *kept = Some(token);
                None
            }
            Err(why) => Some(why),
        };
        drop(flight);
        self.landed.notify_all();
    }

    /// A token out of a fetch: our own, or the one that is under way.
    fn fetched(&self, shelf: &Shelf, audience: &str, now: u64) -> Result<Secret, String> {
        let start = Start::at(now);
        let mut flight = self.flight();
        loop {
            // It may have landed between the caller's look and ours.
            if let Some(token) = self.token().filter(|token| token.end > start.now()) {
                return Ok(token.value);
            }
            if !flight.up {
                flight.up = true;
                drop(flight);
                let outcome = shelf.get(audience, start);
                let value = outcome.as_ref().map(|token| token.value.clone());
                let value = value.map_err(Clone::clone);
                self.land(outcome, start.now());
                return value;
            }
            let awaited = flight.landings + 1;
            flight.waiting += 1;
            while flight.landings < awaited {
                flight = self
                    .landed
                    .wait(flight)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            flight.waiting -= 1;
            // A failure is not kept, but it is the answer of all who waited
            // for it: an outage costs each one wait, not a queue of them.
            if let Some(why) = &flight.failure {
                return Err(why.clone());
            }
        }
    }
}

/// Fetches on a thread of its own, while the old token is still used.
fn renew(shelf: &Arc<Shelf>, slot: &Arc<Slot>, audience: &str, now: u64) {
    let start = Start::at(now);
    let job = {
        let (shelf, slot, audience) = (Arc::clone(shelf), Arc::clone(slot), audience.to_owned());
        move || {
            let outcome = shelf.get(&audience, start);
            match &outcome {
                Ok(token) => debug!(
                    "tokens: {audience}: renewed, good for {} s",
                    token.end - now
                ),
                Err(why) => warn!("tokens: {audience}: not renewed: {why}; the old one is used"),
            }
            slot.land(outcome, start.now());
        }
    };
    if let Err(err) = thread::Builder::new()
        .name("token".to_owned())
        .spawn(sys::held(job))
    {
        slot.land(Err(format!("cannot start a thread: {err}")), start.now());
    }
}

/// The wall clock as the caller saw it, walking on while we wait.
#[derive(Clone, Copy)]
struct Start {
    wall: u64,
    instant: Instant,
}

impl Start {
    fn at(now: u64) -> Start {
        Start {
            wall: now,
            instant: Instant::now(),
        }
    }

    fn now(self) -> u64 {
        self.wall.saturating_add(self.instant.elapsed().as_secs())
    }
}

fn seconds(time: SystemTime) -> u64 {
    // A clock before 1970 is as good as one in 1970.
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}

fn header_value(token: &Secret) -> Secret {
    Secret::new(&format!("Bearer {}", token.expose()))
}

#[cfg(test)]
mod tests;
