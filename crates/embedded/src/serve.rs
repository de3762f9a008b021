//! An OpenAI-compatible server over llama.cpp: HTTP on a small runtime, the engine on a thread of
//! its own that computes one step of all running requests at a time.

mod ask;
mod engine;
mod metrics;
mod refusal;
mod reply;
mod routes;
mod sampler;
mod slots;
mod stream;
mod text;

use std::future::Future;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::serve::ListenerExt;
use loadline_clock::monotonic_ns;
use loadline_schema::engine::FlashAttention;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::llama::{self, ContextOptions, KvType, Model};

/// How long running requests may go on after the server was told to end.
const GRACE: Duration = Duration::from_secs(5);

/// What to serve, and how.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The GGUF file.
    pub model: PathBuf,
    /// Name that clients ask for; none: the file's name without its ending.
    pub name: Option<String>,
    /// Where to listen; port 0: the system chooses one.
    pub listen: SocketAddr,
    /// Requests that are computed together.
    pub parallel: u32,
    /// Tokens that one request may have, prompt and answer together.
    pub context_per_slot: u32,
    /// Threads of the engine.
    pub threads: u32,
    /// Layers on the GPU.
    pub gpu_layers: u32,
    /// Most tokens of one step, at least `parallel`.
    pub n_batch: u32,
    /// Most tokens that are computed at once.
    pub n_ubatch: u32,
    /// Flash attention.
    pub flash_attention: FlashAttention,
    /// Type of the keys in the KV cache (`f16`, `q8_0`, …).
    pub type_k: String,
    /// Type of the values in the KV cache.
    pub type_v: String,
    /// Whether the weights are mapped instead of read.
    pub mmap: bool,
    /// Requests that may wait; one more is answered by status 503.
    pub queue: u32,
    /// Send a chunk for every token at once, incomplete characters as U+FFFD: for models of
    /// random weights, whose bytes are no text. Otherwise a character is held back until it is
    /// complete, and its chunk stands for all of its tokens.
    pub every_token_visible: bool,
}

impl ServeOptions {
    /// One model on a free port of the loopback address: 4 requests together, 2048 tokens each.
    pub fn new(model: PathBuf) -> Self {
        Self {
            model,
            name: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            parallel: 4,
            context_per_slot: 2048,
            threads: 1,
            gpu_layers: 0,
            n_batch: 2048,
            n_ubatch: 512,
            flash_attention: FlashAttention::Auto,
            type_k: "f16".to_owned(),
            type_v: "f16".to_owned(),
            mmap: true,
            queue: 1024,
            every_token_visible: false,
        }
    }

    /// The name that clients ask for.
    fn served_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            self.model.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into())
        })
    }

    /// What the engine's context needs, or why it cannot be.
    fn context(&self) -> Result<ContextOptions, Error> {
        let positive: [(&'static str, u32); 5] = [
            ("parallel", self.parallel),
            ("context_per_slot", self.context_per_slot),
            ("threads", self.threads),
            ("n_batch", self.n_batch),
            ("n_ubatch", self.n_ubatch),
        ];
        if let Some((setting, value)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(Error::setting(setting, value, "at least 1 is needed"));
        }
        let most = llama::most_sequences();
        if self.parallel as usize > most {
            let reason = format!("llama.cpp takes at most {most}");
            return Err(Error::setting("parallel", self.parallel, reason));
        }
        if self.n_batch < self.parallel {
            let reason = format!("a step needs a token for each of {} requests", self.parallel);
            return Err(Error::setting("n_batch", self.n_batch, reason));
        }
        if self.threads > llama::MOST_THREADS {
            let reason = format!("llama.cpp takes at most {}", llama::MOST_THREADS);
            return Err(Error::setting("threads", self.threads, reason));
        }
        Ok(ContextOptions {
            sequences: self.parallel,
            tokens: self.context_per_slot,
            n_batch: self.n_batch,
            n_ubatch: self.n_ubatch,
            n_outputs: self.parallel,
            threads: self.threads,
            flash_attention: self.flash_attention,
            type_k: KvType::of_name("type_k", &self.type_k)?,
            type_v: KvType::of_name("type_v", &self.type_v)?,
        })
    }
}

/// What the engine's thread and the HTTP side share.
struct Shared {
    name: String,
    /// Start of the server, seconds since the Unix epoch.
    created: u64,
    parallel: u32,
    context_per_slot: u32,
    every_token_visible: bool,
    /// The model, once it is loaded.
    loaded: OnceLock<Arc<Model>>,
    metrics: metrics::Metrics,
    /// When running requests must end, on the monotonic clock in ns; `u64::MAX`: not ending.
    end_at_ns: AtomicU64,
}

impl Shared {
    fn new(options: &ServeOptions) -> Self {
        Self {
            name: options.served_name(),
            created: loadline_clock::unix_ns() / 1_000_000_000,
            parallel: options.parallel,
            context_per_slot: options.context_per_slot,
            every_token_visible: options.every_token_visible,
            loaded: OnceLock::new(),
            metrics: metrics::Metrics::default(),
            end_at_ns: AtomicU64::new(u64::MAX),
        }
    }

    /// From now on no request is taken, and running ones end soon.
    fn end(&self) {
        self.end_at_ns.store(monotonic_ns() + GRACE.as_nanos() as u64, Ordering::Release);
    }

    fn is_ending(&self) -> bool {
        self.end_at_ns.load(Ordering::Acquire) != u64::MAX
    }

    fn must_end_now(&self) -> bool {
        self.end_at_ns.load(Ordering::Acquire) <= monotonic_ns()
    }
}

/// Serves until `shutdown` is ready: then no request is taken, running ones have 5 seconds.
/// `listening` is called as soon as connections are accepted; `/health` answers 503 until the
/// model is loaded.
///
/// # Errors
///
/// Settings that cannot work, an address that is in use, a model that cannot be loaded or does
/// not fit in memory.
pub fn serve(
    options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), Error> {
    let context = options.context()?;
    let address = options.listen;
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(Error::Server)?;
    let shared = Arc::new(Shared::new(&options));
    let (jobs, taken) = sync_channel((options.queue.saturating_add(options.parallel)) as usize);
    let (alive, ended) = oneshot::channel::<()>();
    let engine = std::thread::Builder::new().name("engine".to_owned()).spawn({
        let shared = Arc::clone(&shared);
        let options = options.clone();
        move || {
            let result = engine::run(&options, context, &shared, &taken);
            drop(alive);
            result
        }
    });
    let engine = engine.map_err(Error::Server)?;
    listening(bound);
    let router = routes::router(Arc::clone(&shared), jobs, options.queue);
    let served = runtime.block_on(answer(listener, router, Arc::clone(&shared), async {
        tokio::select! {
            () = shutdown => {}
            _ = ended => {}
        }
    }));
    shared.end();
    // Handlers hold the engine's queue: the engine ends when they are gone.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match engine.join() {
        Ok(result) => result?,
        Err(_) => return Err(Error::Engine { reason: "it panicked".to_owned() }),
    }
    served.map_err(Error::Server)
}

/// Accepts connections until `end` is ready, then waits for the open ones a little.
async fn answer(
    listener: TcpListener,
    router: axum::Router,
    shared: Arc<Shared>,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    // Each token is a packet of its own: Nagle's algorithm would hold it back.
    let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    let (ending, told) = oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        end.await;
        shared.end();
        drop(ending);
    });
    tokio::select! {
        result = server.into_future() => result,
        () = async {
            let _ = told.await;
            tokio::time::sleep(GRACE + Duration::from_secs(1)).await;
        } => Ok(()),
    }
}

/// Ready when the process is told to end (SIGTERM, SIGINT) or its standard input closes, as it
/// does when the parent that holds the other end of the pipe dies.
pub async fn ended_by_signal_or_parent() {
    use tokio::signal::unix::{SignalKind, signal};
    let (open, closed) = oneshot::channel::<()>();
    let reader = std::thread::Builder::new().name("parent".to_owned()).spawn(move || {
        let mut buffer = [0_u8; 256];
        let mut input = std::io::stdin().lock();
        while input.read(&mut buffer).is_ok_and(|count| count > 0) {}
        drop(open);
    });
    let signals = signal(SignalKind::terminate()).and_then(|terminate| {
        signal(SignalKind::interrupt()).map(|interrupt| (terminate, interrupt))
    });
    let parent = async {
        match reader {
            Ok(_) => drop(closed.await),
            Err(_) => std::future::pending().await,
        }
    };
    let Ok((mut terminate, mut interrupt)) = signals else { return parent.await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = parent => {}
    }
}
