//! runsd stands in front of an application on Cloud Run, and lets `http://NAME` reach every service of the project,
//! authenticated.
//!
//! This file is the life of the process, in order, and the one place that puts its parts together. src/README.md has
//! the map.

#![cfg_attr(not(any(test, fuzzing)), no_main)] // sys::entry has it
#![cfg_attr(fuzzing, allow(dead_code, unused_imports, unused_macros))]

mod app;
mod auth;
mod check;
mod cli;
mod config;
mod dns;
#[cfg(any(test, fuzzing))]
#[path = "../tests/fuzz/checks.rs"]
pub mod fuzz;
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
use std::thread;

use log::{debug, error, info, warn};

use crate::app::supervisor::{self, SpawnError, SpawnOptions};
use crate::app::user::User;
use crate::cli::{Args, Cli};
use crate::config::{Config, Platform};
use crate::dns::nameservers::{Nameservers, Timeouts, is_own};
use crate::dns::zones::Zones;
use crate::listeners::{Listeners, restore_resolv_conf};
use crate::logger::Format;
use crate::proxy::Proxy;
use crate::resolv_conf::RewriteGuard;
use crate::tls::check_ca_file;

#[cfg(not(fuzzing))]
sys::entry::entry_point!(run);

/// Runs the command line `argv`, and returns the exit code.
fn run(argv: Vec<OsString>) -> i32 {
    // First, so that a SIGTERM in the first millisecond still reaches the application.
    let blocked = sys::block_signals();
    logger::log_panics();
    let variables = cli::variables(env::vars_os());
    let args = match cli::parse(argv.into_iter().skip(1), &variables) {
        Ok(Cli::Run(args)) => args,
        Ok(Cli::Check(args, name)) => {
            init_logger(&args);
            let config = Config::new(args, |name| env::var_os(name));
            let all_well = check::run(&config, name.as_deref(), print);
            return exit_code(all_well.map(|all_well| i32::from(!all_well)), config.args.log_format);
        }
        Ok(Cli::Print(text)) => return exit_code(print(&text).map(|()| 0), Format::Text),
        Err(err) => return fail(2, err.log_format, &err.sentence),
    };
    init_logger(&args);
    let code = run_app(Config::new(args, |name| env::var_os(name)), blocked);
    log::logger().flush();
    code
}

fn init_logger(args: &Args) {
    logger::init(args.verbosity, args.log_format);
    for warning in &args.warnings {
        warn!("{warning}");
    }
}

/// Starts the application, serves it until it ends, and returns the exit code. `blocked` is whether signals could be
/// blocked.
fn run_app(config: Config, blocked: io::Result<()>) -> i32 {
    let args = &config.args;
    let format = args.log_format;
    let user = match args.user.as_deref().map(User::lookup).transpose() {
        Ok(user) => user,
        Err(sentence) => return fail(2, format, &sentence),
    };
    let mut options = SpawnOptions { argv: &args.command, user: user.as_ref(), env: &[] };
    match config.platform {
        Platform::CloudRun(sign) => info!("on Cloud Run, by {sign}"),
        Platform::Remote => info!("not on Cloud Run; services are wanted, by -gcp_region"),
        Platform::Elsewhere(why) => {
            info!("not on Cloud Run ({why}): becoming {:?}", args.command[0]);
            return fail_to_start(format, &supervisor::exec(&options));
        }
    }
    // Not a warning: otherwise runsd would trust more than the user asked for.
    if let Err(sentence) = args.ca_file.as_deref().map_or(Ok(()), check_ca_file) {
        return fail(2, format, &sentence);
    }
    if let Err(err) = blocked {
        return fail(1, format, &format!("cannot block signals: {err}"));
    }

    // All sockets are bound before the application starts, so that it never meets a closed port.
    let listeners = listeners::bind(args, config.serve_mode());
    let rewritten = listeners.rewritten.clone();
    options.env = &listeners.app_env;
    let app = match supervisor::spawn(&options) {
        Ok(app) => app,
        Err(err) => {
            restore_resolv_conf(rewritten.as_deref());
            return fail_to_start(format, &err);
        }
    };

    // From here on runsd only logs: if it exits, the container does. Threads serve, started by the main one once the
    // application had its first moment; until then the kernel queues connections and datagrams.
    let poll_fds = listeners.poll_fds();
    let guard = rewritten.clone();
    let serve = move || serve(&config, listeners).unwrap_or_else(|err| stop_serving(&err, guard.as_deref()));
    let start_serving = || {
        spawn_thread("serve", serve).unwrap_or_else(|err| stop_serving(&err, rewritten.as_deref()));
    };
    let code = app.wait(poll_fds, start_serving);
    restore_resolv_conf(rewritten.as_deref());
    code
}

/// Builds what the threads share, and serves from the calling one and those it starts.
///
/// Blocks: for as long as the process runs.
///
/// # Errors
/// Where a thread cannot be started; then all sockets are closed.
fn serve(config: &Config, listeners: Listeners) -> io::Result<()> {
    // Before there is a token, and after the application was started, which may be dumped.
    sys::forbid_core_dumps();
    let own = listeners.dns.as_ref().map(dns::Sockets::local_addrs).unwrap_or_default();
    let resolv_conf = listeners.resolv_conf;
    let nameservers = config.nameservers(&resolv_conf, |address| is_own(address, &own));
    let nameservers = Arc::new(Nameservers::new(&nameservers, &own));
    let timeouts = Timeouts::within(resolv_conf.timeout());
    let ipv6 = listeners.proxy.as_ref().is_some_and(proxy::Sockets::ipv6);
    let dns_context = dns::ServerContext {
        zones: Zones { names: config.name_policy(), search: resolv_conf.search, ipv6 },
        nameservers: Arc::clone(&nameservers),
        timeouts,
    };
    let serve_dns = listeners.dns.map(|sockets| move || sockets.serve(dns_context));
    let Some(sockets) = listeners.proxy else {
        serve_dns.into_iter().for_each(|serve| serve());
        return Ok(());
    };
    if let Some(serve) = serve_dns {
        spawn_thread("dns", serve)?;
    }
    let proxy = Arc::new(Proxy::new(config, nameservers, sockets.port(), listeners.is_forward_proxy));
    let shared = Arc::clone(&proxy);
    let prefetch = move || {
        shared.prefetch();
        // After what the first request waits for.
        shared.limit_memory();
    };
    if let Err(err) = spawn_thread("prefetch", prefetch) {
        // The first request waits for it, then.
        debug!("no thread to prefetch: {err}");
        proxy.limit_memory();
    }
    sockets.serve(proxy);
    Ok(())
}

/// Has names lead where they led before, as there is no thread to serve them.
fn stop_serving(err: &io::Error, rewritten: Option<&RewriteGuard>) {
    restore_resolv_conf(rewritten);
    error!("cannot start a thread: {err}; services are not reached by name; raise the limit of processes");
}

/// Starts a thread that serves. Its stack is one for connections, as any of them may have to serve one.
fn spawn_thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = thread::Builder::new().name(name.to_owned()).stack_size(proxy::STACK_SIZE);
    builder.spawn(work).map(drop)
}

fn fail_to_start(format: Format, err: &SpawnError) -> i32 {
    fail(err.code, format, &err.to_string())
}

/// Writes to stdout. A reader that closed it, as behind `| head`, is not an error.
fn print(text: &str) -> io::Result<()> {
    // print! would panic on an error.
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Returns the exit code of what printed to stdout.
fn exit_code(outcome: io::Result<i32>, format: Format) -> i32 {
    outcome.unwrap_or_else(|err| fail(1, format, &format!("cannot write to stdout: {err}")))
}

fn fail(code: i32, format: Format, sentence: &str) -> i32 {
    logger::fatal(format, sentence);
    code
}
