//! runsd: put before an application on Cloud Run, it lets `http://NAME` reach
//! every service of the project, authenticated.

mod config;
mod destination;
mod dns;
mod metadata;
mod proxy;
mod secret;
mod service;
mod supervisor;
mod sys;
mod tokens;
mod user;

fn main() {}
