//! runsd: put before an application on Cloud Run, it lets `http://NAME` reach
//! every service of the project, authenticated.

mod cli;
mod config;
mod dns;
mod logger;
mod proxy;
mod resolv_conf;
mod secret;
mod service;
mod supervisor;
mod sys;
mod user;

fn main() {}
