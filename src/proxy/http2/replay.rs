//! The last request, as it came and as it was sent.
//!
//! Most clients encode a request that they repeat as the same octets from the third time on. While neither HPACK table
//! has changed, the same octets decode to the same fields, and those encode to the same octets: nothing is decoded or
//! encoded.

use crate::proxy::http2::request::{Request, RequestTraits, TableVersions};
use crate::secret::Secret;

/// A request that can be replayed.
pub struct ReplayEntry {
    /// The header block of the client.
    block: Vec<u8>,
    /// The header block that runsd sent to the upstream for it.
    pub sent_block: Vec<u8>,
    tables: TableVersions,
    /// The same for each replay.
    pub traits: RequestTraits,
    /// `content-length`, the same for each replay.
    pub content_length: Option<u64>,
    /// The token in `sent_block`.
    pub bearer: Option<Secret>,
}

impl ReplayEntry {
    /// An entry for a request that was sent as `sent_block`; `None` where that changed a table, or the blocks are longer
    /// than [`MAX_REPLAY_LEN`].
    pub fn new(
        request: Request,
        sent_block: Vec<u8>,
        tables: TableVersions,
        traits: RequestTraits,
        bearer: Option<Secret>,
    ) -> Option<ReplayEntry> {
        let can_replay = tables == request.tables && request.block.len() + sent_block.len() <= MAX_REPLAY_LEN;
        can_replay.then_some(ReplayEntry {
            content_length: request.content_length,
            block: request.block,
            sent_block,
            tables,
            traits,
            bearer,
        })
    }

    /// Whether `block` decodes to the same request, and encodes to the same block.
    pub fn matches(&self, block: &[u8], tables: TableVersions) -> bool {
        self.tables == tables && self.block == block
    }
}

/// Octets of both blocks of an entry, to bound the memory of a connection. Blocks that repeat are of indices mostly, and
/// far shorter.
const MAX_REPLAY_LEN: usize = 8192;
