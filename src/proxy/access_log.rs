//! The access log: one line for each request, at the level of `-v=5`.

use std::time::Instant;

use log::{Level, log_enabled};

use crate::logger;
use crate::proxy::header_policy::USER_AGENT;
use crate::proxy::trace_context::{self, Trace};

/// What the line says of a request, until its response comes.
#[derive(Debug)]
pub struct RequestLog {
    method: String,
    url: String,
    user_agent: String,
    trace_id: Option<String>,
    started: Instant,
}

impl RequestLog {
    /// Starts the clock of a request; `None` where the access log is off. `header` returns the value of a field, by its
    /// name in lower case.
    pub fn new<'a>(
        method: &[u8],
        host: &str,
        path: &[u8],
        header: impl Fn(&'static str) -> Option<&'a [u8]>,
    ) -> Option<Box<RequestLog>> {
        if !log_enabled!(Level::Trace) {
            return None;
        }
        let trace_id = trace_context::trace_id(header(trace_context::TRACEPARENT), header(trace_context::CLOUD_TRACE));
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Some(Box::new(RequestLog {
            method: text(method),
            url: format!("http://{host}{}", String::from_utf8_lossy(path)),
            user_agent: text(header(USER_AGENT).unwrap_or_default()),
            trace_id: trace_id.map(str::to_owned),
            started: Instant::now(),
        }))
    }

    /// Writes the line. `project` is the number of this instance's project, empty where it is not known.
    pub fn log(&self, status: u16, project: &str) {
        let trace = Trace { project, id: self.trace_id.as_deref() };
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
