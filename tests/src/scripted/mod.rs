//! The scripted upstream, for tests only: a real HTTP server that speaks the OpenAI wire from a script.
//!
//! It stands where a model provider stands, so that a test decides what the model says, byte by byte
//! if need be, and in which order things happen: a *gate* holds a stream until the test lets it go.
//! It never guesses: a request no step of the script matches is answered 500 and kept for the test to see.
//! `tests/src/scripted/README.md` shows the script's language and the control routes.

mod completion;
mod message;
mod reply;
mod script;
mod serve;
mod state;
mod vectors;

pub use script::{Reply, Script, Step, When};
pub use serve::serve;
pub use state::{Ended, Seen, Upstream};

use crate::PATIENCE;
use std::sync::Arc;

/// A scripted upstream of one test, on a thread of its own so that a test that blocks cannot starve it.
/// Dropping it closes its connections.
pub struct Scripted {
    url: String,
    upstream: Arc<Upstream>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Scripted {
    /// Starts on a free loopback port with an empty script.
    ///
    /// # Panics
    /// When no loopback port can be bound.
    #[must_use]
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("bind a loopback port");
        listener.set_nonblocking(true).expect("nonblocking listener");
        let url = format!("http://{}", listener.local_addr().expect("local address"));
        let upstream = Arc::new(Upstream::default());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = Arc::clone(&upstream);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("runtime of the scripted upstream");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("listener");
                tokio::select! {
                    () = serve(listener, served) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { url, upstream, stop: Some(stop), thread: Some(thread) }
    }

    /// `http://127.0.0.1:PORT`, without a path.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What belongs in a provider's `base_url`: the address with `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.url)
    }

    /// Replaces the script, as `PUT /_script` does. Requests already seen stay.
    ///
    /// # Panics
    /// When the script is not one; the message names the member.
    pub fn script(&self, script: serde_json::Value) {
        let script = Script::parse(script).unwrap_or_else(|e| panic!("script: {e}"));
        self.upstream.set_script(script);
    }

    /// Lets one stream pass gate `name`, now or when it gets there.
    pub fn release(&self, name: &str) {
        self.upstream.release(name);
    }

    /// Returns when a stream stands at gate `name`.
    ///
    /// # Panics
    /// When none came within [`PATIENCE`].
    pub async fn waiting(&self, name: &str) {
        let arrived = tokio::time::timeout(PATIENCE, self.upstream.waiting(name)).await;
        assert!(arrived.is_ok(), "no stream came to gate {name:?}; requests seen: {:#?}", self.requests());
    }

    /// Every request seen so far, oldest first, control requests excepted.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.upstream.requests()
    }

    /// Returns all requests once there are at least `n`.
    ///
    /// # Panics
    /// When they did not come within [`PATIENCE`].
    pub async fn requests_at_least(&self, n: usize) -> Vec<Seen> {
        match tokio::time::timeout(PATIENCE, self.upstream.at_least(n)).await {
            Ok(seen) => seen,
            Err(_) => panic!("fewer than {n} requests came; seen: {:#?}", self.requests()),
        }
    }

    /// How the answer to request `n` (from 0) ended, once it has.
    ///
    /// # Panics
    /// When it did not end within [`PATIENCE`].
    pub async fn ended(&self, n: usize) -> Ended {
        match tokio::time::timeout(PATIENCE, self.upstream.ended(n)).await {
            Ok(ended) => ended,
            Err(_) => panic!("the answer to request {n} did not end; seen: {:#?}", self.requests()),
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
