//! runsd: put before an application on Cloud Run, it lets `http://NAME` reach
//! every service of the project, authenticated.
//!
//! `run` and `run_app` are the life of the process, in order. The rooms it leads to:
//! `cli`, `config` and `logger` are the front; `supervisor`, `user` and `sys`
//! look after the application; `dns` answers for our names and passes on the
//! others; `proxy` takes the requests to where `service` and `destination`
//! say, with what `tokens` has from `metadata`.

#![cfg_attr(not(test), no_main)] // it is in sys::start

mod app;
mod auth;
mod check;
mod cli;
mod config;
mod dns;
mod listeners;
mod logger;
mod metadata;
mod names;
mod net;
mod proxy;
mod resolv_conf;
mod secret;
mod sync;
mod sys;
mod tls;
mod upstream;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::sync::Arc;

use log::{error, info, warn};

use crate::app::supervisor::{self, SpawnError, SpawnOptions};
use crate::app::user::User;
use crate::cli::{Args, Cli};
use crate::config::{Config, Platform};
use crate::listeners::Listeners;
use crate::logger::Format;
use crate::proxy::Proxy;
use crate::resolv_conf::RewriteGuard;
use crate::upstream::check_ca_file;

/// From the words of the command line to an exit status.
fn run(words: Vec<OsString>) -> i32 {
    // First, so that a SIGTERM in our first millisecond still reaches the app.
    let blocked = sys::block_signals();
    logger::log_panics();
    let variables = cli::variables(env::vars_os());
    let args = match cli::parse(words.into_iter().skip(1), &variables) {
        Ok(Cli::Run(args)) => args,
        Ok(Cli::Check(args, name)) => {
            begin_log(&args);
            let config = Config::new(args, |name| env::var_os(name));
            let platform = config::platform(&config.args, |name| env::var_os(name));
            return check::run(&config, &platform, name.as_deref());
        }
        Ok(Cli::Print(text)) => return printed(print(&text), Format::Text, 0),
        Err(bad) => return fail(2, bad.log_format, &bad.sentence),
    };
    begin_log(&args);
    let code = run_app(args, blocked);
    log::logger().flush();
    code
}

fn begin_log(args: &Args) {
    logger::init(args.verbosity, args.log_format);
    for warning in &args.warnings {
        warn!("{warning}");
    }
}

/// From the flags to an exit status.
fn run_app(args: Args, blocked: io::Result<()>) -> i32 {
    let format = args.log_format;
    let command = &args.command;
    let user = match args.user.as_deref().map(User::lookup).transpose() {
        Ok(user) => user,
        Err(sentence) => return fail(2, format, &sentence),
    };
    let mut launch = SpawnOptions { command, user: user.as_ref(), env: &[] };
    let platform = config::platform(&args, |name| env::var_os(name));
    match platform {
        Platform::CloudRun(sign) => info!("on Cloud Run, by {sign}"),
        Platform::Remote => info!("not on Cloud Run; services are wanted, by -gcp_region"),
        Platform::Elsewhere(why) => {
            info!("not on Cloud Run ({why}): becoming {:?}", command[0]);
            return not_started(format, &supervisor::become_app(&launch));
        }
    }
    // Trust is never wider than was asked for, so this is more than a warning.
    if let Err(sentence) = args.ca_file.as_deref().map_or(Ok(()), check_ca_file) {
        return fail(2, format, &sentence);
    }
    if let Err(err) = blocked {
        return fail(1, format, &format!("cannot block signals: {err}"));
    }

    // All sockets are bound before the application starts, so that it never
    // meets a closed port; nothing is asked of the network before.
    let (ports, rewritten) = listeners::bind(&args, platform.way(&args));
    launch.env = ports.environment();
    let app = match supervisor::spawn(&launch) {
        Ok(app) => app,
        Err(err) => {
            listeners::give_back(rewritten.as_ref());
            return not_started(format, &err);
        }
    };

    // From here on we only log: if we exit, the container does. Served is from
    // threads of its own; until they are there, the sockets keep who comes.
    let questions = ports.waits();
    let rewritten = rewritten.map(Arc::new);
    let serve = || {
        let of_thread = rewritten.clone();
        let serve = move || serve(args, ports, of_thread.as_deref());
        if let Err(err) = listeners::spawn("serve", serve) {
            not_served(&err, rewritten.as_deref());
        }
    };
    let code = app.wait(questions, serve);
    listeners::give_back(rewritten.as_deref());
    code
}

/// Serves from this thread and those that it starts.
fn serve(args: Args, ports: Listeners, rewritten: Option<&RewriteGuard>) {
    let config = Config::new(args, |name| env::var_os(name));
    let served = ports.serve(&config, |nameservers, port, open| Proxy::new(&config, nameservers, port, open));
    if let Err(err) = served {
        not_served(&err, rewritten);
    }
}

/// Without threads nothing is served: names lead where they led before.
fn not_served(err: &io::Error, rewritten: Option<&RewriteGuard>) {
    listeners::give_back(rewritten);
    error!("cannot start a thread: {err}; services are not reached by name; raise the limit of processes");
}

fn not_started(format: Format, err: &SpawnError) -> i32 {
    fail(err.code, format, &err.to_string())
}

/// Writes to stdout. A reader that has left, as behind `| head`, is not an error.
fn print(text: &str) -> io::Result<()> {
    // Not print!, which panics where it cannot.
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// What to exit with where `code` is what there was to print.
fn printed(outcome: io::Result<()>, format: Format, code: i32) -> i32 {
    match outcome {
        Ok(()) => code,
        Err(err) => fail(1, format, &format!("cannot write to stdout: {err}")),
    }
}

fn fail(code: i32, format: Format, sentence: &str) -> i32 {
    logger::fatal(format, sentence);
    code
}
