//! A request as it came, and one before it as it came and as it went.

use crate::proxy::http2::header_block::Head;
use crate::proxy::http2::hpack::{self, Field};
use crate::proxy::http2::stream_table::RequestTraits;
use crate::secret::Secret;

/// A request whose fields are all here. No `Debug`: a block may hold credentials.
pub struct Request {
    /// Empty while it is [`ReplayEntry`].
    pub fields: Vec<Field>,
    pub head: Head,
    /// The length of its body, where it says one.
    pub body: Option<u64>,
    /// Its block, as it came.
    pub fragment: Vec<u8>,
    /// The tables before it was read.
    pub tables: Tables,
}

/// A request as it came and as it was passed. One that comes as the same
/// octets, as they do from most clients after their first few, goes as the
/// same octets: nothing is read or written anew while neither table changed.
pub struct ReplayEntry {
    fragment: Vec<u8>,
    /// The block that went up for it.
    pub passed: Vec<u8>,
    tables: Tables,
    pub asked: RequestTraits,
    /// The length of its body, as all of them say it.
    pub body: Option<u64>,
    /// The token in it.
    pub bearer: Option<Secret>,
}

impl ReplayEntry {
    /// What is to be known of a request that was passed so; nothing where a
    /// table changed on the way.
    pub fn new(
        request: Request,
        passed: Vec<u8>,
        tables: Tables,
        asked: RequestTraits,
        bearer: Option<Secret>,
    ) -> Option<ReplayEntry> {
        let settled = tables == request.tables;
        let small = request.fragment.len() + passed.len() <= MAX_KNOWN;
        (settled && small).then_some(ReplayEntry {
            body: request.body,
            fragment: request.fragment,
            passed,
            tables,
            asked,
            bearer,
        })
    }

    /// Whether this block would go up as that one did.
    pub fn is(&self, fragment: &[u8], tables: Tables) -> bool {
        self.tables == tables && self.fragment == fragment
    }
}

/// How often the decoder's table and the encoder's have changed.
pub type Tables = (u64, u64);

impl Request {
    /// Whom it is for, as far as it says.
    pub fn authority(&self) -> Option<Vec<u8>> {
        let value = hpack::find(&self.fields, ":authority").or_else(|| hpack::find(&self.fields, "host"));
        value.map(<[u8]>::to_vec)
    }
}

/// The most octets a request is remembered with, both blocks together.
const MAX_KNOWN: usize = 8192;
