//! What is remembered of a request while its answer is awaited.

use crate::proxy::access_log::RequestLog;
use crate::secret::Secret;

/// Left by who decided about the request, for when its answer comes.
#[derive(Debug, Default)]
pub struct RequestMeta {
    /// The token it was sent with.
    pub bearer: Option<Secret>,
    /// For the log, if anybody reads that.
    pub log: Option<Box<RequestLog>>,
}

/// How an answer began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    pub status: u16,
    /// `WWW-Authenticate` of a 401.
    pub challenge: Option<Vec<u8>>,
}
