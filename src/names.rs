//! Names as applications write them, and where they lead: name → [`policy::Target`] → [`destination::Destination`].

pub mod destination;
pub mod location;
pub mod policy;
pub mod service;
