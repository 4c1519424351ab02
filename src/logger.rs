//! The log crate on stderr, as text for people or JSON for Cloud Logging.
//!
//! Silent by default but for warnings and errors: a container's log is the
//! application's, and runsd speaks up only when a person should look; not a
//! thousand times, either.

mod panics;
mod stderr;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, TryLockError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::{Level, LevelFilter, Log, Metadata, Record, log_enabled};

pub use self::panics::log_panics;
use self::stderr::Stderr;
use crate::sync::lock;

/// How a line looks: `-log_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `runsd: warning: …`
    Text,
    /// `{"severity":"WARNING","message":"…","time":"…"}`, and for requests
    /// what Cloud Logging knows about them: `httpRequest` and the trace.
    Json,
}

/// Logs from here on; `verbosity` is the N of `-v=N`.
pub fn init(verbosity: u8, format: Format) {
    let logger = LOGGER.get_or_init(|| Logger { format, warned: Mutex::default() });
    // A second call keeps the first logger; there is nothing better to do.
    let _ = log::set_logger(logger);
    log::set_max_level(level(verbosity));
}

/// What `-v=N` lets through: life cycle, decisions, every query and request.
fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::Warn,
        1 | 2 => LevelFilter::Info,
        3 | 4 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

/// A request and what became of it.
pub struct Request<'a> {
    pub method: &'a str,
    pub url: &'a str,
    pub status: u16,
    /// From its head to that of the answer.
    pub latency: Duration,
    /// Empty where there is none, as is the next.
    pub user_agent: &'a str,
    /// In Cloud Logging's form.
    pub trace: &'a str,
}

/// Logs a request, where [`Level::Trace`] is let through.
pub fn request(request: &Request<'_>) {
    if let Some(logger) = LOGGER.get().filter(|_| log_enabled!(Level::Trace)) {
        let Request { method, url, status, latency, .. } = request;
        let message = format!("proxy: {method} {url} {status} in {latency:.1?}");
        logger.write(Level::Trace, &message, Some(request));
    }
}

/// Says why runsd ends, or never began; also before [`init`].
pub fn fatal(format: Format, sentence: &str) {
    let line = line(format, Severity::CRITICAL, sentence, None, SystemTime::now());
    write(|stderr| stderr.write(&line, |dropped| dropped_notice(format, dropped)));
}

/// Says what a person should read once, however little is logged.
pub fn notice(sentence: &str) {
    log::logger().log(
        &Record::builder().level(Level::Info).target(env!("CARGO_CRATE_NAME")).args(format_args!("{sentence}")).build(),
    );
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    format: Format,
    warned: Mutex<Repeats>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Never another crate: at its finest ureq logs the bytes of a response,
        // and those of the metadata server are the token.
        metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut message = record.args().to_string();
            if record.level() == Level::Warn {
                let mut warned = lock(&self.warned);
                match warned.count(&message, Instant::now()) {
                    Some(1) => {}
                    Some(times) => message += &format!(" ({times} times so far)"),
                    None => return,
                }
            }
            self.write(record.level(), &message, None);
        }
    }

    fn flush(&self) {
        // Where nothing was written, nothing was dropped.
        if let Some(stderr) = &mut *lock_stderr() {
            stderr.catch_up(|dropped| dropped_notice(self.format, dropped));
        }
    }
}

/// Lets one thread after the other write; none waits for a reader longer than
/// a moment.
fn write(work: impl FnOnce(&mut Stderr)) {
    if let Some(stderr) = &mut *opened(lock_stderr()) {
        work(stderr);
    }
}

/// Where stderr is closed there is no one left to tell.
fn opened(mut stderr: Locked) -> Locked {
    if stderr.is_none() {
        *stderr = Stderr::open();
    }
    stderr
}

type Locked = MutexGuard<'static, Option<Stderr>>;

/// Opened with the first line.
static STDERR: Mutex<Option<Stderr>> = Mutex::new(None);

fn lock_stderr() -> Locked {
    lock(&STDERR)
}

/// `None` while another thread, or this one, writes.
fn try_lock_stderr() -> Option<Locked> {
    match STDERR.try_lock() {
        Ok(stderr) => Some(opened(stderr)),
        Err(TryLockError::Poisoned(poisoned)) => Some(opened(poisoned.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    }
}

fn dropped_notice(format: Format, lines: u64) -> String {
    let message = format!("{lines} lines were dropped: nothing read stderr");
    line(format, Level::Warn.into(), &message, None, SystemTime::now())
}

impl Logger {
    fn write(&self, level: Level, message: &str, request: Option<&Request<'_>>) {
        let now = SystemTime::now();
        let line = line(self.format, level.into(), message, request, now);
        // In one write, so that the application's lines do not cut ours.
        write(|stderr| stderr.write(&line, |dropped| dropped_notice(self.format, dropped)));
    }
}

/// How often each text was logged, and when it was last.
#[derive(Default)]
struct Repeats(BTreeMap<String, (u64, Instant)>);

impl Repeats {
    /// Counts one more; `None` when it is no news: the first time is, then the
    /// tenth, the hundredth and so on. After some quiet it is another failure
    /// that only reads the same, and counted anew.
    fn count(&mut self, text: &str, now: Instant) -> Option<u64> {
        if let Some((times, last)) = self.0.get_mut(text) {
            let quiet = now.saturating_duration_since(*last) >= QUIET;
            *last = now;
            *times = if quiet { 1 } else { *times + 1 };
            let power_of_ten = *times == 10_u64.pow(times.ilog10());
            return power_of_ten.then_some(*times);
        }
        // Texts hold names, of which an application may have any number.
        if self.0.len() >= TEXTS {
            self.0.clear();
        }
        self.0.insert(text.to_owned(), (1, now));
        Some(1)
    }
}

/// What was not said for so long is over.
const QUIET: Duration = Duration::from_secs(60);
/// How many texts are remembered.
const TEXTS: usize = 1_000;

impl Request<'_> {
    /// As members of a JSON object, in the names Cloud Logging has for them,
    /// each after a comma.
    fn members(&self) -> String {
        let [method, url, user_agent, trace] = [self.method, self.url, self.user_agent, self.trace].map(escape);
        let status = self.status;
        let (seconds, micros) = (self.latency.as_secs(), self.latency.subsec_micros());
        let mut members = format!(
            ",\"httpRequest\":{{\"requestMethod\":\"{method}\",\"requestUrl\":\"{url}\",\
             \"status\":{status},\"latency\":\"{seconds}.{micros:06}s\""
        );
        if !user_agent.is_empty() {
            members += &format!(",\"userAgent\":\"{user_agent}\"");
        }
        members.push('}');
        if !trace.is_empty() {
            members += &format!(",\"logging.googleapis.com/trace\":\"{trace}\"");
        }
        members
    }
}

/// How much a line matters, as its beginning in text and as Cloud Logging has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Severity {
    text: &'static str,
    json: &'static str,
}

impl Severity {
    /// The end of a deployment, which in text needs no word for it.
    const CRITICAL: Severity = Severity { text: "", json: "CRITICAL" };
}

impl From<Level> for Severity {
    fn from(level: Level) -> Severity {
        let (text, json) = match level {
            Level::Error => ("error: ", "ERROR"),
            Level::Warn => ("warning: ", "WARNING"),
            Level::Info => ("info: ", "INFO"),
            Level::Debug => ("debug: ", "DEBUG"),
            Level::Trace => ("trace: ", "DEBUG"),
        };
        Severity { text, json }
    }
}

/// One line with its newline, whatever `message` holds.
fn line(format: Format, severity: Severity, message: &str, request: Option<&Request<'_>>, now: SystemTime) -> String {
    match format {
        Format::Text => {
            // Names come from outside, and may not begin a line of their own.
            let mut text = format!("runsd: {}", severity.text);
            for c in message.chars() {
                match c.is_control() {
                    true => text.extend(c.escape_default()),
                    false => text.push(c),
                }
            }
            text.push('\n');
            text
        }
        Format::Json => {
            let severity = severity.json;
            let message = escape(message);
            let time = rfc3339(now);
            let members = request.map(Request::members).unwrap_or_default();
            format!(
                "{{\"severity\":\"{severity}\",\"message\":\"{message}\",\
                 \"time\":\"{time}\",{LABELS}{members}}}\n"
            )
        }
    }
}

/// Tells the lines of runsd from the application's: Cloud Logging takes labels
/// out of the line, and finds them with `labels.app="runsd"`.
const LABELS: &str = "\"logging.googleapis.com/labels\":{\"app\":\"runsd\"}";

/// The inside of a JSON string, RFC 8259 section 7.
fn escape(text: &str) -> String {
    let mut json = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\t' => json.push_str("\\t"),
            c if c.is_control() => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json
}

/// `2026-11-21T08:52:38.004Z`. A clock before 1970 is shown as 1970.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, so that a leap day is the last day of its year,
    // and every 400 years (146,097 days) are alike.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on, whose lengths repeat every five: 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (400 * era + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let now = UNIX_EPOCH + Duration::from_millis(1_795_251_158_004);
        for (format, level, message, want) in [
            (Format::Text, Level::Warn, "dns: é", "runsd: warning: dns: é\n"),
            (Format::Text, Level::Error, "a\nb\x1b", "runsd: error: a\\nb\\u{1b}\n"),
            (
                Format::Json,
                Level::Warn,
                "say \"hi\"\\\r\n\t\x01é",
                "{\"severity\":\"WARNING\",\"message\":\"say \\\"hi\\\"\\\\\\u000d\\n\\t\\u0001é\",\
                 \"time\":\"2026-11-21T08:52:38.004Z\",\
                 \"logging.googleapis.com/labels\":{\"app\":\"runsd\"}}\n",
            ),
        ] {
            let got = line(format, level.into(), message, None, now);
            assert_eq!(got, want, "{message:?}");
        }
    }

    #[test]
    fn requests() {
        let mut request = Request {
            method: "GET",
            url: "http://hello/\"",
            status: 200,
            latency: Duration::from_micros(1_012_003),
            user_agent: "",
            trace: "projects/1/traces/2",
        };
        assert_eq!(
            request.members(),
            ",\"httpRequest\":{\"requestMethod\":\"GET\",\"requestUrl\":\"http://hello/\\\"\",\
             \"status\":200,\"latency\":\"1.012003s\"},\
             \"logging.googleapis.com/trace\":\"projects/1/traces/2\""
        );
        (request.user_agent, request.trace) = ("curl\t8", "");
        let members = request.members();
        assert!(members.ends_with("\"1.012003s\",\"userAgent\":\"curl\\t8\"}"), "{members}");
        let text = |request| line(Format::Text, Level::Trace.into(), "hi", request, UNIX_EPOCH);
        assert_eq!(text(Some(&request)), text(None));
    }

    #[test]
    fn days() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799, "9999-12-31T23:59:59.000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(rfc3339(time), want, "{seconds}");
        }
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn repeats_are_counted_not_told() {
        let mut repeats = Repeats::default();
        let now = Instant::now();
        let told = (0..12_345).filter_map(|_| repeats.count("again", now));
        assert_eq!(told.collect::<Vec<_>>(), [1, 10, 100, 1_000, 10_000]);
        assert_eq!(repeats.count("another", now), Some(1));
        assert_eq!(repeats.count("another", now), None);
        for n in 0..10 * TEXTS {
            assert_eq!(repeats.count(&n.to_string(), now), Some(1), "{n}");
            assert!(repeats.0.len() <= TEXTS, "{n}");
        }
    }

    #[test]
    fn after_some_quiet_it_is_told_again() {
        let mut repeats = Repeats::default();
        let start = Instant::now();
        let mut told = |second| {
            let now = start + Duration::from_secs(second);
            repeats.count("not renewed", now)
        };
        // An outage of an hour with a try in ten seconds is one failure.
        let outage: Vec<u64> = (0..3600).step_by(10).filter_map(&mut told).collect();
        assert_eq!(outage, [1, 10, 100]);
        // The next one, when it was over for a minute, is another.
        let outage: Vec<u64> = (3650..3800).step_by(10).filter_map(&mut told).collect();
        assert_eq!(outage, [1, 10]);
    }

    #[test]
    fn levels() {
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
    fn other_crates_are_not_heard() {
        for (target, want) in
            [("runsd::dns", true), ("rustls::client", false), ("ureq::run", false), ("runsd_other", false)]
        {
            let logger = Logger { format: Format::Text, warned: Mutex::default() };
            let metadata = Metadata::builder().target(target).build();
            assert_eq!(logger.enabled(&metadata), want, "{target}");
        }
    }
}
