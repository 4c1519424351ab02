//! What only the log wants to know of a request.

use std::time::Instant;

use log::{Level, log_enabled};

use crate::logger;
use crate::proxy::header_policy::USER_AGENT;
use crate::proxy::trace_context;
use crate::proxy::trace_context::Trace;

/// Kept while its answer is awaited.
#[derive(Debug)]
pub struct RequestLog {
    method: String,
    url: String,
    user_agent: String,
    trace: Option<String>,
    started: Instant,
}

impl RequestLog {
    /// A request that begins now, if anybody reads the log of requests; `header`
    /// gives the value of one, by its name in lower case.
    pub fn new<'a>(
        method: &[u8],
        host: &str,
        path: &[u8],
        header: impl Fn(&'static str) -> Option<&'a [u8]>,
    ) -> Option<Box<RequestLog>> {
        if !log_enabled!(Level::Trace) {
            return None;
        }
        let id = trace_context::id(header(trace_context::TRACEPARENT), header(trace_context::CLOUD_TRACE));
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Some(Box::new(RequestLog {
            method: text(method),
            url: format!("http://{host}{}", String::from_utf8_lossy(path)),
            user_agent: text(header(USER_AGENT).unwrap_or_default()),
            trace: id.map(str::to_owned),
            started: Instant::now(),
        }))
    }

    /// Its line in the log, once it is answered; `project` is our own, by number.
    pub fn log(&self, status: u16, project: &str) {
        let trace = Trace { project, id: self.trace.as_deref() };
        logger::request(&logger::Request {
            method: &self.method,
            url: &self.url,
            status,
            latency: self.started.elapsed(),
            user_agent: &self.user_agent,
            trace: &trace.to_string(),
        });
    }
}
