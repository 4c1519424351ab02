//! The process of the servers: every door of the platform, and who stands
//! behind it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_rustls::TlsAcceptor;

use crate::body::{self, Answer, Problem};
use crate::namespaces::{
    self, BILLING, CONTROL, DIRECT, EXTERNAL, FRONT_END, LINK_LOCAL, METADATA, OVER_IPV6, SECOND_NAMESERVER,
};
use crate::options::Options;
use crate::world::World;
use crate::{certificates, control, direct, frontend, metadata, nameserver, publish, scripted};

/// Serves until the keeper goes. The authority's certificate on stdout says
/// that all is open.
pub fn run(options: Options) -> Result<ExitCode, String> {
    namespaces::die_with_parent()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|err| format!("cannot start the servers: {err}"))?;
    runtime.block_on(async {
        let authority = open_all(&options).map_err(|err| format!("cannot serve: {err}"))?;
        print!("{authority}");
        let _ = io::stdout().flush();
        // The keeper reads to the end: that is its sign to go on.
        let null = std::fs::File::create("/dev/null").map_err(|err| err.to_string())?;
        nix::unistd::dup2_stdout(null).map_err(|err| err.to_string())?;
        future::pending().await
    })
}

fn open_all(options: &Options) -> Result<String, Problem> {
    let world = Arc::new(World::new());
    let (tls, authority) = certificates::make(world.clone())?;
    let doors =
        Arc::new(Doors { world, tls: TlsAcceptor::from(tls), open: Mutex::default(), inside: Mutex::default() });
    for room in ["metadata", "dns", "frontend", "direct", "billing", "external", "control"] {
        doors.open(room)?;
    }
    if options.publish.is_some() {
        publish::serve()?;
    }
    if let Some(path) = &options.control {
        doors.clone().unix(path)?;
    }
    Ok(authority)
}

/// The listening sockets by room, so that one can be shut and opened again,
/// and the connections that came in through them.
pub struct Doors {
    pub world: Arc<World>,
    tls: TlsAcceptor,
    open: Mutex<BTreeMap<String, Vec<JoinHandle<()>>>>,
    inside: Mutex<BTreeMap<String, Vec<AbortHandle>>>,
}

impl Doors {
    /// Opens a room's doors, unless they are.
    pub fn open(self: &Arc<Self>, room: &str) -> io::Result<()> {
        if lock(&self.open).contains_key(room) {
            return Ok(());
        }
        let doors = match room {
            "metadata" => vec![self.listen(METADATA, 80, "metadata")?],
            "dns" => self.nameservers()?,
            "frontend" => vec![self.listen(FRONT_END, 443, "frontend")?, self.listen(FRONT_END, 80, "cleartext")?],
            "direct" => vec![self.listen(DIRECT, 80, "direct")?],
            "billing" => [BILLING, OVER_IPV6]
                .into_iter()
                .map(|address| self.listen(address, 443, "billing"))
                // There may be no IPv6 here.
                .filter(|door| door.is_ok() || tcp(OVER_IPV6, 0).is_ok())
                .collect::<io::Result<_>>()?,
            "external" => vec![self.listen(EXTERNAL, 80, "external")?, self.listen(EXTERNAL, 81, "plain")?],
            "control" => vec![self.listen(CONTROL, 80, "control")?],
            _ => Vec::new(),
        };
        lock(&self.open).insert(room.to_owned(), doors);
        Ok(())
    }

    /// From when this returns, the room's ports refuse connections. Those that
    /// are there stay.
    pub async fn close(&self, room: &str) {
        let doors = lock(&self.open).remove(room).unwrap_or_default();
        for door in doors {
            door.abort();
            let _ = door.await;
        }
    }

    /// Ends the room's connections as a crash would.
    pub fn cut(&self, room: &str) {
        for connection in lock(&self.inside).remove(room).unwrap_or_default() {
            connection.abort();
        }
    }

    fn listen(self: &Arc<Self>, address: &str, port: u16, site: &'static str) -> io::Result<JoinHandle<()>> {
        let listener = tcp(address, port)?;
        let doors = self.clone();
        Ok(tokio::spawn(async move {
            loop {
                let Ok((stream, from)) = listener.accept().await else {
                    continue;
                };
                let _ = stream.set_nodelay(true);
                let connection = tokio::spawn(connection(doors.clone(), stream, from, site));
                let mut inside = lock(&doors.inside);
                let inside = inside.entry(site.to_owned()).or_default();
                inside.retain(|connection| !connection.is_finished());
                inside.push(connection.abort_handle());
            }
        }))
    }

    fn nameservers(self: &Arc<Self>) -> io::Result<Vec<JoinHandle<()>>> {
        let mut doors = Vec::new();
        for address in [METADATA, SECOND_NAMESERVER, OVER_IPV6, LINK_LOCAL] {
            let socket = match UdpSocket::bind(socket_address(address, 53)?) {
                // There is no IPv6 here.
                Err(_) if [OVER_IPV6, LINK_LOCAL].contains(&address) => continue,
                bound => bound?,
            };
            socket.set_nonblocking(true)?;
            let socket = net::UdpSocket::from_std(socket)?;
            doors.push(tokio::spawn(nameserver::udp(self.world.clone(), socket)));
            let listener = tcp(address, 53)?;
            doors.push(tokio::spawn(nameserver::tcp(self.world.clone(), listener)));
        }
        Ok(doors)
    }

    fn unix(self: Arc<Self>, path: &Path) -> io::Result<()> {
        let listener = net::UnixListener::bind(path)?;
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let doors = self.clone();
                tokio::spawn(plain(stream, move |request| {
                    control::answer(doors.world.clone(), doors.clone(), request)
                }));
            }
        });
        Ok(())
    }
}

async fn connection(doors: Arc<Doors>, stream: net::TcpStream, from: SocketAddr, site: &str) {
    let world = doors.world.clone();
    world.count("connections", site);
    match site {
        "metadata" => plain(stream, move |request| metadata::answer(world.clone(), request)).await,
        "control" => {
            plain(stream, move |request| control::answer(world.clone(), doors.clone(), request)).await;
        }
        "external" => plain(stream, move |request| external(world.clone(), request)).await,
        "plain" => scripted::serve(&world, site, stream).await,
        "direct" => direct::serve(world, stream).await,
        "cleartext" => plain(stream, frontend::to_https).await,
        "billing" => frontend::serve(world, doors.tls.clone(), stream, from, true).await,
        _ => frontend::serve(world, doors.tls.clone(), stream, from, false).await,
    }
}

/// HTTP/1.1 without TLS.
async fn plain<S, F, A>(stream: S, answer: F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> A,
    A: Future<Output = Answer>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    // The client's end of it is not ours to report.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// `external.example`: any server of the internet that is not ours.
async fn external(world: Arc<World>, request: Request<Incoming>) -> Answer {
    let host = frontend::host_of(&request);
    world.count("requests", &host);
    world.remember(&host, frontend::described(&request));
    body::text(StatusCode::OK, format!("external.example, asked for {}\n", request.uri()))
}

fn tcp(address: &str, port: u16) -> io::Result<net::TcpListener> {
    let listener = TcpListener::bind(socket_address(address, port)?)?;
    listener.set_nonblocking(true)?;
    net::TcpListener::from_std(listener)
}

/// The number of the one interface there is.
const LOOPBACK: u32 = 1;

fn socket_address(address: &str, port: u16) -> io::Result<SocketAddr> {
    let mut address = SocketAddr::new(address.parse().map_err(io::Error::other)?, port);
    if let SocketAddr::V6(on_a_link) = &mut address
        && on_a_link.ip().is_unicast_link_local()
    {
        on_a_link.set_scope_id(LOOPBACK);
    }
    Ok(address)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
