//! The last request, as it came and as it was sent.
//!
//! Most clients encode a request that they repeat as the same octets from the third time on. While neither HPACK table
//! has changed, the same octets decode to the same fields, and those encode to the same octets: nothing is decoded or
//! encoded.

use crate::proxy::http2::request::{Request, RequestTraits, TableVersions};
use crate::secret::Secret;

/// A request that can be replayed.
pub struct ReplayEntry {
    /// The request as it came, without its fields.
    pub request: Request,
    /// The header block that runsd sent to the upstream for it.
    pub sent_block: Vec<u8>,
    /// The same for each replay.
    pub traits: RequestTraits,
    /// The token in `sent_block`.
    pub bearer: Option<Secret>,
}

impl ReplayEntry {
    /// Whether the request has changed no table, and its blocks are at most [`MAX_REPLAY_LEN`] octets long.
    pub fn is_valid(&self, tables: TableVersions) -> bool {
        self.request.tables == tables && self.request.block.len() + self.sent_block.len() <= MAX_REPLAY_LEN
    }

    /// Whether `block` decodes to the same request, and encodes to the same block.
    pub fn matches(&self, block: &[u8], tables: TableVersions) -> bool {
        self.request.tables == tables && self.request.block == block
    }
}

/// Octets of both blocks of an entry, to bound the memory of a connection. Blocks that repeat are of indices mostly, and
/// far shorter.
const MAX_REPLAY_LEN: usize = 8192;
