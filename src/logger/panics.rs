//! Panics as lines of the log. The standard hook writes text, whatever the format is, and blocks while stderr has no
//! reader.

use std::any::Any;
use std::fmt::Display;
use std::panic::{self, PanicHookInfo};
use std::thread;
use std::time::{Duration, SystemTime};

use log::Level;

use super::line::format_line;
use super::{Format, LOGGER, dropped_notice, try_lock_stderr};

/// Logs panics from here on; as text until [`super::init`].
pub fn log_panics() {
    panic::set_hook(Box::new(log_panic));
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let format = LOGGER.get().map_or(Format::Text, |logger| logger.format);
    let thread = thread::current();
    let sentence = sentence(thread.name(), info.location(), info.payload());
    let line = format_line(format, Level::Error.into(), &sentence, None, SystemTime::now());
    // It may be this thread that has stderr locked; then nothing is logged.
    for _ in 0..MAX_LOCK_ATTEMPTS {
        if let Some(mut stderr) = try_lock_stderr() {
            if let Some(stderr) = &mut *stderr {
                stderr.write(&line, |dropped| dropped_notice(format, dropped));
            }
            return;
        }
        thread::sleep(LOCK_RETRY_INTERVAL);
    }
}

/// Says where the panic was, and its message only if that is a literal: a formatted one may quote a text, which may be
/// a token.
fn sentence(thread: Option<&str>, location: Option<&impl Display>, payload: &(dyn Any + Send)) -> String {
    let mut sentence = "a bug: a panic".to_owned();
    if let Some(thread) = thread {
        sentence += &format!(" of thread {thread:?}");
    }
    if let Some(location) = location {
        sentence += &format!(" at {location}");
    }
    if let Some(literal) = payload.downcast_ref::<&'static str>() {
        sentence += &format!(": {literal}");
    }
    sentence
}

/// Attempts, with [`LOCK_RETRY_INTERVAL`] between: 100 ms, longer than another thread has stderr locked for one line.
const MAX_LOCK_ATTEMPTS: u32 = 20;
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_is_logged_with_its_place_and_no_formatted_message() {
        for (payload, want) in [
            (
                Box::new("no value") as Box<dyn Any + Send>,
                "a bug: a panic of thread \"http\" at src/x.rs:1:2: no value",
            ),
            (
                Box::new("byte index 1 is not in `eyJ.eyJ.sig`".to_owned()),
                "a bug: a panic of thread \"http\" at src/x.rs:1:2",
            ),
            (Box::new(7), "a bug: a panic of thread \"http\" at src/x.rs:1:2"),
        ] {
            let got = sentence(Some("http"), Some(&"src/x.rs:1:2"), &*payload);
            assert_eq!(got, want);
        }
        assert_eq!(sentence(None, None::<&str>.as_ref(), &7), "a bug: a panic");
    }

    #[test]
    fn slice_of_a_secret_is_not_logged() {
        // std formats the messages that quote a text or an index.
        let text = "secret \u{e9}".to_owned();
        let inside_a_char = text.len() - 1;
        let caught = panic::catch_unwind(|| text[inside_a_char..].len()).expect_err("a panic");
        let got = sentence(None, None::<&str>.as_ref(), &*caught);
        assert_eq!(got, "a bug: a panic");
    }
}
