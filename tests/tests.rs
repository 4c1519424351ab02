//! The one test crate: a file for each thing a user would notice.

mod containers;
mod degrade;
mod grpc;
mod harness;
mod miniature;
mod supervision;
