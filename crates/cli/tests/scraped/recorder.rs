//! A proxy for pages of metrics that numbers each page and keeps it.

#![allow(clippy::unwrap_used, reason = "tests: a failed step fails the test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::exchange;

/// A page that went through, and the head of the request for it.
#[derive(Clone, Debug)]
pub(crate) struct Scraped {
    pub(crate) request: String,
    pub(crate) page: String,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    /// Lines that begin with this are left out of pages.
    without: Option<&'static str>,
    pages: Vec<Scraped>,
}

/// Passes requests for pages on. Each page gets a counter `loadline_page_total` with its number from 0,
/// so that a stored sample tells which page it is of.
pub(crate) struct Recorder {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Recorder {
    pub(crate) fn start(upstream: SocketAddr, without: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { upstream, without, pages: Vec::new() }));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&state), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // One that closes without a request is no page.
                let _ = stream.and_then(|stream| answer(stream, &shared));
            }
        });
        Self { address, state, stop, thread: Some(thread) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Another server stands at this address from now on.
    pub(crate) fn turn_to(&self, upstream: SocketAddr) {
        self.state.lock().unwrap().upstream = upstream;
    }

    /// Every page so far, by its number.
    pub(crate) fn pages(&self) -> Vec<Scraped> {
        self.state.lock().unwrap().pages.clone()
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4_096]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&buffer[..count]),
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let mut state = state.lock().unwrap();
    let ask = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (_, told) = exchange(state.upstream, ask)?;
    let kept = |line: &&str| state.without.is_none_or(|name| !line.starts_with(name));
    let mut page: String = told.lines().filter(kept).flat_map(|line| [line, "\n"]).collect();
    let number = state.pages.len();
    page += &format!("# TYPE loadline_page_total counter\nloadline_page_total {number}\n");
    let length = page.len();
    let head =
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain; version=0.0.4\r\n";
    let whole = format!("{head}Content-Length: {length}\r\n\r\n{page}");
    state.pages.push(Scraped { request, page });
    drop(state);
    stream.write_all(whole.as_bytes())
}
