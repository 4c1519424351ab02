//! Identity tokens by audience, cached until shortly before they expire.
//!
//! The function that fetches a token is an argument, and so is the time: this file does not know the metadata server.
//! No timer is used, because between requests the instance has no CPU.
//!
//! ```text
//! remaining lifetime of the cached token     what a request does
//! more than 240 s                            uses it
//! more than 2 s                              uses it, and starts a thread that fetches the next one
//! 2 s or less, or no token                   fetches one, or waits for the fetch in progress
//! ```

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::{debug, warn};

use crate::auth::jwt;
use crate::secret::Secret;
use crate::sync::lock;

/// The identity tokens of this instance. All threads share it.
///
/// It hands out whole header values, `Bearer TOKEN`, which are built once for each token and not for each request.
pub struct Tokens(Source);

enum Source {
    /// The token of `CLOUD_RUN_ID_TOKEN`, for every audience.
    Fixed {
        bearer: Secret,
        account: Option<String>,
        /// Its `exp`, in seconds since 1970, if it has one.
        expires_at: Option<u64>,
    },
    Fetched(Arc<TokenCache>),
}

impl Tokens {
    /// Tokens that `fetch` returns for an audience, as bare text or with the sentence that says what failed.
    pub fn new<F>(fetch: F) -> Tokens
    where
        F: Fn(&str) -> Result<Secret, String> + Send + Sync + 'static,
    {
        let start = Instant::now();
        Tokens::with_uptime(fetch, move || start.elapsed().as_secs())
    }

    /// The same with another monotonic clock, in seconds.
    fn with_uptime<F, U>(fetch: F, uptime: U) -> Tokens
    where
        F: Fn(&str) -> Result<Secret, String> + Send + Sync + 'static,
        U: Fn() -> u64 + Send + Sync + 'static,
    {
        Tokens(Source::Fetched(Arc::new(TokenCache {
            fetch: Box::new(fetch),
            uptime: Box::new(uptime),
            account: OnceLock::new(),
            table: Mutex::default(),
        })))
    }

    /// One token for every audience. An expired one is sent, too: the front end's clock decides.
    ///
    /// # Errors
    /// What is wrong with `token`, as the end of a sentence.
    pub fn fixed(token: &Secret) -> Result<Tokens, String> {
        jwt::validate(token.expose())?;
        Ok(Tokens(Source::Fixed {
            bearer: header_value(token),
            account: jwt::account(token.expose()),
            expires_at: jwt::expires_at(token.expose()).ok(),
        }))
    }

    /// Says that the fixed token has expired, for how long, and how to get another one. `None` if it has not.
    pub fn expiry_notice(&self, now: SystemTime) -> Option<String> {
        let Source::Fixed { expires_at: Some(expires_at), .. } = &self.0 else {
            return None;
        };
        let secs = unix_secs(now).checked_sub(*expires_at)?;
        let ago = match secs {
            0..=119 => format!("{secs} s"),
            120..=7199 => format!("{} min", secs / 60),
            7200..=172_799 => format!("{} h", secs / 3600),
            _ => format!("{} days", secs / 86_400),
        };
        Some(format!(
            "the token in CLOUD_RUN_ID_TOKEN ended {ago} ago; start again with \
             CLOUD_RUN_ID_TOKEN=$(gcloud auth print-identity-token)"
        ))
    }

    /// The account that the tokens name, known once there was a token. An instance has one account.
    pub fn account(&self) -> Option<String> {
        match &self.0 {
            Source::Fixed { account, .. } => account.clone(),
            Source::Fetched(cache) => cache.account.get().cloned(),
        }
    }

    /// Returns `Bearer TOKEN` for `audience`. A fetched token is never one that has expired, or would have on arrival.
    ///
    /// Blocks: only where the cache has no such token, during one fetch; one more where the token of the first one
    /// expired before it was used. Concurrent callers with the same audience share a fetch; those with other audiences
    /// do not wait for it.
    ///
    /// # Errors
    /// The sentence of `fetch`, or one that says what is wrong with the token it returned.
    pub fn bearer(&self, audience: &str, now: SystemTime) -> Result<Secret, String> {
        let cache = match &self.0 {
            Source::Fixed { bearer, .. } => return Ok(bearer.clone()),
            Source::Fetched(cache) => cache,
        };
        let now = cache.now(now);
        let entry = cache.entry(audience);
        let token = lock(&entry.state).token.clone();
        let Some(token) = token.filter(|token| token.is_usable(now)) else {
            return entry.fetch_or_wait(cache, audience, now);
        };
        if token.remaining_secs(now) <= REFRESH_BEFORE_EXPIRY
            && let Some(in_flight) = entry.try_begin_refresh(now)
        {
            refresh_in_background(cache, &entry, in_flight, audience, now);
        }
        Ok(token.bearer)
    }

    /// Removes a token that the front end called invalid from the cache.
    ///
    /// Returns whether the request is worth repeating: another token is cached or may be fetched. A token that is
    /// invalid twice within [`RETRY_INTERVAL`] stays, or each rejected request would ask the metadata server.
    pub fn invalidate(&self, audience: &str, bearer: &Secret, now: SystemTime) -> bool {
        let Source::Fetched(cache) = &self.0 else {
            return false;
        };
        let uptime = cache.now(now).uptime;
        let entry = cache.entry(audience);
        let mut state = lock(&entry.state);
        if state.token.as_ref().is_none_or(|token| token.bearer != *bearer) {
            return true;
        }
        let is_repeated = state
            .invalidated
            .as_ref()
            .is_some_and(|(old, at)| old == bearer && uptime.saturating_sub(*at) < RETRY_INTERVAL);
        if !is_repeated {
            state.invalidated = Some((bearer.clone(), uptime));
            state.token = None;
        }
        !is_repeated
    }
}

type Fetch = dyn Fn(&str) -> Result<Secret, String> + Send + Sync;
type Uptime = dyn Fn() -> u64 + Send + Sync;

struct TokenCache {
    fetch: Box<Fetch>,
    uptime: Box<Uptime>,
    /// The account that the first token named.
    account: OnceLock<String>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// With the count of `uses` when the entry was used last.
    entries: HashMap<String, (Arc<CacheEntry>, u64)>,
    uses: u64,
}

impl TokenCache {
    /// Returns the entry of `audience`, a new one if there is none. A new one takes the place of the least recently
    /// used one where there are [`MAX_AUDIENCES`].
    fn entry(&self, audience: &str) -> Arc<CacheEntry> {
        let mut table = lock(&self.table);
        table.uses += 1;
        let uses = table.uses;
        if let Some((entry, last_use)) = table.entries.get_mut(audience) {
            *last_use = uses;
            return Arc::clone(entry);
        }
        if table.entries.len() >= MAX_AUDIENCES {
            let oldest = table.entries.iter().min_by_key(|(_, (_, last_use))| last_use).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| table.entries.remove(&oldest));
        }
        let entry = Arc::<CacheEntry>::default();
        table.entries.insert(audience.to_owned(), (Arc::clone(&entry), uses));
        entry
    }

    /// Fetches a token and validates it.
    fn fetch_token(&self, audience: &str, started: Now) -> Result<Token, String> {
        // A panic must not leave the other callers waiting.
        let token = catch_unwind(AssertUnwindSafe(|| (self.fetch)(audience)))
            .unwrap_or_else(|_| Err("the fetch of a token broke off".to_owned()))?;
        let expires_at = jwt::expires_at(token.expose())
            .map_err(|why| format!("the metadata server's token for {audience} {why}"))?;
        let now = self.later(started);
        if expires_at <= now.unix + MIN_REMAINING {
            let ends = match now.unix.checked_sub(expires_at) {
                Some(ago) => format!("ended {ago} s ago"),
                None => format!("ends within {MIN_REMAINING} s"),
            };
            return Err(format!("the metadata server's token for {audience} {ends} by this clock"));
        }
        if let Some(account) = jwt::account(token.expose()) {
            let _ = self.account.set(account);
        }
        let lifetime = MAX_LIFETIME.min(expires_at - now.unix);
        Ok(Token { bearer: header_value(&token), expires_at, expires_at_uptime: now.uptime.saturating_add(lifetime) })
    }

    fn now(&self, wall_clock: SystemTime) -> Now {
        Now { unix: unix_secs(wall_clock), uptime: (self.uptime)() }
    }

    /// The time now: that of the wall clock as it was, plus what has passed since.
    fn later(&self, before: Now) -> Now {
        let uptime = (self.uptime)();
        Now { unix: before.unix.saturating_add(uptime.saturating_sub(before.uptime)), uptime }
    }
}

/// The token of one audience.
#[derive(Default)]
struct CacheEntry {
    /// Locked by requests, and by the threads that fetch before and after, but not during a fetch.
    state: Mutex<EntryState>,
}

#[derive(Default)]
struct EntryState {
    token: Option<Token>,
    /// The one fetch in progress.
    in_flight: Option<Arc<InFlightFetch>>,
    /// When the last fetch completed, by the monotonic clock.
    last_fetch_at: Option<u64>,
    /// The token that was invalidated last, and when, by the monotonic clock.
    invalidated: Option<(Secret, u64)>,
}

/// The result of a fetch: set once, by the thread that fetches, and waited for by all others.
type InFlightFetch = OnceLock<Result<Secret, String>>;

#[derive(Clone)]
struct Token {
    /// `Bearer TOKEN`
    bearer: Secret,
    /// Its `exp`, in seconds since 1970.
    expires_at: u64,
    /// The same by the monotonic clock, so that a token does not live longer where the wall clock is set back.
    expires_at_uptime: u64,
}

impl Token {
    /// Seconds until the token expires, by the clock that says fewer.
    fn remaining_secs(&self, now: Now) -> u64 {
        let by_wall_clock = self.expires_at.saturating_sub(now.unix);
        by_wall_clock.min(self.expires_at_uptime.saturating_sub(now.uptime))
    }

    fn is_usable(&self, now: Now) -> bool {
        self.remaining_secs(now) > MIN_REMAINING
    }
}

/// One moment by two clocks, in seconds.
#[derive(Clone, Copy)]
struct Now {
    /// Since 1970. May be set back or forward at any time.
    unix: u64,
    /// Monotonic.
    uptime: u64,
}

impl CacheEntry {
    /// Returns a usable token: the cached one, that of the fetch in progress, or that of a new fetch.
    fn fetch_or_wait(&self, cache: &TokenCache, audience: &str, called: Now) -> Result<Secret, String> {
        loop {
            let mut state = lock(&self.state);
            // Another thread may have fetched one since the caller looked.
            if let Some(token) = state.token.as_ref().filter(|token| token.is_usable(cache.later(called))) {
                return Ok(token.bearer.clone());
            }
            let Some(in_flight) = state.in_flight.clone() else {
                let in_flight = state.begin_fetch();
                drop(state);
                self.complete_fetch(&in_flight, cache.fetch_token(audience, called), cache.later(called));
                return in_flight.wait().clone();
            };
            drop(state);
            // An error is not cached, but all that waited get it: an outage costs each one wait, not a queue of them.
            // A token has to be looked at again: an instance without CPU may have stood still since it was fetched.
            in_flight.wait().as_ref().map_err(Clone::clone)?;
        }
    }

    /// Begins to fetch the next token, unless a fetch is in progress or the last one is less than [`RETRY_INTERVAL`] ago:
    /// a metadata server that fails, or returns the same token again, is not asked by each request. The caller has to
    /// [`CacheEntry::complete_fetch`].
    fn try_begin_refresh(&self, now: Now) -> Option<Arc<InFlightFetch>> {
        let mut state = lock(&self.state);
        let is_early = state.last_fetch_at.is_some_and(|at| now.uptime.saturating_sub(at) < RETRY_INTERVAL);
        (state.in_flight.is_none() && !is_early).then(|| state.begin_fetch())
    }

    fn complete_fetch(&self, in_flight: &InFlightFetch, result: Result<Token, String>, now: Now) {
        let bearer = result.as_ref().map(|token| token.bearer.clone()).map_err(Clone::clone);
        let mut state = lock(&self.state);
        state.in_flight = None;
        state.last_fetch_at = Some(now.uptime);
        if let Ok(token) = result {
            state.token = Some(token);
        }
        drop(state);
        let _ = in_flight.set(bearer);
    }
}

impl EntryState {
    fn begin_fetch(&mut self) -> Arc<InFlightFetch> {
        Arc::clone(self.in_flight.insert(Arc::default()))
    }
}

/// Fetches the next token in a thread of its own, while requests use the current one.
fn refresh_in_background(
    cache: &Arc<TokenCache>,
    entry: &Arc<CacheEntry>,
    in_flight: Arc<InFlightFetch>,
    audience: &str,
    now: Now,
) {
    let refresh = {
        let (cache, entry, in_flight) = (Arc::clone(cache), Arc::clone(entry), Arc::clone(&in_flight));
        let audience = audience.to_owned();
        move || {
            let result = cache.fetch_token(&audience, now);
            match &result {
                Ok(token) => debug!("tokens: {audience}: renewed, good for {} s", token.expires_at - now.unix),
                Err(why) => warn!("tokens: {audience}: not renewed: {why}; the old one is used"),
            }
            entry.complete_fetch(&in_flight, result, cache.later(now));
        }
    };
    if let Err(err) = thread::Builder::new().name("token".to_owned()).spawn(refresh) {
        entry.complete_fetch(&in_flight, Err(format!("cannot start a thread: {err}")), now);
    }
}

/// Seconds since 1970; 0 for a clock before that.
fn unix_secs(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

fn header_value(token: &Secret) -> Secret {
    Secret::new(&format!("Bearer {}", token.expose()))
}

/// Seconds before its expiry from which on a token is refreshed. Until then the metadata server returns the token that
/// it returned before.
const REFRESH_BEFORE_EXPIRY: u64 = 240;

/// Seconds that a token needs to live to be used: one for its way to the front end, and one because the clocks are read
/// in whole seconds.
const MIN_REMAINING: u64 = 2;

/// Seconds that a token lives at most, as Google issues them, whatever a slow wall clock makes of its `exp`.
const MAX_LIFETIME: u64 = 3600;

/// Seconds between two fetches for a token that is still usable, and between two invalidations of the same token.
const RETRY_INTERVAL: u64 = 10;

/// How many audiences are cached. A client can name any number of services, and each entry takes memory.
const MAX_AUDIENCES: usize = 1000;

#[cfg(test)]
mod tests;
