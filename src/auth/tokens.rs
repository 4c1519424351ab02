//! Identity tokens by audience, kept until near their end.
//!
//! Who fetches them is an argument, and so is the time: nothing here knows the
//! metadata server, and nothing depends on a timer, because between requests
//! the CPU is taken away.

use crate::auth::jwt;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::{debug, warn};

use crate::secret::Secret;
use crate::sync::lock;

/// The tokens of this instance.
///
/// What it hands out is the whole value of a header, `Bearer TOKEN`, put
/// together once for each token and not for each request.
pub struct Tokens(Kind);

enum Kind {
    Fixed {
        value: Secret,
        account: Option<String>,
        /// Its `exp`, in seconds since 1970, where it has one.
        end: Option<u64>,
    },
    Fetched(Arc<TokenCache>),
}

impl Tokens {
    /// Tokens that `fetch` gets for an audience, each as bare text.
    pub fn new<F>(fetch: F) -> Tokens
    where
        F: Fn(&str) -> Result<Secret, String> + Send + Sync + 'static,
    {
        let start = Instant::now();
        Tokens::with_uptime(fetch, move || start.elapsed().as_secs())
    }

    /// The same by another steady clock, which says seconds since some start.
    fn with_uptime<F, U>(fetch: F, uptime: U) -> Tokens
    where
        F: Fn(&str) -> Result<Secret, String> + Send + Sync + 'static,
        U: Fn() -> u64 + Send + Sync + 'static,
    {
        Tokens(Kind::Fetched(Arc::new(TokenCache {
            fetch: Box::new(fetch),
            uptime: Box::new(uptime),
            account: OnceLock::new(),
            slots: RwLock::default(),
            uses: AtomicU64::new(0),
        })))
    }

    /// The one token of `CLOUD_RUN_ID_TOKEN`, for every audience.
    pub fn fixed(token: &Secret) -> Result<Tokens, String> {
        // Also past its end: the front end's clock counts, and its answer.
        jwt::check(token.expose())?;
        Ok(Tokens(Kind::Fixed {
            value: header_value(token),
            account: jwt::account(token.expose()),
            end: jwt::end(token.expose()).ok(),
        }))
    }

    /// That the one token is past its end, since when, and how to have another.
    pub fn ended(&self, now: SystemTime) -> Option<String> {
        let Kind::Fixed { end: Some(end), .. } = &self.0 else {
            return None;
        };
        let ago = seconds(now).checked_sub(*end)?;
        let ago = match ago {
            0..=119 => format!("{ago} s"),
            120..=7199 => format!("{} min", ago / 60),
            7200..=172_799 => format!("{} h", ago / 3600),
            _ => format!("{} days", ago / 86_400),
        };
        Some(format!(
            "the token in CLOUD_RUN_ID_TOKEN ended {ago} ago; start again with \
             CLOUD_RUN_ID_TOKEN=$(gcloud auth print-identity-token)"
        ))
    }

    /// Whom the tokens name, as far as they have said it: one for all, as an
    /// instance has one account.
    pub fn account(&self) -> Option<String> {
        match &self.0 {
            Kind::Fixed { account, .. } => account.clone(),
            Kind::Fetched(shelf) => shelf.account.get().cloned(),
        }
    }

    /// `Bearer TOKEN` for an audience, never one that is past its end, or would
    /// be on arrival.
    ///
    /// Waits for a fetch only when there is no such token, and then together
    /// with all who ask for the same audience, and for no other.
    pub fn bearer(&self, audience: &str, now: SystemTime) -> Result<Secret, String> {
        let shelf = match &self.0 {
            Kind::Fixed { value, .. } => return Ok(value.clone()),
            Kind::Fetched(shelf) => shelf,
        };
        let now = shelf.now(seconds(now));
        let slot = shelf.slot(audience);
        match slot.token().map(|token| (token.left(now), token.value)) {
            Some((left, value)) if left > FRESH => Ok(value),
            Some((left, value)) if left > MARGIN => {
                if slot.take_off(now) {
                    renew(shelf, &slot, audience, now);
                }
                Ok(value)
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
        let now = shelf.now(seconds(now)).up;
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
                    .is_some_and(|(dropped, at)| dropped == value && now.saturating_sub(*at) < AGAIN);
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
/// Seconds before its end from which on a token is not used any more: one for
/// its way to the front end, and one because clocks are read in whole seconds.
const MARGIN: u64 = 2;
/// No token lives longer, in seconds, whatever a slow clock makes of its end.
const LONGEST: u64 = 3600;
/// Seconds between two tries to renew a token that is still good.
const AGAIN: u64 = 10;
/// A caller may invent names without end; a container has little memory.
const AUDIENCES: usize = 1000;

type Fetch = dyn Fn(&str) -> Result<Secret, String> + Send + Sync;
type Uptime = dyn Fn() -> u64 + Send + Sync;

struct TokenCache {
    fetch: Box<Fetch>,
    uptime: Box<Uptime>,
    /// Whom the first token named.
    account: OnceLock<String>,
    slots: RwLock<HashMap<String, Arc<CacheEntry>>>,
    /// Counts every use, and so dates them; a clock could be set back.
    uses: AtomicU64,
}

impl TokenCache {
    fn slot(&self, audience: &str) -> Arc<CacheEntry> {
        self.find(audience).unwrap_or_else(|| self.add(audience))
    }

    fn find(&self, audience: &str) -> Option<Arc<CacheEntry>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get(audience)?;
        slot.used.store(self.date(), Ordering::Relaxed);
        Some(Arc::clone(slot))
    }

    fn add(&self, audience: &str) -> Arc<CacheEntry> {
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
    fn get(&self, audience: &str, asked: Now) -> Result<Token, String> {
        // A panic must not leave the others waiting.
        let token = catch_unwind(AssertUnwindSafe(|| (self.fetch)(audience)))
            .unwrap_or_else(|_| Err("the fetch of a token broke off".to_owned()))?;
        let end =
            jwt::end(token.expose()).map_err(|why| format!("the metadata server's token for {audience} {why}"))?;
        let now = self.later(asked);
        if end <= now.wall + MARGIN {
            let ends = match now.wall.checked_sub(end) {
                Some(ago) => format!("ended {ago} s ago"),
                None => format!("ends within {MARGIN} s"),
            };
            return Err(format!("the metadata server's token for {audience} {ends} by this clock"));
        }
        if let Some(account) = jwt::account(token.expose()) {
            let _ = self.account.set(account);
        }
        Ok(Token { value: header_value(&token), end, down: now.up.saturating_add(LONGEST.min(end - now.wall)) })
    }

    fn now(&self, wall: u64) -> Now {
        Now { wall, up: (self.uptime)() }
    }

    /// The wall clock as a caller saw it, walking on while it waits.
    fn later(&self, since: Now) -> Now {
        let up = (self.uptime)();
        let wall = since.wall.saturating_add(up.saturating_sub(since.up));
        Now { wall, up }
    }
}

/// What is kept for one audience.
#[derive(Default)]
struct CacheEntry {
    kept: RwLock<Option<Token>>,
    flight: Mutex<InFlightFetch>,
    landed: Condvar,
    used: AtomicU64,
}

#[derive(Clone)]
struct Token {
    /// `Bearer TOKEN`
    value: Secret,
    /// Its `exp`, in seconds since 1970.
    end: u64,
    /// The same by the steady clock: where the wall clock is set back, a token
    /// does not grow older than it may.
    down: u64,
}

impl Token {
    /// Seconds until its end, by the clock that says less.
    fn left(&self, now: Now) -> u64 {
        let (by_wall, by_up) = (self.end.saturating_sub(now.wall), self.down.saturating_sub(now.up));
        by_wall.min(by_up)
    }
}

/// One moment, by two clocks.
#[derive(Clone, Copy)]
struct Now {
    /// Seconds since 1970; may be set back or forward at any time.
    wall: u64,
    /// Seconds of the steady clock.
    up: u64,
}

/// The one fetch that may be under way.
#[derive(Default)]
struct InFlightFetch {
    up: bool,
    /// How many callers wait for it.
    waiting: usize,
    /// How many have landed.
    landings: u64,
    /// When the last one landed, by the steady clock.
    landed_at: Option<u64>,
    /// Why the last one brought nothing.
    failure: Option<String>,
    /// What was dropped last, and when.
    dropped: Option<(Secret, u64)>,
}

impl CacheEntry {
    fn token(&self) -> Option<Token> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.clone()
    }

    fn flight(&self) -> MutexGuard<'_, InFlightFetch> {
        lock(&self.flight)
    }

    /// Whether the caller is the one to fetch; then it must [`CacheEntry::land`].
    ///
    /// Only when the last fetch is some while ago: a failing server is not
    /// hammered, and one that repeats itself is no loop.
    fn take_off(&self, now: Now) -> bool {
        let mut flight = self.flight();
        let early = flight.landed_at.is_some_and(|at| now.up.saturating_sub(at) < AGAIN);
        if flight.up || early {
            return false;
        }
        flight.up = true;
        true
    }

    fn land(&self, outcome: Result<Token, String>, now: Now) {
        let mut flight = self.flight();
        flight.up = false;
        flight.landings += 1;
        flight.landed_at = Some(now.up);
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
    fn fetched(&self, shelf: &TokenCache, audience: &str, asked: Now) -> Result<Secret, String> {
        let mut flight = self.flight();
        loop {
            // It may have landed between the caller's look and ours.
            let now = shelf.later(asked);
            if let Some(token) = self.token().filter(|token| token.left(now) > MARGIN) {
                return Ok(token.value);
            }
            if !flight.up {
                flight.up = true;
                drop(flight);
                let outcome = shelf.get(audience, asked);
                let value = outcome.as_ref().map(|token| token.value.clone());
                let value = value.map_err(Clone::clone);
                self.land(outcome, shelf.later(asked));
                return value;
            }
            let awaited = flight.landings + 1;
            flight.waiting += 1;
            while flight.landings < awaited {
                flight = self.landed.wait(flight).unwrap_or_else(PoisonError::into_inner);
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
fn renew(shelf: &Arc<TokenCache>, slot: &Arc<CacheEntry>, audience: &str, now: Now) {
    let job = {
        let (shelf, slot, audience) = (Arc::clone(shelf), Arc::clone(slot), audience.to_owned());
        move || {
            let outcome = shelf.get(&audience, now);
            match &outcome {
                Ok(token) => debug!("tokens: {audience}: renewed, good for {} s", token.end - now.wall),
                Err(why) => warn!("tokens: {audience}: not renewed: {why}; the old one is used"),
            }
            slot.land(outcome, shelf.later(now));
        }
    };
    if let Err(err) = thread::Builder::new().name("token".to_owned()).spawn(job) {
        slot.land(Err(format!("cannot start a thread: {err}")), now);
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
