//! A text that no log, error or panic ever shows.

use std::fmt;
use std::sync::Arc;

/// An identity token, or any other text that must not be printed.
///
/// Cheap to clone; there is no `Display`, and `Debug` says `<secret>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Keeps `text` from then on.
    pub fn new(text: &str) -> Secret {
        Secret(text.into())
    }

    /// The text itself, for the one place that puts it on the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}
