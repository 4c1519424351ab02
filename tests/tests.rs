//! The one test crate: a file for each thing a user would notice.

mod check;
mod containers;
mod degrade;
mod harness;
mod miniature;
mod supervision;
