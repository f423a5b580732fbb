//! The one egress client: every byte that leaves the house for another server goes through here. Beside it what
//! all servers of models have in common: settings, how they are asked, answers as frames.
//!
//! Built on hyper directly, because it stands in the path of every token. Invariants: TCP_NODELAY on
//! every socket, a time limit on connecting and on silence, a size limit on what is collected, no proxy
//! from the environment, no redirects followed but in `follow`. TLS is set up at the first https call, not at start. A connection
//! is used on the runtime that opened it and no other.

mod answer;
pub mod client_key;
mod connect;
mod egress;
pub mod follow;
pub mod frames;
mod guard;
pub mod kept;
mod network;
mod offer;
mod parts;
pub mod setting;
pub mod upstream;
mod waits;

use bytes::Bytes;
use frontdesk_api::{Cx, Error, Kind, Result};
use http::{HeaderMap, Method, Uri};
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client as Pool, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};
use tokio::runtime;

pub use answer::{Answer, Body};
pub use client_key::{ClientKey, ClientKeys};
use connect::UnixConnector;
pub use egress::Outside;
pub use follow::Follow;
use guard::{Admits, NOT_PUBLIC, Resolver, literal};
pub use network::Network;
pub use offer::Offer;
pub use parts::{Call, Part};
pub use upstream::Upstream;

/// Time limits of one client.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the connection to stand, TLS not counted.
    pub connect: Duration,
    /// From sending the request to the answer's head: the model's thinking time when it does not stream.
    pub head: Duration,
    /// Longest silence inside an answer's body.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), head: Duration::from_secs(600), idle: Duration::from_secs(120) }
    }
}

/// Sends requests; keeps connections open between them. Cheap to clone is not needed: share it in an `Arc`.
pub struct Client {
    /// One set a runtime: a connection is driven by the runtime that opened it, and using it from another wakes a
    /// second thread for every piece that comes or goes.
    pools: RwLock<Vec<(runtime::Id, Arc<Pools>)>>,
    /// Where HTTP is spoken over this Unix socket, whatever host the URL names.
    socket: Option<PathBuf>,
    /// Servers elsewhere are not asked.
    admits: Admits,
    limits: Limits,
    #[cfg(test)]
    table: Option<guard::Table>,
}

/// The TCP of every connection.
type Tcp = HttpConnector<Resolver>;

/// The open connections of one runtime.
struct Pools {
    plain: Pool<Tcp, Full<Bytes>>,
    tls: OnceLock<Pool<HttpsConnector<Tcp>, Full<Bytes>>>,
    unix: Option<Pool<UnixConnector, Full<Bytes>>>,
}

impl Client {
    /// A client for the addresses an operator wrote into the configuration; those may be private ones.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            pools: RwLock::default(),
            socket: None,
            admits: Admits::All,
            limits,
            #[cfg(test)]
            table: None,
        }
    }

    /// A client for addresses that others name: it asks servers of the public internet and no others.
    #[must_use]
    pub fn public(limits: Limits) -> Self {
        Self::public_and(limits, vec![])
    }

    /// As [`Client::public`], and what the operator allows inside.
    #[must_use]
    pub fn public_and(limits: Limits, inside: Vec<Network>) -> Self {
        Self { admits: Admits::Public(inside.into()), ..Self::new(limits) }
    }

    /// With these addresses for names.
    #[cfg(test)]
    pub(crate) fn looking_up(
        mut self,
        table: impl Fn(&str) -> Vec<std::net::SocketAddr> + Send + Sync + 'static,
    ) -> Self {
        self.table = Some(Arc::new(table));
        self
    }

    /// A client that speaks HTTP over one Unix socket, whatever host the URL names.
    #[must_use]
    pub fn over_unix(socket: PathBuf, limits: Limits) -> Self {
        Self { socket: Some(socket), ..Self::new(limits) }
    }

    /// Those of the runtime this is called on.
    fn pools(&self) -> Arc<Pools> {
        let here = runtime::Handle::current().id();
        let find = |pools: &[(runtime::Id, Arc<Pools>)]| {
            pools.iter().find(|(id, _)| *id == here).map(|(_, pools)| Arc::clone(pools))
        };
        if let Some(pools) = find(&self.pools.read().unwrap_or_else(PoisonError::into_inner)) {
            return pools;
        }
        let mut all = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        find(&all).unwrap_or_else(|| {
            let pools = Arc::new(Pools {
                plain: pool().build(self.tcp()),
                tls: OnceLock::new(),
                unix: self.socket.clone().map(|socket| pool().build(UnixConnector::new(socket))),
            });
            all.push((here, Arc::clone(&pools)));
            pools
        })
    }

    fn tcp(&self) -> Tcp {
        let resolver = Resolver::new(self.admits.clone());
        #[cfg(test)]
        let resolver = resolver.with(self.table.clone());
        let mut connector = HttpConnector::new_with_resolver(resolver);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(self.limits.connect));
        connector.set_keepalive(Some(Duration::from_secs(60)));
        connector.enforce_http(false);
        connector
    }

    /// Sends one request and waits for the answer's head.
    ///
    /// # Errors
    /// `Upstream` when the server cannot be reached (or must not be, by [`Client::public`]) or does not speak HTTP, `Timeout` after `Limits::head`
    /// (or the deadline of `cx`), `Cancelled` when `cx` is, `Internal` where TLS cannot be set up.
    pub async fn send(&self, cx: &Cx, method: Method, uri: &Uri, headers: HeaderMap, body: Bytes) -> Result<Answer> {
        // A name is judged when it is looked up, an address that stands there itself is not.
        if uri.host().and_then(literal).is_some_and(|address| !self.admits.admits(address)) {
            let message = format!("cannot connect to {}: {NOT_PUBLIC}", place(uri));
            return Err(Error::upstream(message).with_code("unreachable"));
        }
        let mut request = http::Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        let pools = self.pools();
        // What is awaited is its own: it does not borrow the pools.
        let sent = if let Some(unix) = &pools.unix {
            unix.request(request)
        } else if uri.scheme_str() == Some("https") {
            let tls = match pools.tls.get() {
                Some(tls) => tls,
                None => {
                    let made = pool().build(connect::tls(self.tcp()).await?);
                    pools.tls.get_or_init(|| made)
                }
            };
            tls.request(request)
        } else {
            pools.plain.request(request)
        };
        let limit = cx.deadline.map_or(self.limits.head, |at| {
            at.saturating_duration_since(std::time::Instant::now()).min(self.limits.head)
        });
        let answer = tokio::select! {
            biased;
            () = cx.cancel.cancelled() => return Err(Error::cancelled()),
            answer = tokio::time::timeout(limit, sent) => answer,
        };
        match answer {
            Ok(Ok(response)) => Ok(Answer::new(response, cx.cancel.clone(), self.limits.idle)),
            Ok(Err(e)) => Err(unreachable(uri, e)),
            Err(_) => {
                let seconds = limit.as_secs();
                Err(Error::new(Kind::Timeout, format!("{} gave no answer within {seconds} s", place(uri))))
            }
        }
    }
}

fn pool() -> hyper_util::client::legacy::Builder {
    let mut builder = Pool::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(90));
    builder
}

/// Scheme, host and port: what an error may show of an address (paths and queries can hold secrets).
#[must_use]
pub fn place(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |a| a.as_str().rsplit('@').next().unwrap_or_default());
    format!("{}://{authority}", uri.scheme_str().unwrap_or("http"))
}

fn unreachable(uri: &Uri, e: hyper_util::client::legacy::Error) -> Error {
    let what = if e.is_connect() { "cannot connect to" } else { "no answer from" };
    let cause = root_cause(&e);
    Error::upstream(format!("{what} {}: {cause}", place(uri))).with_code("unreachable").with_source(e)
}

/// The innermost cause, which is the one people understand (`connection refused`).
fn root_cause(e: &dyn std::error::Error) -> String {
    let mut cause = e;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_port_is_named_without_path_or_password() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address");
        let uri: Uri = format!("http://user:secret@{free}/key=1").parse().expect("a uri");
        let sent = Client::new(Limits::default())
            .send(&Cx::internal("t", "r"), Method::GET, &uri, HeaderMap::new(), Bytes::new())
            .await;
        let error = sent.err().expect("nobody listens");
        assert_eq!(error.kind, Kind::Upstream);
        assert!(error.message.contains(&free.to_string()) && error.message.contains("refused"), "{}", error.message);
        assert!(!error.message.contains("secret") && !error.message.contains("key=1"), "{}", error.message);
    }

    #[tokio::test]
    async fn a_cancelled_request_ends_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let uri: Uri = format!("http://{}/", listener.local_addr().expect("address")).parse().expect("a uri");
        let cx = Cx::internal("t", "r");
        cx.cancel.cancel();
        let sent = Client::new(Limits::default()).send(&cx, Method::GET, &uri, HeaderMap::new(), Bytes::new()).await;
        assert_eq!(sent.err().expect("cancelled").kind, Kind::Cancelled);
    }
}
