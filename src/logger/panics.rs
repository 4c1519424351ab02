//! A panic, as a line of the log: the standard hook writes text, whatever the
//! format is, and waits for whoever reads stderr.

use std::any::Any;
use std::fmt::Display;
use std::panic::{self, PanicHookInfo};
use std::thread;
use std::time::{Duration, SystemTime};

use log::Level;

use super::{Format, LOGGER, dropped_notice, line, try_lock_stderr};

/// Logs panics from here on, as text until [`super::init`].
pub fn log_panics() {
    panic::set_hook(Box::new(log_panic));
}

fn log_panic(info: &PanicHookInfo<'_>) {
    let format = LOGGER.get().map_or(Format::Text, |logger| logger.format);
    let thread = thread::current();
    let sentence = sentence(thread.name(), info.location(), info.payload());
    let line = line(format, Level::Error.into(), &sentence, None, SystemTime::now());
    // It may be this thread that holds the lock; then nothing is said.
    for _ in 0..TRIES {
        if let Some(mut stderr) = try_lock_stderr() {
            if let Some(stderr) = &mut *stderr {
                stderr.write(&line, |dropped| dropped_notice(format, dropped));
            }
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// Where it was, and what only where that is a fixed phrase: a formatted
/// message may quote the text at hand, which may be a token.
fn sentence(thread: Option<&str>, location: Option<&impl Display>, payload: &(dyn Any + Send)) -> String {
    let mut sentence = "a bug: a panic".to_owned();
    if let Some(thread) = thread {
        sentence += &format!(" of thread {thread:?}");
    }
    if let Some(location) = location {
        sentence += &format!(" at {location}");
    }
    if let Some(phrase) = payload.downcast_ref::<&'static str>() {
        sentence += &format!(": {phrase}");
    }
    sentence
}

/// Longer than another thread holds the lock for one line.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_says_where_and_quotes_nothing() {
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
    fn a_slice_of_a_text_panics_with_a_formatted_message() {
        // What std says of a text, and of an index, is never a fixed phrase.
        let text = "secret \u{e9}".to_owned();
        let at = text.len() - 1;
        let caught = panic::catch_unwind(|| text[at..].len()).expect_err("no boundary");
        let got = sentence(None, None::<&str>.as_ref(), &*caught);
        assert_eq!(got, "a bug: a panic");
    }
}
