//! Open connections of one runtime, each driven by the request that has it.
//!
//! A pool that drives its connections in tasks of their own wakes two tasks for every piece that comes; here the task
//! that waits for the answer reads the socket itself. HTTP/1.1 only, so a connection belongs to one request at a time.
//! Invariants: a connection goes back only when its answer is read to the end and it can take another request; one that
//! its server closed meanwhile is looked at before it is used; a request is sent again only where none of it went out.

use std::{
    collections::HashMap,
    error::Error as StdError,
    future::{Future as _, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use frontdesk_api::{Error, Result};
use http::{HeaderValue, Request, Response, Uri, header::HOST, uri::Authority};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{Connection, SendRequest, handshake},
    rt::{Read, Write},
};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::sync::OnceCell;
use tower::ServiceExt as _;

use crate::{
    connect::{self, UnixConnector},
    guard::Resolver,
};

/// The TCP of every connection.
pub(crate) type Tcp = HttpConnector<Resolver>;

/// How long a connection that nobody uses stays open. Servers close theirs after 5 s (Node) to 620 s (Google's load
/// balancers); 90 s is what Go's client and hyper's keep.
const IDLE: Duration = Duration::from_secs(90);

/// How often unused connections are looked at.
const SWEEP: Duration = Duration::from_secs(30);

/// What carries HTTP: a socket, bare or under TLS.
trait Carries: Read + Write + Send {}

impl<T: Read + Write + Send> Carries for T {}

type Io = Pin<Box<dyn Carries>>;

/// Whom a connection leads to: whether under TLS, and host and port.
type Place = (bool, Authority);

/// Why there is no answer.
pub(crate) enum Fault {
    /// No connection came to stand.
    Connect(Box<dyn StdError + Send + Sync>),
    /// One stood, and no answer came over it.
    Answer(hyper::Error),
    /// TLS cannot be set up.
    Setup(Error),
}

pub(crate) struct Pool {
    tcp: Tcp,
    tls: OnceCell<HttpsConnector<Tcp>>,
    /// Where HTTP is spoken over this Unix socket, whatever host the URL names.
    unix: Option<UnixConnector>,
    idle: Mutex<Idle>,
}

/// Connections that nobody uses.
#[derive(Default)]
struct Idle {
    open: HashMap<Place, Vec<(Wire, Instant)>>,
    /// Somebody comes by and closes what is old.
    swept: bool,
}

/// One connection: where requests go in, and what moves the bytes when it is polled.
struct Wire {
    sender: SendRequest<Full<Bytes>>,
    connection: Connection<Io, Full<Bytes>>,
}

impl Wire {
    /// Whether it can take a request now.
    fn usable(&mut self, cx: &mut Context<'_>) -> bool {
        // One that its server has closed ends here.
        Pin::new(&mut self.connection).poll(cx).is_pending() && self.sender.is_ready()
    }
}

/// A connection that an answer comes over. Dropped, it is closed.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    place: Place,
    wire: Wire,
}

impl Lease {
    /// Moves bytes; ready once the connection has ended, and not to be polled after that.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Pin::new(&mut self.wire.connection).poll(cx)
    }

    /// The answer is read to its end: others may have the connection.
    pub(crate) fn give_back(mut self, cx: &mut Context<'_>) {
        if self.wire.usable(cx) {
            self.pool.keep(self.place, self.wire);
        }
    }
}

impl Pool {
    pub(crate) fn new(tcp: Tcp, unix: Option<UnixConnector>) -> Arc<Self> {
        Arc::new(Self { tcp, tls: OnceCell::new(), unix, idle: Mutex::default() })
    }

    /// Sends a request whose URI is absolute; its answer's head, and the connection that the rest comes over.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Lease), Fault> {
        let uri = std::mem::take(request.uri_mut());
        let secure = uri.scheme_str() == Some("https");
        let authority = uri.authority().cloned().unwrap_or_else(|| Authority::from_static("localhost"));
        *request.uri_mut() = uri
            .path_and_query()
            .filter(|path| path.as_str() != "")
            .map_or_else(Uri::default, |path| path.clone().into());
        if !request.headers().contains_key(HOST) {
            request.headers_mut().insert(HOST, host(secure, &authority)?);
        }
        let place = (secure, authority);
        loop {
            let (wire, used) = match self.unused(&place).await {
                Some(wire) => (wire, true),
                None => (self.connect(&uri, secure).await?, false),
            };
            let mut lease = Lease { pool: Arc::clone(self), place: place.clone(), wire };
            let mut sent = pin!(lease.wire.sender.try_send_request(request));
            let mut ended = false;
            let answer = poll_fn(|cx| {
                if let Poll::Ready(answer) = sent.as_mut().poll(cx) {
                    return Poll::Ready(answer);
                }
                if !ended {
                    ended = Pin::new(&mut lease.wire.connection).poll(cx).is_ready();
                }
                sent.as_mut().poll(cx)
            });
            match answer.await {
                Ok(answer) => return Ok((answer, lease)),
                Err(mut error) => match error.take_message() {
                    // It was closed while nobody looked, and nothing went out.
                    Some(unsent) if used => request = unsent,
                    _ => return Err(Fault::Answer(error.into_error())),
                },
            }
        }
    }

    async fn connect(&self, uri: &Uri, secure: bool) -> Result<Wire, Fault> {
        let io: Io = if let Some(unix) = &self.unix {
            let made = unix.clone().oneshot(uri.clone()).await;
            Box::pin(made.map_err(|e| Fault::Connect(e.into()))?)
        } else if secure {
            let tls = self.tls.get_or_try_init(|| connect::tls(self.tcp.clone())).await.map_err(Fault::Setup)?;
            Box::pin(tls.clone().oneshot(uri.clone()).await.map_err(Fault::Connect)?)
        } else {
            let made = self.tcp.clone().oneshot(uri.clone()).await;
            Box::pin(made.map_err(|e| Fault::Connect(e.into()))?)
        };
        let (sender, connection) = handshake(io).await.map_err(Fault::Answer)?;
        Ok(Wire { sender, connection })
    }

    /// The connection that was used last, if it is still open.
    async fn unused(&self, place: &Place) -> Option<Wire> {
        loop {
            let (mut wire, since) = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                idle.open.get_mut(place)?.pop()?
            };
            if since.elapsed() < IDLE && poll_fn(|cx| Poll::Ready(wire.usable(cx))).await {
                return Some(wire);
            }
        }
    }

    fn keep(self: &Arc<Self>, place: Place, wire: Wire) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.open.entry(place).or_default().push((wire, Instant::now()));
        if !std::mem::replace(&mut idle.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what is old or closed at the other side; whether anything is left.
    fn tidy(&self) -> bool {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut nobody = Context::from_waker(Waker::noop());
        idle.open.retain(|_, wires| {
            wires.retain_mut(|(wire, since)| since.elapsed() < IDLE && wire.usable(&mut nobody));
            !wires.is_empty()
        });
        idle.swept = !idle.open.is_empty();
        idle.swept
    }
}

async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        if !pool.tidy() {
            return;
        }
    }
}

/// The header `Host`: no user, no port that the scheme has anyway (RFC 9110, 7.2).
fn host(secure: bool, authority: &Authority) -> Result<HeaderValue, Fault> {
    let usual = if secure { 443 } else { 80 };
    let name = match authority.port_u16() {
        Some(port) if port != usual => format!("{}:{port}", authority.host()),
        _ => authority.host().to_owned(),
    };
    HeaderValue::try_from(name).map_err(|e| Fault::Connect(e.into()))
}

#[cfg(test)]
mod tests;
