//! The one test crate: a file for each thing a user would notice.

mod caller;
mod containers;
mod degrade;
mod harness;
mod headers;
mod hints;
mod identity;
mod miniature;
mod names;
mod sentences;
mod supervision;
