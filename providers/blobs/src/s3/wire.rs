//! The library's requests, sent by the one egress client.
//!
//! Invariant: what a server means by a refusal is read here, where its answer still is; the library hands it on as the
//! cause of its own error. Errors of servers (5xx) and 429 are left to the library, which asks again.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use async_trait::async_trait;
use frontdesk_api::{Cx, Error, Kind};
use frontdesk_http::Client;
use futures::{Stream, StreamExt as _, stream::BoxStream};
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    },
};

use super::refusal::{LONGEST, Named};

/// The way to one server.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) client: Arc<Client>,
    pub(super) named: Named,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.named.fmt(f)
    }
}

impl HttpConnector for Wire {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        // The library hands on no caller; one that leaves drops the call.
        let cx = Cx::internal("", "files");
        let mut answer = self.client.send(&cx, head.method, &head.uri, head.headers, body).await.map_err(lost)?;
        let status = answer.status;
        let again =
            status.is_server_error() || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
        if !status.is_success() && !again {
            let body = answer.body.beginning(LONGEST).await;
            return Err(HttpError::new(HttpErrorKind::Unknown, self.named.refusal(status, &body)));
        }
        let pieces = futures::stream::unfold(Some(answer.body), |body| async move {
            let mut body = body?;
            match body.piece().await {
                Ok(piece) => piece.map(|piece| (Ok(Frame::data(piece)), Some(body))),
                Err(error) => Some((Err(lost(error)), None)),
            }
        });
        let mut response = Response::new(HttpResponseBody::new(StreamBody::new(Shared(Mutex::new(pieces.boxed())))));
        *response.status_mut() = status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

/// As the library's retries understand it: all that is asked here may be asked twice.
fn lost(error: Error) -> HttpError {
    let kind = match (error.kind, error.code.as_deref()) {
        (Kind::Timeout, _) => HttpErrorKind::Timeout,
        (Kind::Upstream, Some("unreachable")) => HttpErrorKind::Connect,
        (Kind::Upstream, _) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}

/// A stream that may be shared, as the library wants it; only its owner reads it.
struct Shared<T>(Mutex<BoxStream<'static, T>>);

impl<T> Stream for Shared<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).poll_next_unpin(cx)
    }
}
