//! Names as callers write them, and where they lead: the DNS server and the proxy both ask here.

pub mod destination;
pub mod location;
pub mod service;
