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
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{net::UnixStream, sync::OnceCell};

use crate::Tcp;

/// Read once: the certificates of a machine are some hundred files, and parsing them takes longer than a request.
static TLS: OnceCell<ClientConfig> = OnceCell::const_new();

/// TLS with the machine's certificate store; a machine without one (a bare container) uses Mozilla's roots
/// as compiled in. The store is read at the first call of the process, on a thread for such work: connections of others
/// go on meanwhile.
///
/// # Errors
/// `Internal` where the cryptography speaks none of rustls' default versions of TLS.
pub(crate) async fn tls(tcp: Tcp) -> Result<HttpsConnector<Tcp>> {
    let read = || async {
        let read = tokio::task::spawn_blocking(config).await;
        read.map_err(|e| Error::internal("reading the certificate store", e))?
    };
    let config = TLS.get_or_try_init(read).await?.clone();
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(tcp))
}

/// The cryptography is named here: asked for rustls' default, a program into which another crate has brought a
/// second one panics at its first connection.
fn config() -> Result<ClientConfig> {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&crypto))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::internal("setting up TLS", e))
    };
    let roots = match builder()?.with_native_roots() {
        Ok(roots) => roots,
        Err(e) => {
            tracing::warn!(
                error = %e,
                "no certificate store on this machine: Mozilla's roots as of this build are used, so an authority of \
                 your own is not trusted; install ca-certificates, or name a file of certificates in SSL_CERT_FILE"
            );
            builder()?.with_webpki_roots()
        }
    };
    Ok(roots.with_no_client_auth())
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
