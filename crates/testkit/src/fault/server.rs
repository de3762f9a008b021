//! Starting and stopping a fault server, and asking what it saw.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use rustls::ServerConfig;

use super::action::Script;
use super::play::{Player, Shared};
use super::received::ReceivedRequest;
use super::socket::{Listener, Plain, Socket};
use crate::tls::ServerCert;

type Chooser = Box<dyn Fn(usize) -> Script + Send>;

/// How a fault server is to be set up.
pub struct FaultBuilder {
    chooser: Chooser,
    unix: Option<PathBuf>,
    tls: Option<Arc<ServerConfig>>,
}

impl fmt::Debug for FaultBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultBuilder").field("unix", &self.unix).finish_non_exhaustive()
    }
}

impl FaultBuilder {
    /// Listens on a unix socket instead of 127.0.0.1.
    #[must_use]
    pub fn unix(mut self, path: impl Into<PathBuf>) -> Self {
        self.unix = Some(path.into());
        self
    }

    /// Speaks TLS with this certificate.
    #[must_use]
    pub fn tls(mut self, cert: &ServerCert) -> Self {
        self.tls = Some(cert.config());
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When the socket cannot be opened (a test's assertion).
    pub fn start(self) -> FaultServer {
        self.try_start().expect("the fault server starts")
    }

    fn try_start(self) -> io::Result<FaultServer> {
        let (listener, address) = if let Some(path) = &self.unix {
            (Listener::Unix(UnixListener::bind(path)?), None)
        } else {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            let address = listener.local_addr()?;
            (Listener::Tcp(listener), Some(address))
        };
        let shared = Arc::new(Shared::default());
        let is_tls = self.tls.is_some();
        let unix = self.unix.clone();
        let seen = Arc::clone(&shared);
        let thread = spawn(move || accept(&listener, &seen, &self));
        Ok(FaultServer { shared, address, unix, is_tls, thread: Some(thread) })
    }
}

fn accept(listener: &Listener, shared: &Arc<Shared>, builder: &FaultBuilder) {
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    while let Ok(plain) = listener.accept() {
        let Ok(hold) = plain.try_clone() else { break };
        let Some(number) = shared.begin(hold) else { break };
        let script = (builder.chooser)(number);
        let tls = builder.tls.clone();
        let shared = Arc::clone(shared);
        threads.push(spawn(move || {
            play(&shared, number, plain, tls.as_ref(), &script);
            shared.end(number);
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn play(
    shared: &Shared,
    number: usize,
    plain: Plain,
    tls: Option<&Arc<ServerConfig>>,
    script: &Script,
) {
    if let Ok(socket) = Socket::new(plain, tls) {
        Player::new(shared, number, socket).play(script);
    }
}

/// A server that plays a script on every connection; stops when dropped.
#[derive(Debug)]
pub struct FaultServer {
    shared: Arc<Shared>,
    address: Option<SocketAddr>,
    unix: Option<PathBuf>,
    is_tls: bool,
    thread: Option<JoinHandle<()>>,
}

impl FaultServer {
    /// Starts on a free port of 127.0.0.1; every connection plays `script`. Panics as
    /// [`FaultBuilder::start`] does.
    pub fn start(script: Script) -> Self {
        Self::with(script).start()
    }

    /// To be set up further; every connection plays `script`.
    pub fn with(script: Script) -> FaultBuilder {
        Self::choosing(move |_| script.clone())
    }

    /// To be set up further; connection n (from 0) plays what `choose(n)` returns.
    pub fn choosing(choose: impl Fn(usize) -> Script + Send + 'static) -> FaultBuilder {
        FaultBuilder { chooser: Box::new(choose), unix: None, tls: None }
    }

    /// Its TCP address.
    ///
    /// # Panics
    /// When it listens on a unix socket.
    pub fn addr(&self) -> SocketAddr {
        self.address.expect("a server on a unix socket has no address")
    }

    /// `http://127.0.0.1:PORT`, or `https://localhost:PORT` with TLS. Panics as [`Self::addr`].
    pub fn url(&self) -> String {
        let address = self.addr();
        if self.is_tls {
            format!("https://localhost:{}", address.port())
        } else {
            format!("http://{address}")
        }
    }

    /// The path of its unix socket, if it is one.
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix.as_deref()
    }

    /// Every request read so far, in the order in which they were whole.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.shared.requests()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// Connections whose script has not ended.
    pub fn open_connections(&self) -> usize {
        self.shared.open_connections()
    }

    /// Waits until `count` requests were read; false when `limit` passed first.
    pub fn wait_for_requests(&self, count: usize, limit: Duration) -> bool {
        self.shared.wait(limit, |requests, _| requests >= count)
    }

    /// Waits until no script is being played; false when `limit` passed first.
    pub fn wait_until_idle(&self, limit: Duration) -> bool {
        self.shared.wait(limit, |_, open| open == 0)
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.shared.stop();
        // Wakes the accepting thread, which then finds that the server stops.
        match (&self.address, &self.unix) {
            (Some(address), _) => drop(TcpStream::connect(address)),
            (None, Some(path)) => drop(UnixStream::connect(path)),
            (None, None) => {}
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(path) = &self.unix {
            let _ = std::fs::remove_file(path);
        }
    }
}
