//! SETTINGS of both ends (RFC 9113 section 6.5): what they allow, and which acknowledgements are forwarded.
//!
//! SETTINGS are forwarded, and so are their acknowledgements, with two exceptions. runsd sends the client one SETTINGS
//! of its own, at once, and acknowledges those of the client that come before there is an upstream: some clients wait
//! for either before they send a request. The acknowledgements of both end at runsd.

use std::collections::VecDeque;

use crate::proxy::http2::frame::{DEFAULT_MAX_FRAME_SIZE, DEFAULT_WINDOW_SIZE, setting, to_usize};
use crate::proxy::http2::hpack;

/// What the settings of both ends are.
pub struct SettingsSync {
    /// The upstream's first SETTINGS came.
    pub upstream_received: bool,
    /// The upstream's SETTINGS_INITIAL_WINDOW_SIZE, in octets.
    pub upstream_initial_window: u32,
    /// The upstream's SETTINGS_MAX_CONCURRENT_STREAMS.
    pub upstream_max_streams: usize,
    /// The upstream's SETTINGS_MAX_FRAME_SIZE, in octets: the longest frame that runsd may send it.
    pub upstream_max_frame: usize,
    /// The largest SETTINGS_MAX_FRAME_SIZE that the upstream ever sent, in octets: the longest frame that the client
    /// may send, which may not have received a smaller one.
    pub upstream_max_frame_ever: usize,
    /// The largest SETTINGS_MAX_FRAME_SIZE that the client ever sent, in octets: the longest frame that the upstream
    /// may send.
    pub client_max_frame: usize,
    /// The client's SETTINGS_INITIAL_WINDOW_SIZE, in octets.
    pub client_initial_window: usize,
    /// The client lowered its table to so many octets, and its next header block must start with a size update
    /// (RFC 7541 section 4.2): one of the upstream, or one of runsd, whichever comes first.
    pub client_size_update: Option<usize>,
    /// SETTINGS that the client has not acknowledged yet, the oldest first.
    sent_to_client: VecDeque<Unacknowledged>,
    /// SETTINGS of the client that the upstream has not acknowledged yet, the oldest first.
    sent_to_upstream: VecDeque<Unacknowledged>,
}

/// A SETTINGS frame that its receiver has not acknowledged yet.
struct Unacknowledged {
    /// The acknowledgement ends at runsd.
    is_local: bool,
    /// Its SETTINGS_HEADER_TABLE_SIZE.
    table_size: Option<u32>,
}

impl SettingsSync {
    /// The defaults of RFC 9113 section 6.5.2, with runsd's own SETTINGS sent to the client.
    pub fn new() -> SettingsSync {
        SettingsSync {
            upstream_received: false,
            upstream_initial_window: DEFAULT_WINDOW_SIZE,
            upstream_max_streams: usize::MAX,
            upstream_max_frame: DEFAULT_MAX_FRAME_SIZE,
            upstream_max_frame_ever: DEFAULT_MAX_FRAME_SIZE,
            client_max_frame: DEFAULT_MAX_FRAME_SIZE,
            client_initial_window: to_usize(DEFAULT_WINDOW_SIZE),
            client_size_update: None,
            sent_to_client: VecDeque::from([Unacknowledged { is_local: true, table_size: None }]),
            sent_to_upstream: VecDeque::new(),
        }
    }

    /// Applies SETTINGS of the client; returns those for the upstream. `is_acknowledged`: by runsd, as there is no
    /// upstream yet.
    ///
    /// The table size is at most the one of runsd's passive decoder. Push is turned off: no client of services uses it,
    /// and its requests would be none of the client's.
    pub fn on_client_settings(&mut self, settings: &[(u16, u32)], is_acknowledged: bool) -> Vec<(u16, u32)> {
        let mut table_size = None;
        let mut for_upstream = Vec::with_capacity(settings.len() + 1);
        for &(id, mut value) in settings {
            match id {
                setting::HEADER_TABLE_SIZE => {
                    value = value.min(hpack::MAX_PASSIVE_TABLE_SIZE);
                    table_size = Some(value);
                }
                setting::ENABLE_PUSH => continue,
                setting::INITIAL_WINDOW_SIZE => self.client_initial_window = to_usize(value),
                setting::MAX_FRAME_SIZE => self.client_max_frame = self.client_max_frame.max(to_usize(value)),
                _ => {}
            }
            for_upstream.push((id, value));
        }
        for_upstream.push((setting::ENABLE_PUSH, 0));
        if is_acknowledged {
            self.expect_size_update(table_size);
        }
        self.sent_to_upstream.push_back(Unacknowledged { is_local: is_acknowledged, table_size });
        for_upstream
    }

    /// The upstream acknowledged SETTINGS of the client; returns whether to forward that.
    pub fn on_upstream_ack(&mut self) -> bool {
        match self.sent_to_upstream.pop_front() {
            Some(Unacknowledged { is_local: true, .. }) => false,
            Some(Unacknowledged { table_size, .. }) => {
                self.expect_size_update(table_size);
                true
            }
            None => true,
        }
    }

    fn expect_size_update(&mut self, table_size: Option<u32>) {
        if let Some(size) = table_size.map(to_usize) {
            self.client_size_update = (size < hpack::DEFAULT_TABLE_SIZE).then_some(size);
        }
    }

    /// Applies SETTINGS of the upstream; returns those for the client.
    ///
    /// The table size is left out: it concerns runsd's encoder. A limit of streams is never below the one that runsd
    /// sent first, since what is above the upstream's limit waits in runsd. (grpc-core has calls that never start after
    /// the limit was lowered under them.)
    pub fn on_upstream_settings(&mut self, settings: &[(u16, u32)]) -> Vec<(u16, u32)> {
        let mut table_size = None;
        let mut for_client = Vec::with_capacity(settings.len() + 1);
        let mut has_limit = false;
        for &(id, value) in settings {
            match id {
                setting::HEADER_TABLE_SIZE => {
                    table_size = Some(value);
                    continue;
                }
                setting::MAX_FRAME_SIZE => {
                    self.upstream_max_frame = to_usize(value).max(DEFAULT_MAX_FRAME_SIZE);
                    self.upstream_max_frame_ever = self.upstream_max_frame_ever.max(to_usize(value));
                }
                setting::INITIAL_WINDOW_SIZE => self.upstream_initial_window = value,
                setting::MAX_CONCURRENT_STREAMS => {
                    has_limit = true;
                    self.upstream_max_streams = to_usize(value);
                    for_client.push((id, value.max(MAX_CLIENT_STREAMS)));
                    continue;
                }
                _ => {}
            }
            for_client.push((id, value));
        }
        let is_first = !std::mem::replace(&mut self.upstream_received, true);
        if is_first && !has_limit {
            // Lifts the limit of runsd's own SETTINGS.
            for_client.push((setting::MAX_CONCURRENT_STREAMS, u32::MAX));
        }
        self.sent_to_client.push_back(Unacknowledged { is_local: false, table_size });
        for_client
    }

    /// The client acknowledged SETTINGS; returns whether to forward that, and the table size that runsd's encoder is
    /// bound by from now on.
    pub fn on_client_ack(&mut self) -> (bool, Option<u32>) {
        let acknowledged = self.sent_to_client.pop_front();
        acknowledged.map_or((true, None), |settings| (!settings.is_local, settings.table_size))
    }
}

/// Streams that a client may have open, whatever the limit of the upstream: until the upstream's SETTINGS come, and
/// later those above its limit wait in runsd. It is what most servers allow (RFC 9113 section 6.5.2: at least 100).
pub const MAX_CLIENT_STREAMS: u32 = 100;
