//! Connections as a client and an upstream see them that do as a test says.

mod abuse;
mod calls;
mod ends;
mod hostile;
mod octets;
mod own;
mod peer;
mod resets;
mod seen;
mod states;
