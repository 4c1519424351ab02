//! How often a client may make us work for nothing (RFC 9113, section 10.5).

use std::time::Instant;

/// What one client may send, kind by kind.
pub struct FrameLimits {
    pub settings: TokenBucket,
    pub pings: TokenBucket,
    /// Requests after GOAWAY.
    pub late: TokenBucket,
    /// DATA without data.
    pub empty: TokenBucket,
}

impl FrameLimits {
    pub fn new(now: Instant) -> FrameLimits {
        FrameLimits {
            settings: TokenBucket::new(100, 10, now),
            // Clients that measure the way to the service send one after the
            // other.
            pings: TokenBucket::new(20_000, 20_000, now),
            late: TokenBucket::new(1000, 100, now),
            empty: TokenBucket::new(1000, 100, now),
        }
    }
}

/// A number of events at once, and so many a second in the long run.
pub struct TokenBucket {
    left: u64,
    burst: u64,
    per_second: u64,
    filled: Instant,
}

impl TokenBucket {
    pub fn new(burst: u64, per_second: u64, now: Instant) -> TokenBucket {
        TokenBucket { left: burst, burst, per_second, filled: now }
    }

    /// Takes one event back.
    pub fn give(&mut self) {
        self.left = (self.left + 1).min(self.burst);
    }

    /// Counts one event; `false` when it is one too many.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs();
        if passed > 0 {
            let gained = passed.saturating_mul(self.per_second);
            self.left = self.left.saturating_add(gained).min(self.burst);
            self.filled = now;
        }
        let enough = self.left > 0;
        self.left = self.left.saturating_sub(1);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn so_many_at_once_and_so_many_a_second() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(3, 2, start);
        for (after, want) in [
            (0, true),
            (0, true),
            (500, true),
            (999, false),
            (1000, true),
            (1000, true),
            (1000, false),
            (60_000, true), // full again, and not fuller
            (60_000, true),
            (60_000, true),
            (60_000, false),
        ] {
            assert_eq!(bucket.take(start + Duration::from_millis(after)), want, "after {after} ms");
        }
    }
}
