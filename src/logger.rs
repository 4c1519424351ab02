//! The log: the log crate on stderr, as text for people or as JSON for Cloud Logging.
//!
//! By default it has warnings and errors alone, as a container's log is the application's: runsd writes where a person
//! should look, and counts what it would repeat.

pub mod line;
mod panics;
mod repeats;
mod stderr;

use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};
use std::time::{Instant, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record, log_enabled};

use self::line::{Severity, format_line};
use self::repeats::Repeats;
use self::stderr::Stderr;
use crate::sync::lock;

pub use self::line::{Format, Request};
pub use self::panics::log_panics;

/// Sets the logger, for `-v=N` of `verbosity`. A second call changes the level alone.
pub fn init(verbosity: u8, format: Format) {
    let logger = LOGGER.get_or_init(|| Logger { format, repeats: Mutex::default() });
    let _ = log::set_logger(logger);
    log::set_max_level(level(verbosity));
}

/// Returns the level of `-v=N`: life cycle, decisions, every query and request.
fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::Warn,
        1 | 2 => LevelFilter::Info,
        3 | 4 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

/// Logs a request, at [`Level::Trace`].
pub fn request(request: &Request<'_>) {
    if let Some(logger) = LOGGER.get().filter(|_| log_enabled!(Level::Trace)) {
        let Request { method, url, status, latency, .. } = request;
        let message = format!("proxy: {method} {url} {status} in {latency:.1?}");
        write(logger.format, Level::Trace.into(), &message, Some(request));
    }
}

/// Logs why runsd ends without an application. Works before [`init`].
pub fn fatal(format: Format, sentence: &str) {
    write(format, Severity::CRITICAL, sentence, None);
}

/// Logs at [`Level::Info`], whatever `-v=N` is.
pub fn notice(sentence: &str) {
    log::logger().log(
        &Record::builder().level(Level::Info).target(env!("CARGO_CRATE_NAME")).args(format_args!("{sentence}")).build(),
    );
}

/// Set by [`init`].
static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    format: Format,
    /// Written by each thread that warns. Not locked while a line is written.
    repeats: Mutex<Repeats>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Not other crates: at its finest level ureq logs the bytes of a response, and the metadata server's are the
        // token.
        metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"))
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut message = record.args().to_string();
        if record.level() == Level::Warn {
            match lock(&self.repeats).count(&message, Instant::now()) {
                Some(1) => {}
                Some(times) => message += &format!(" ({times} times so far)"),
                None => return,
            }
        }
        write(self.format, record.level().into(), &message, None);
    }

    fn flush(&self) {
        // Where no line was written, none was dropped.
        if let Some(stderr) = &mut *lock(&STDERR) {
            stderr.catch_up(|dropped| dropped_notice(self.format, dropped));
        }
    }
}

/// Writes one line, with one write(2), so that the application's lines do not cut it.
///
/// Blocks: for another thread's line and for a reader of stderr, 50 ms at most each.
fn write(format: Format, severity: Severity, message: &str, request: Option<&Request<'_>>) {
    let line = format_line(format, severity, message, request, SystemTime::now());
    if let Some(stderr) = &mut *opened(lock(&STDERR)) {
        stderr.write(&line, |dropped| dropped_notice(format, dropped));
    }
}

type StderrGuard = MutexGuard<'static, Option<Stderr>>;

/// Opened with the first line; `None` before, and where stderr is closed. The innermost lock of all.
static STDERR: Mutex<Option<Stderr>> = Mutex::new(None);

fn opened(mut stderr: StderrGuard) -> StderrGuard {
    if stderr.is_none() {
        *stderr = Stderr::open();
    }
    stderr
}

/// Locks stderr, unless a thread, or this very one, writes.
fn try_lock_stderr() -> Option<StderrGuard> {
    match STDERR.try_lock() {
        Ok(stderr) => Some(opened(stderr)),
        Err(TryLockError::Poisoned(poisoned)) => Some(opened(poisoned.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    }
}

fn dropped_notice(format: Format, lines: u64) -> String {
    let message = format!("{lines} lines were dropped: nothing read stderr");
    format_line(format, Level::Warn.into(), &message, None, SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_verbosities() {
        for (verbosity, want) in [
            (0, LevelFilter::Warn),
            (1, LevelFilter::Info),
            (2, LevelFilter::Info),
            (3, LevelFilter::Debug),
            (4, LevelFilter::Debug),
            (5, LevelFilter::Trace),
            (255, LevelFilter::Trace),
        ] {
            assert_eq!(level(verbosity), want, "-v={verbosity}");
        }
    }

    #[test]
    fn other_crates_are_not_logged() {
        for (target, want) in
            [("runsd::dns", true), ("rustls::client", false), ("ureq::run", false), ("runsd_other", false)]
        {
            let logger = Logger { format: Format::Text, repeats: Mutex::default() };
            let metadata = Metadata::builder().target(target).build();
            assert_eq!(logger.enabled(&metadata), want, "{target}");
        }
    }
}
