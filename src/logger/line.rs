//! The format of a line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::Level;

use crate::net::json;

/// How a line looks: `-log_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `runsd: warning: …`
    Text,
    /// `{"severity":"WARNING","message":"…","time":"…"}`, and for a request the fields that Cloud Logging has for it:
    /// `httpRequest` and the trace.
    Json,
}

/// A request and its response.
pub struct Request<'a> {
    /// The method, as the client sent it.
    pub method: &'a str,
    /// The URL, as the client asked for it.
    pub url: &'a str,
    /// The response's status.
    pub status: u16,
    /// From the request's head to the response's.
    pub latency: Duration,
    /// The header `User-Agent`, or empty.
    pub user_agent: &'a str,
    /// The trace in Cloud Logging's form, `projects/PROJECT/traces/ID`, or empty.
    pub trace: &'a str,
}

impl Request<'_> {
    /// Returns members of a JSON object, each after a comma: LogEntry's `httpRequest` and `trace`.
    fn members(&self) -> String {
        let [method, url, user_agent, trace] = [self.method, self.url, self.user_agent, self.trace].map(json::quote);
        let status = self.status;
        let (seconds, micros) = (self.latency.as_secs(), self.latency.subsec_micros());
        let mut members = format!(
            ",\"httpRequest\":{{\"requestMethod\":{method},\"requestUrl\":{url},\
             \"status\":{status},\"latency\":\"{seconds}.{micros:06}s\""
        );
        if !self.user_agent.is_empty() {
            members += &format!(",\"userAgent\":{user_agent}");
        }
        members.push('}');
        if !self.trace.is_empty() {
            members += &format!(",\"logging.googleapis.com/trace\":{trace}");
        }
        members
    }
}

/// The severity of a line, as text has it at the beginning, and as Cloud Logging's LogSeverity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Severity {
    text: &'static str,
    json: &'static str,
}

impl Severity {
    /// For the last line of a runsd that ends; text has no word for it.
    pub const CRITICAL: Severity = Severity { text: "", json: "CRITICAL" };
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

/// Returns one line with its newline, whatever `message` has in it: names come from outside.
pub fn format_line(
    format: Format,
    severity: Severity,
    message: &str,
    request: Option<&Request<'_>>,
    now: SystemTime,
) -> String {
    match format {
        Format::Text => {
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
            let message = json::quote(message);
            let time = rfc3339(now);
            let members = request.map(Request::members).unwrap_or_default();
            format!("{{\"severity\":\"{severity}\",\"message\":{message},\"time\":\"{time}\",{LABELS}{members}}}\n")
        }
    }
}

/// Tells the lines of runsd from the application's: Cloud Logging takes labels out of the line, and finds them with
/// `labels.app="runsd"`.
const LABELS: &str = "\"logging.googleapis.com/labels\":{\"app\":\"runsd\"}";

/// Returns `2026-11-21T08:52:38.004Z` (RFC 3339). A clock before 1970 is shown as 1970.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Returns year, month and day, `days` after 1970-01-01, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, so that a leap day is the last day of its year, and all 400 years (146,097 days) are
    // alike.
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
    fn lines_of_both_formats() {
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
            let got = format_line(format, level.into(), message, None, now);
            assert_eq!(got, want, "{message:?}");
        }
    }

    #[test]
    fn request_has_fields_in_json_alone() {
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
        let text = |request| format_line(Format::Text, Level::Trace.into(), "hi", request, UNIX_EPOCH);
        assert_eq!(text(Some(&request)), text(None));
    }

    #[test]
    fn rfc3339_of_leap_days_and_ends() {
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
}
