//! The listening end: accept, serve, drain.
//!
//! Sockets are nodelay from the first byte: with Nagle a stream's small frames wait 40 ms for an
//! acknowledgement. Invariant: after the stop signal nothing new is accepted, what is in flight may
//! end within `limits.drain_s`, and then the process ends whatever is left.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use frontdesk_api::{Error, Result};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use prometheus::IntGauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::{config::Limits, http::prefix::Prefixed, lanes::Lanes};

/// The most a connection buffers of a request head or of an answer that its client does not read, in bytes.
const BUFFER: usize = 64 * 1024;

/// Takes the address.
///
/// # Errors
/// `Invalid` naming the address and what to do.
pub async fn bind(listen: &str) -> Result<TcpListener> {
    TcpListener::bind(listen).await.map_err(|e| {
        let hint = match e.kind() {
            std::io::ErrorKind::AddrInUse => "; another program holds it: stop that or choose another with --listen",
            std::io::ErrorKind::PermissionDenied => "; ports below 1024 need rights: choose another with --listen",
            std::io::ErrorKind::InvalidInput => "; write it as host:port",
            _ => "",
        };
        Error::invalid("listen", format!("cannot listen on {listen}: {e}{hint}"))
    })
}

/// The address that was taken, where a client reaches it.
///
/// # Errors
/// `Internal` when the socket is gone.
pub fn address(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|e| Error::internal("asking the listening socket for its address", e))
}

/// Serves on `lanes`, counting connections in `open`, until `stop` resolves, then drains.
pub async fn serve(
    listener: TcpListener,
    router: Prefixed,
    limits: &Limits,
    lanes: &Lanes,
    open: &IntGauge,
    stop: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits.header_timeout_s))
        .max_buf_size(BUFFER);
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.ok();
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = &mut stop => break,
            accepted = accepted => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(e) => {
                // Out of file descriptors, mostly: others must end before the next can be taken.
                tracing::warn!("cannot accept a connection: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let stream = match stream.set_nodelay(true).and_then(|()| stream.into_std()) {
            Ok(stream) => stream,
            Err(e) => {
                tracing::debug!("a connection closed at once: {e}");
                continue;
            }
        };
        let Some(lane) = lanes.freest() else { continue };
        let service = TowerToHyperService::new(router.clone());
        let (http, watcher, counted) = (http.clone(), graceful.watcher(), Counted::new(open));
        lane.take(async move {
            let served = match TcpStream::from_std(stream) {
                Ok(stream) => watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await,
                Err(e) => return tracing::warn!("cannot serve a connection: {e}"),
            };
            if let Err(e) = served {
                tracing::debug!("a connection ended early: {e}");
            }
            drop((place, counted));
        });
    }
    drop(listener);
    tracing::info!(open = graceful.count(), "draining");
    let patience = Duration::from_secs(limits.drain_s);
    if tokio::time::timeout(patience, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests still in flight after {} s were cut off (limits.drain_s)", limits.drain_s);
    }
}

/// A connection in the count of those that are open, for as long as this lives.
struct Counted(IntGauge);

impl Counted {
    fn new(open: &IntGauge) -> Self {
        open.inc();
        Self(open.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Resolves on SIGTERM or SIGINT. They are heard from the call on, before the future is first polled.
pub fn stop_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let heard = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut term), Ok(mut int)) = heard else {
            tracing::warn!("cannot listen for signals; the server stops only when it is killed");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
}
