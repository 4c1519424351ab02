//! The part of the client's windows that runsd keeps for answers of its own.
//!
//! Flow control is between the client and the upstream, which must never
//! believe the connection's window to be wider than it is. So of what the
//! client opens it by, a little never reaches the upstream, and pays for the
//! sentences of refusals. A client that has not opened its window yet gets
//! their headers only.

use super::frame::octets;

/// How much may be sent to the client that the upstream knows nothing of.
pub struct Spare {
    left: u32,
    /// How far open the client's streams begin.
    stream_window: usize,
}

impl Spare {
    pub fn new() -> Spare {
        Spare {
            left: 0,
            stream_window: 65_535,
        }
    }

    /// The client opens the connection's window; what the upstream may hear of
    /// that.
    pub fn keep(&mut self, increment: u32) -> u32 {
        let kept = increment.min(MOST - self.left);
        self.left += kept;
        increment - kept
    }

    /// SETTINGS_INITIAL_WINDOW_SIZE of the client.
    pub fn streams_begin_with(&mut self, window: u32) {
        self.stream_window = octets(window);
    }

    /// Pays for a body of `len` octets, if there is enough.
    pub fn spend(&mut self, len: usize) -> bool {
        let price = u32::try_from(len).ok().filter(|&len| len <= self.left);
        match price {
            Some(price) if len <= self.stream_window => {
                self.left -= price;
                true
            }
            _ => false,
        }
    }
}

/// Enough for a sentence on each of many streams.
const MOST: u32 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_filled_first_and_pays_for_bodies() {
        let mut spare = Spare::new();
        assert!(!spare.spend(1));
        assert_eq!(spare.keep(1000), 0);
        assert_eq!(spare.keep(MOST), 1000);
        assert_eq!(spare.keep(u32::MAX), u32::MAX);
        assert!(spare.spend(8000));
        assert!(!spare.spend(193));
        assert_eq!(spare.keep(8001), 1);
        spare.streams_begin_with(99);
        assert!(!spare.spend(100));
        assert!(spare.spend(99));
    }
}
