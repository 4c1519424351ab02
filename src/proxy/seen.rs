//! What only the log wants to know of a request.

use std::time::Instant;

use log::{Level, log_enabled};

use super::route::USER_AGENT;
use super::trace::{self, Trace};
use crate::logger;

/// Kept while its answer is awaited.
#[derive(Debug)]
pub struct Seen {
    method: String,
    url: String,
    user_agent: String,
    trace: Option<String>,
    started: Instant,
}

impl Seen {
    /// A request that begins now, if anybody reads the log of requests; `header`
    /// gives the value of one, by its name in lower case.
    pub fn new<'a>(
        method: &[u8],
        host: &str,
        path: &[u8],
        header: impl Fn(&'static str) -> Option<&'a [u8]>,
    ) -> Option<Box<Seen>> {
        if !log_enabled!(Level::Trace) {
            return None;
        }
        let id = trace::id(header(trace::TRACEPARENT), header(trace::CLOUD_TRACE));
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Some(Box::new(Seen {
            method: text(method),
            url: format!("http://{host}{}", String::from_utf8_lossy(path)),
            user_agent: text(header(USER_AGENT).unwrap_or_default()),
            trace: id.map(str::to_owned),
            started: Instant::now(),
        }))
    }

    /// Its line in the log, once it is answered; `project` is our own, by number.
    pub fn log(&self, status: u16, project: &str) {
        let trace = Trace {
            project,
            id: self.trace.as_deref(),
        };
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
