//! Limits of frames that cost runsd work and the client nothing (RFC 9113 section 10.5).

use std::time::Instant;

/// The limits of one client, by the kind of frame. A client beyond one ends its connection with ENHANCE_YOUR_CALM.
pub struct FrameLimits {
    /// SETTINGS: clients send one, and few more when windows change.
    pub settings: TokenBucket,
    /// PING: clients that measure the round-trip time send the next as soon as the last is acknowledged.
    pub ping: TokenBucket,
    /// DATA without data and without END_STREAM.
    pub empty_data: TokenBucket,
    /// Requests after GOAWAY: those in flight when it was sent.
    pub late_requests: TokenBucket,
}

impl FrameLimits {
    /// Full buckets.
    pub fn new(now: Instant) -> FrameLimits {
        FrameLimits {
            settings: TokenBucket::new(100, 10, now),
            ping: TokenBucket::new(20_000, 20_000, now),
            empty_data: TokenBucket::new(1000, 100, now),
            late_requests: TokenBucket::new(1000, 100, now),
        }
    }
}

/// A token bucket: `burst` events at once, and `per_second` in the long run.
pub struct TokenBucket {
    tokens: u64,
    burst: u64,
    per_second: u64,
    last_refill: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(burst: u64, per_second: u64, now: Instant) -> TokenBucket {
        TokenBucket { tokens: burst, burst, per_second, last_refill: now }
    }

    /// Puts one token back.
    pub fn refund(&mut self) {
        self.tokens = (self.tokens + 1).min(self.burst);
    }

    /// Takes one token; `false` when there is none. The bucket is refilled after whole seconds.
    pub fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.last_refill).as_secs();
        if elapsed > 0 {
            let gained = elapsed.saturating_mul(self.per_second);
            self.tokens = self.tokens.saturating_add(gained).min(self.burst);
            self.last_refill = now;
        }
        let is_taken = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_allows_its_burst_and_refills_each_second() {
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
