//! Where the worker listens, and how it ends.
//!
//! Invariant: a Unix socket is never reachable by others, not even for a moment: it is made inside a folder that only we
//! can enter, given mode 0600 and then moved to its place.

use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, UnixListener};

/// A bound listener.
pub(crate) enum Bound {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener, SocketAddr),
}

impl Bound {
    /// Binds a Unix socket with mode 0600, in place of whatever file a dead worker left there.
    ///
    /// # Errors
    /// Names the path and what is wrong with it (a length over the system's limit of 108 bytes, a living worker).
    pub(crate) fn unix(path: &Path) -> Result<Self, String> {
        let named = |what: &str, cause: &dyn std::fmt::Display| format!("socket {}: {what}: {cause}", path.display());
        let path = std::path::absolute(path).map_err(|cause| named("no absolute path", &cause))?;
        let folder = path.parent().ok_or_else(|| named("bind", &"it stands in no folder"))?;
        // The system's limit counts the closing zero byte.
        if path.as_os_str().len() > 107 {
            return Err(named("bind", &"the path is longer than 107 bytes"));
        }
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(named("bind", &"another process listens there"));
        }
        let private = folder.join(format!(".{}", std::process::id()));
        if private.as_os_str().len() > 104 {
            return Err(named("bind", &"the path leaves no room for a private folder beside it"));
        }
        std::fs::DirBuilder::new().mode(0o700).create(&private).map_err(|cause| named("private folder", &cause))?;
        let hidden = private.join("s");
        let bound = UnixListener::bind(&hidden)
            .and_then(|listener| {
                std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600))?;
                std::fs::rename(&hidden, &path)?;
                Ok(listener)
            })
            .map_err(|cause| named("bind", &cause));
        // What is left in it, if anything, is the socket of a failed bind.
        let _ = std::fs::remove_dir_all(&private);
        Ok(Self::Unix(bound?, path))
    }

    /// Binds a TCP address.
    ///
    /// # Errors
    /// Names the address.
    pub(crate) async fn tcp(address: SocketAddr) -> Result<Self, String> {
        let named = |cause: std::io::Error| format!("cannot listen on {address}: {cause}");
        let listener = TcpListener::bind(address).await.map_err(named)?;
        let address = listener.local_addr().map_err(named)?;
        Ok(Self::Tcp(listener, address))
    }

    /// Serves until `stop`, then lets running answers end within `drain`.
    ///
    /// # Errors
    /// The listener broke.
    pub(crate) async fn serve(
        self,
        router: Router,
        stop: impl Future<Output = ()> + Send + 'static,
        drain: Duration,
    ) -> Result<(), String> {
        let (begin, begun) = tokio::sync::oneshot::channel();
        let stopping = async move {
            stop.await;
            let _ = begin.send(());
        };
        let late = async move {
            // A dropped sender means that serving ended before any stop.
            if begun.await.is_ok() {
                tokio::time::sleep(drain).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let path = match &self {
            Self::Unix(_, path) => Some(path.clone()),
            Self::Tcp(..) => None,
        };
        let serving = async {
            match self {
                Self::Unix(listener, _) => axum::serve(listener, router).with_graceful_shutdown(stopping).await,
                Self::Tcp(listener, _) => {
                    let listener = listener.tap_io(|stream| {
                        // Small frames must not wait for each other.
                        let _ = stream.set_nodelay(true);
                    });
                    axum::serve(listener, router).with_graceful_shutdown(stopping).await
                }
            }
        };
        let served = tokio::select! {
            served = serving => served.map_err(|cause| format!("serving: {cause}")),
            () = late => {
                tracing::warn!("running answers did not end within {drain:?}");
                Ok(())
            }
        };
        if let Some(path) = path {
            let _ = std::fs::remove_file(path);
        }
        served
    }
}

/// Resolves on SIGTERM or Ctrl-C.
///
/// # Errors
/// The handlers could not be set.
pub(crate) fn signals() -> Result<impl Future<Output = ()> + Send + 'static, String> {
    use tokio::signal::unix::{SignalKind, signal};
    let set = |kind| signal(kind).map_err(|cause| format!("signal handler: {cause}"));
    let (mut terminate, mut interrupt) = (set(SignalKind::terminate())?, set(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Ends the process when standard input is closed, that is when the parent is gone, however it went.
pub(crate) fn end_with_parent(socket: Option<PathBuf>) {
    std::thread::spawn(move || {
        let mut nowhere = std::io::sink();
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut nowhere);
        if let Some(path) = socket {
            let _ = std::fs::remove_file(path);
        }
        // At once: nobody is left to read what running answers would still say.
        std::process::exit(0);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_private_and_replaces_what_a_dead_worker_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let bound = Bound::unix(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let refused = Bound::unix(&path).err().unwrap();
        assert!(refused.contains("another process listens there"), "{refused}");
        drop(bound);
    }

    #[test]
    fn a_path_over_the_systems_limit_is_named() {
        let path = Path::new("/").join("x".repeat(110));
        assert!(Bound::unix(&path).err().unwrap().contains("longer than 107 bytes"));
    }
}
