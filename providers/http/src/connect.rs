//! How connections are made: TLS roots, and HTTP over a Unix socket.

use std::{
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use frontdesk_api::{Error, Result};
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::Tcp;

/// TLS with the machine's certificate store; a machine without one (a bare container) uses Mozilla's roots
/// as compiled in.
///
/// The cryptography is named here: asked for rustls' default, a program into which another crate has brought a
/// second one panics at its first connection.
///
/// # Errors
/// `Internal` where the cryptography speaks none of rustls' default versions of TLS.
pub(crate) fn tls(tcp: Tcp) -> Result<HttpsConnector<Tcp>> {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let builder = match HttpsConnectorBuilder::new().with_provider_and_native_roots(Arc::clone(&crypto)) {
        Ok(builder) => builder,
        Err(e) => {
            tracing::info!(error = %e, "no certificate store on this machine, using the built-in roots");
            HttpsConnectorBuilder::new()
                .with_provider_and_webpki_roots(crypto)
                .map_err(|e| Error::internal("setting up TLS", e))?
        }
    };
    Ok(builder.https_or_http().enable_http1().wrap_connector(tcp))
}

/// Connects to one socket, whatever the URL says.
#[derive(Clone)]
pub(crate) struct UnixConnector(Arc<PathBuf>);

impl UnixConnector {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self(Arc::new(socket))
    }
}

impl tower::Service<Uri> for UnixConnector {
    type Response = TokioIo<UnixStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let socket = Arc::clone(&self.0);
        Box::pin(async move { Ok(TokioIo::new(UnixStream::connect(socket.as_path()).await?)) })
    }
}
