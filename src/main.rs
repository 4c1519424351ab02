//! runsd: put before an application on Cloud Run, it lets `http://NAME` reach
//! every service of the project, authenticated.

mod cli;
mod config;
mod destination;
mod dns;
mod here;
mod logger;
mod metadata;
mod proxy;
mod resolv_conf;
mod secret;
mod service;
mod supervisor;
mod sys;
mod tokens;
mod user;

fn main() {}
