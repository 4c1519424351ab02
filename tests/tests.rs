//! The one test crate: a file for each thing a user would notice.

mod harness;
mod miniature;
