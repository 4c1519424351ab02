//! runsd: put before an application on Cloud Run, it lets `http://NAME` reach
//! every service of the project, authenticated.

mod config;
mod dns;
mod proxy;
mod secret;
mod service;
mod supervisor;
mod sys;
mod user;

fn main() {}
