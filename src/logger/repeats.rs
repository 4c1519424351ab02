//! Counts warnings that repeat.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often each text was logged, and when last.
#[derive(Default)]
pub struct Repeats(BTreeMap<String, (u64, Instant)>);

impl Repeats {
    /// Counts `text`, and returns the count if it is to be logged: at 1, 10, 100 and so on. After [`RESET_AFTER`]
    /// without it, it is another failure with the same text, and counted from 1.
    pub fn count(&mut self, text: &str, now: Instant) -> Option<u64> {
        if let Some((times, last)) = self.0.get_mut(text) {
            let is_over = now.saturating_duration_since(*last) >= RESET_AFTER;
            *last = now;
            *times = if is_over { 1 } else { *times + 1 };
            let is_power_of_ten = *times == 10_u64.pow(times.ilog10());
            return is_power_of_ten.then_some(*times);
        }
        if self.0.len() >= MAX_TEXTS {
            self.0.clear();
        }
        self.0.insert(text.to_owned(), (1, now));
        Some(1)
    }
}

/// Longer than what fails is tried again after, so that an outage is one failure.
const RESET_AFTER: Duration = Duration::from_secs(60);
/// Texts in the table, of some 100 bytes each: they have names in them, of which an application may use any number.
const MAX_TEXTS: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_logged_at_powers_of_ten() {
        let mut repeats = Repeats::default();
        let now = Instant::now();
        let logged = (0..12_345).filter_map(|_| repeats.count("again", now));
        assert_eq!(logged.collect::<Vec<_>>(), [1, 10, 100, 1_000, 10_000]);
        assert_eq!(repeats.count("another", now), Some(1));
        assert_eq!(repeats.count("another", now), None);
        for n in 0..10 * MAX_TEXTS {
            assert_eq!(repeats.count(&n.to_string(), now), Some(1), "{n}");
            assert!(repeats.0.len() <= MAX_TEXTS, "{n}");
        }
    }

    #[test]
    fn failure_after_a_quiet_minute_is_logged_again() {
        let mut repeats = Repeats::default();
        let start = Instant::now();
        let mut count = |second| {
            let now = start + Duration::from_secs(second);
            repeats.count("not renewed", now)
        };
        // An outage of an hour with a try every ten seconds is one failure.
        let outage: Vec<u64> = (0..3600).step_by(10).filter_map(&mut count).collect();
        assert_eq!(outage, [1, 10, 100]);
        // The next one, after a minute without any, is another.
        let outage: Vec<u64> = (3650..3800).step_by(10).filter_map(&mut count).collect();
        assert_eq!(outage, [1, 10]);
    }
}
