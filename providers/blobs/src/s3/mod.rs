//! A bucket of an S3-compatible store: `<prefix>/<tenant>/<key>`.
//!
//! What is longer than a part is sent in parts, one in memory at a time. Invariants: an object is there whole or not
//! (the server sees to that); what an upload left that never came to its end is ended when its key is deleted; nothing
//! is asked for ever: retries are bounded in number and time.

mod config;
mod refusal;
mod uploads;
mod wire;

use std::{future::Future, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use frontdesk_api::{
    Blobs, Cx, Error, Kind, Result,
    blobs::Pieces,
    provider::{Health, Setting, Status},
};
use frontdesk_http::{Client, place};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{
    BackoffConfig, GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _, PutOptions, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder, AwsCredential},
    multipart::MultipartStore as _,
    path::Path,
};
use serde_json::Value;

use self::{config::Config, refusal::Named, uploads::Uploads, wire::Wire};

/// Bytes of a part. S3 takes 5 MiB to 5 GiB and 10,000 parts ("Amazon S3 multipart upload limits").
const PART: usize = 8 << 20;

/// How often one request is sent again, and within which time the last attempt begins.
const RETRIES: usize = 3;
const RETRY_WITHIN: Duration = Duration::from_secs(30);

pub struct S3 {
    store: AmazonS3,
    uploads: Uploads,
    named: Named,
    prefix: String,
}

impl S3 {
    /// # Errors
    /// `Invalid` on the key at fault.
    pub fn of(setting: &Setting, config: Value) -> Result<Self> {
        let config = Config::of(config)?;
        let bucket_url = config.bucket_url()?;
        let uri = bucket_url.parse().map_err(|_| Error::invalid("endpoint", "endpoint is not a URL"))?;
        let named = Named {
            id: setting.id.clone(),
            bucket: config.bucket.clone(),
            server: place(&uri),
            region: config.region.clone(),
        };
        let wire = Wire { client: Arc::new(Client::new(config.limits())), named: named.clone() };
        let keys = AwsCredential {
            key_id: config.access_key_id.clone(),
            secret_key: config.secret_access_key.clone(),
            token: config.session_token(),
        };
        let backoff =
            BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2. };
        let mut builder = AmazonS3Builder::new()
            .with_http_connector(wire.clone())
            .with_retry(RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_WITHIN })
            .with_region(&config.region)
            .with_bucket_name(&config.bucket)
            // The bucket is in the address already, whichever way.
            .with_endpoint(&bucket_url)
            .with_virtual_hosted_style_request(true)
            .with_allow_http(bucket_url.starts_with("http://"))
            // Servers beside Amazon's do not all know the request that deletes many.
            .with_disable_bulk_delete(true)
            .with_access_key_id(&keys.key_id)
            .with_secret_access_key(&keys.secret_key);
        if let Some(token) = &keys.token {
            builder = builder.with_token(token);
        }
        let store = builder.build().map_err(|e| Error::new(Kind::Invalid, e.to_string()))?;
        let uploads = Uploads { wire, bucket_url, keys, region: config.region };
        Ok(Self { store, uploads, named, prefix: config.prefix })
    }

    fn location(&self, cx: &Cx, key: &str) -> Path {
        let prefix = self.prefix.split('/').filter(|part| !part.is_empty());
        Path::from_iter(prefix.chain([cx.tenant.as_str(), key]))
    }

    fn explain(&self) -> impl Fn(object_store::Error) -> Error + Copy + '_ {
        |error| self.named.explain(error)
    }

    async fn put_parts(&self, at: &Path, first: Bytes, mut parts: Parts<'_>) -> Result<()> {
        let id = self.store.create_multipart(at).await.map_err(self.explain())?;
        let sent = async {
            let (mut part, mut done) = (first, vec![]);
            while !part.is_empty() {
                let last = part.len() < PART;
                done.push(self.store.put_part(at, &id, done.len(), part.into()).await.map_err(self.explain())?);
                part = if last { Bytes::new() } else { parts.next().await? };
            }
            self.store.complete_multipart(at, &id, done).await.map_err(self.explain())
        };
        let Err(mut error) = sent.await else { return Ok(()) };
        if error.kind == Kind::NotFound {
            // Somebody ended the upload; a second look at one that came whole says so too. Sent again, it is stored.
            let message = format!("the file store '{}' ended an upload before it was whole", self.named.id);
            error = Error::unavailable(message).with_source(error);
        }
        // Where that fails, too, `delete` finds it.
        if let Err(also) = self.store.abort_multipart(at, &id).await {
            tracing::debug!(error = %also, "an upload in parts could not be ended");
        }
        Err(error)
    }

    async fn delete_all(&self, at: &Path) -> Result<()> {
        gone(self.store.delete(at).await.map_err(self.explain()))?;
        for id in self.uploads.of(at.as_ref()).await? {
            gone(self.store.abort_multipart(at, &id).await.map_err(self.explain()))?;
        }
        Ok(())
    }
}

/// That there is nothing of it is as good.
fn gone(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if error.kind == Kind::NotFound => Ok(()),
        done => done,
    }
}

/// Ends with the caller's time or interest.
async fn within<T>(cx: &Cx, work: impl Future<Output = Result<T>>) -> Result<T> {
    let over = async {
        match cx.deadline {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = cx.cancel.cancelled() => Err(Error::cancelled()),
        () = over => Err(Error::new(Kind::Timeout, "the request's time was over before the file store had answered")),
        done = work => done,
    }
}

#[async_trait]
impl Blobs for S3 {
    async fn put(&self, cx: &Cx, key: &str, content: Pieces<'_>) -> Result<()> {
        let at = self.location(cx, key);
        let put = async {
            let mut parts = Parts { content, rest: Bytes::new() };
            let first = parts.next().await?;
            if first.len() == PART {
                return self.put_parts(&at, first, parts).await;
            }
            let sent = self.store.put_opts(&at, first.into(), PutOptions::default()).await;
            sent.map(|_| ()).map_err(self.explain())
        };
        within(cx, put).await
    }

    async fn get(&self, cx: &Cx, key: &str, range: Option<Range<u64>>) -> Result<Pieces<'static>> {
        if range.as_ref().is_some_and(Range::is_empty) {
            return Ok(frontdesk_api::blobs::whole(Bytes::new()));
        }
        let (at, range) = (self.location(cx, key), range.map(GetRange::Bounded));
        let options = GetOptions { range, ..GetOptions::default() };
        let got = async { self.store.get_opts(&at, options).await.map_err(self.explain()) };
        let (got, named) = (within(cx, got).await?, self.named.clone());
        Ok(got.into_stream().map_err(move |error| named.explain(error)).boxed())
    }

    async fn delete(&self, cx: &Cx, key: &str) -> Result<()> {
        let at = self.location(cx, key);
        within(cx, self.delete_all(&at)).await
    }

    async fn health(&self) -> Health {
        let Named { bucket, server, .. } = &self.named;
        // A key that nobody has, so the answer is short whatever is in the bucket.
        match self.uploads.of(&format!("{}/.health", self.prefix)).await {
            Ok(_) => Health { message: Some(format!("bucket '{bucket}' at {server}")), ..Health::default() },
            Err(error) => Health { status: Status::Error, message: Some(error.message), facts: None },
        }
    }
}

/// A content cut into parts.
struct Parts<'c> {
    content: Pieces<'c>,
    /// What came beyond the part before.
    rest: Bytes,
}

impl Parts<'_> {
    /// The next part; one that is shorter than [`PART`] is the last.
    async fn next(&mut self) -> Result<Bytes> {
        let mut part = BytesMut::new();
        loop {
            let fits = self.rest.len().min(PART - part.len());
            part.extend_from_slice(&self.rest.split_to(fits));
            if part.len() == PART {
                return Ok(part.freeze());
            }
            match self.content.try_next().await? {
                Some(piece) => self.rest = piece,
                None => return Ok(part.freeze()),
            }
        }
    }
}
