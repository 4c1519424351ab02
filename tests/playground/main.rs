//! A page to try runsd from: `runsd -- playground` serves it on `PORT`.
//!
//! The browser asks this server, and this server asks services by their names,
//! as any application behind runsd does. It proxies nowhere else (`target.rs`),
//! lets in only whom it should (`guard.rs`), and shows no token (`elide.rs`).

mod check;
mod container;
mod elide;
mod events;
mod guard;
mod lookup;
mod resolv_conf;
mod respond;
mod send;
mod settings;
mod target;
mod websocket;

use std::convert::Infallible;
use std::env;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ring::rand::{SecureRandom, SystemRandom};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use tokio::net::TcpListener;

use self::respond::Playground;
use self::settings::Settings;

fn main() -> ExitCode {
    // Off Cloud Run it may be PID 1 itself, which no signal ends by default.
    for (signal, code) in [(SIGINT, 130), (SIGTERM, 0)] {
        let always = Arc::new(AtomicBool::new(true));
        let _ = flag::register_conditional_shutdown(signal, code, always);
    }
    let served = Settings::from_env(|key| env::var(key).ok().filter(|text| !text.is_empty())).and_then(|settings| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|err| format!("cannot start: {err}"))?;
        runtime.block_on(serve(settings))
    });
    match served {
        Ok(never) => match never {},
        Err(problem) => {
            eprintln!("playground: {problem}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(settings: Settings) -> Result<Infallible, String> {
    let listener = listen(&settings).await?;
    println!("playground: {}", settings.greeting());
    let playground = Arc::new(Playground::new(settings));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let playground = playground.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let playground = playground.clone();
                async move { Ok::<_, Infallible>(playground.respond(request).await) }
            });
            // How a connection ends is the browser's affair.
            let _ =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn listen(settings: &Settings) -> Result<TcpListener, String> {
    let mut outcome = Err("no address to listen at".to_owned());
    for address in settings.addresses() {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(err) => outcome = Err(format!("cannot listen at {address}: {err}")),
        }
    }
    outcome
}

/// Bytes that nobody can guess: ids of DNS queries, masks of WebSocket frames.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The kernel has them from its first second on.
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes
}
