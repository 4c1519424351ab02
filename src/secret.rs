//! Texts that no log line, error or panic shows.

use std::fmt;
use std::sync::Arc;

/// An identity token, or another text that must not be printed. There is no `Display`, and `Debug` prints `<secret>`.
///
/// A clone shares the text.
#[derive(Clone, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Copies `text`.
    pub fn new(text: &str) -> Secret {
        Secret(text.into())
    }

    /// The text, for code that sends or parses it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Secret {
    /// Mostly both share one text, and then no byte is compared: each request over HTTP/2 compares its token, of about
    /// 800 bytes, with the last one.
    fn eq(&self, other: &Secret) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}
