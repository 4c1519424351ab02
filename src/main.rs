//! runsd: put before an application on Cloud Run, it lets `http://NAME` reach
//! every service of the project, authenticated.
//!
//! `run` is the life of the process, in order. The rooms it leads to:
//! `cli`, `config` and `logger` are the front; `supervisor`, `user` and `sys`
//! look after the application; `dns` answers for our names and passes on the
//! others; `proxy` takes the requests to where `service` and `destination`
//! say, with what `tokens` has from `metadata`.

#![cfg_attr(not(test), no_main)] // it is in sys::start

mod check;
mod cli;
mod config;
mod destination;
mod dns;
mod here;
mod logger;
mod metadata;
mod ports;
mod proxy;
mod resolv_conf;
mod secret;
mod service;
mod supervisor;
mod sys;
mod tokens;
mod user;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::sync::Arc;

use log::{error, info};

use crate::cli::{Args, Cli};
use crate::config::{Config, Platform};
use crate::ports::Ports;
use crate::proxy::Proxy;
use crate::resolv_conf::Rewritten;
use crate::supervisor::{Launch, SpawnError};
use crate::user::User;

/// From the words of the command line to an exit status.
fn run(words: Vec<OsString>) -> i32 {
    // First, so that a SIGTERM in our first millisecond still reaches the app.
    let signals = supervisor::catch();
    let variables = sys::environment::beginning_with(cli::VARIABLES);
    let args = match cli::parse(words.into_iter().skip(1), &variables) {
        Ok(Cli::Run(args)) => args,
        Ok(Cli::Check(args, name)) => {
            logger::init(args.verbosity, args.log_format);
            let config = Config::new(args, |name| env::var_os(name));
            let platform = config::platform(&config.args, |name| env::var_os(name));
            return check::run(&config, &platform, name.as_deref());
        }
        Ok(Cli::Print(text)) => {
            let mut out = io::stdout();
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
            return 0;
        }
        Err(sentence) => return fail(2, &sentence),
    };
    logger::init(args.verbosity, args.log_format);
    let command = &args.command;
    match config::platform(&args, |name| env::var_os(name)) {
        Platform::CloudRun(sign) => info!("on Cloud Run, by {sign}"),
        Platform::Elsewhere(why) => {
            info!("not on Cloud Run ({why}): becoming {:?}", command[0]);
            return not_started(&supervisor::become_app(command));
        }
    }
    let user = match args.user.as_deref().map(User::lookup).transpose() {
        Ok(user) => user,
        Err(sentence) => return fail(2, &sentence),
    };
    let signals = match signals {
        Ok(signals) => signals,
        Err(err) => return fail(1, &format!("cannot catch signals: {err}")),
    };

    // All sockets are bound before the application starts, so that it never
    // meets a closed port; nothing is asked of the network before.
    let (ports, rewritten) = ports::bind(&args);
    let launch = Launch {
        command,
        user: user.as_ref(),
        env: ports.environment(),
    };
    let app = match supervisor::spawn(&launch) {
        Ok(app) => app,
        Err(err) => {
            ports::give_back(rewritten.as_ref());
            return not_started(&err);
        }
    };

    // From here on we only log: if we exit, the container does. Served is from
    // threads of its own; until they are there, the sockets keep who comes.
    let questions = ports.waits();
    let rewritten = rewritten.map(Arc::new);
    let serve = || {
        let of_thread = rewritten.clone();
        let serve = move || serve(args, ports, of_thread.as_deref());
        if let Err(err) = ports::spawn("serve", serve) {
            not_served(&err, rewritten.as_deref());
        }
    };
    let code = app.wait(&signals, questions, serve);
    ports::give_back(rewritten.as_deref());
    info!("the application ended; exit code {code}");
    code
}

/// Serves from this thread and those that it starts.
fn serve(args: Args, ports: Ports, rewritten: Option<&Rewritten>) {
    sys::start_is_over();
    let config = Config::new(args, |name| env::var_os(name));
    let served = ports.serve(&config, |nameservers, port, open| {
        Proxy::new(&config, nameservers, port, open)
    });
    if let Err(err) = served {
        not_served(&err, rewritten);
    }
}

/// Without threads nothing is served: names lead where they led before.
fn not_served(err: &io::Error, rewritten: Option<&Rewritten>) {
    ports::give_back(rewritten);
    error!(
        "cannot start a thread: {err}; services are not reached by name; raise the limit of processes"
    );
}

fn not_started(err: &SpawnError) -> i32 {
    fail(err.code, &err.to_string())
}

fn fail(code: i32, sentence: &str) -> i32 {
    // Where stderr is closed there is no one left to tell.
    let _ = writeln!(io::stderr(), "runsd: {sentence}");
    code
}
