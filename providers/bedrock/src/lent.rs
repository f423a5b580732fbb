//! Keys that are lent for some hours, and the places that lend them: EC2's metadata service, and the credential
//! services of ECS and EKS.
//!
//! Sources: "Amazon EC2 User Guide", instance metadata service version 2 and security credentials of a role; "AWS SDKs
//! and Tools Reference Guide", container credential provider. Invariant: neither keys nor the token that gets them are
//! ever shown.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use frontdesk_api::{Clock, Cx, Error, Micros, Result, clock::day, inference::CREDENTIALS};
use frontdesk_http::{
    Client, Limits,
    kept::{Kept, Loan},
    setting,
};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use serde::Deserialize;

use crate::sign::Keys;

/// Keys are renewed this long before they end, as AWS's own libraries do at the latest (botocore,
/// `RefreshableCredentials`, mandatory refresh).
const EARLY: Micros = 10 * 60 * 1_000_000;

/// These places are near and do not think.
const LIMITS: Limits =
    Limits { connect: Duration::from_secs(2), head: Duration::from_secs(5), idle: Duration::from_secs(5) };

/// Largest answer of these places, in bytes.
const LARGEST: usize = 64 * 1024;

/// Where EC2's metadata service is on every machine.
const METADATA: &str = "http://169.254.169.254";

/// Who lends the keys, as an operator writes it under `credentials`. Unknown keys are refused.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    pub from: Lender,
    /// `container`: the address that the service gives to the container. `instance`: where the metadata service is,
    /// if not where it is on every machine.
    #[serde(default)]
    pub url: Option<String>,
    /// `container`: a file with the token that the service wants, read at every fetch: it changes.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lender {
    /// EC2, through the role of the machine.
    Instance,
    /// ECS, through the role of the task; EKS, through Pod Identity.
    Container,
}

/// Fetches keys and keeps them while they are good.
pub(crate) struct Lent {
    provider: String,
    region: String,
    from: Lender,
    url: Uri,
    token_file: Option<PathBuf>,
    client: Client,
    clock: Arc<dyn Clock>,
    kept: Kept<Arc<Keys>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: String,
}

impl Lent {
    /// # Errors
    /// `Invalid` naming the configuration key.
    pub(crate) fn new(provider: &str, region: &str, credentials: &Credentials, clock: Arc<dyn Clock>) -> Result<Self> {
        let url = match (credentials.url.as_deref().filter(|url| !url.is_empty()), credentials.from) {
            (Some(url), _) => url,
            (None, Lender::Instance) => METADATA,
            (None, Lender::Container) => {
                let message = "credentials.url is missing: the address that the service gave to the container";
                return Err(Error::invalid("credentials.url", message));
            }
        };
        let bad = || Error::invalid("credentials.url", format!("credentials.url '{url}' is not a URL with a host"));
        let url: Uri = url.parse().map_err(|_| bad())?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.authority().is_none() {
            return Err(bad());
        }
        Ok(Self {
            provider: provider.to_owned(),
            region: region.to_owned(),
            from: credentials.from,
            url,
            token_file: credentials.token_file.clone().filter(|path| !path.as_os_str().is_empty()),
            client: Client::new(LIMITS),
            clock,
            kept: Kept::new(EARLY),
        })
    }

    /// The keys of now.
    ///
    /// # Errors
    /// `Upstream` when nobody lends any; as [`Client::send`].
    pub(crate) async fn keys(&self, cx: &Cx) -> Result<Arc<Keys>> {
        let fetched = async {
            self.fetch(cx).await.map_err(|mut e| {
                e.message = format!("provider '{}' has no keys: {}", self.provider, e.message);
                e
            })
        };
        self.kept.get(&*self.clock, fetched).await
    }

    async fn fetch(&self, cx: &Cx) -> Result<Loan<Arc<Keys>>> {
        let answer = match self.from {
            Lender::Container => self.ask(cx, Method::GET, self.url.clone(), self.authorization().await?).await?,
            Lender::Instance => self.of_the_machine(cx).await?,
        };
        let unreadable = || Error::upstream("what came is not a set of keys").with_code(CREDENTIALS);
        let answer: Answer = serde_json::from_slice(&answer).map_err(|_| unreadable())?;
        let keys = Keys {
            id: answer.access_key_id,
            secret: answer.secret_access_key,
            token: Some(answer.token),
            region: self.region.clone(),
        };
        keys.check().map_err(|_| unreadable())?;
        let ends = time(&answer.expiration).ok_or_else(unreadable)?;
        Ok(Loan { value: Arc::new(keys), ends })
    }

    /// Version 2: a token first, with it the name of the machine's role, with both the keys.
    async fn of_the_machine(&self, cx: &Cx) -> Result<Bytes> {
        let at = |path: &str| setting::uri(&self.url.to_string(), path);
        let mut headers = HeaderMap::new();
        headers.insert("x-aws-ec2-metadata-token-ttl-seconds", HeaderValue::from_static("21600"));
        let token = self.ask(cx, Method::PUT, at("latest/api/token")?, headers).await?;
        let token = setting::secret("credentials", String::from_utf8_lossy(&token).trim())?;
        let headers =
            || HeaderMap::from_iter([(http::HeaderName::from_static("x-aws-ec2-metadata-token"), token.clone())]);
        let roles = "latest/meta-data/iam/security-credentials/";
        let role = self.ask(cx, Method::GET, at(roles)?, headers()).await?;
        let role = String::from_utf8_lossy(&role);
        let role = role.lines().next().unwrap_or_default().trim();
        self.ask(cx, Method::GET, at(&format!("{roles}{}", crate::sign::encoded(role)))?, headers()).await
    }

    async fn authorization(&self) -> Result<HeaderMap> {
        let Some(path) = &self.token_file else { return Ok(HeaderMap::new()) };
        let token = tokio::fs::read_to_string(path)
            .await
            .map_err(|e| Error::upstream(format!("cannot read {}: {e}", path.display())).with_code(CREDENTIALS))?;
        Ok(HeaderMap::from_iter([(header::AUTHORIZATION, setting::secret("credentials.token_file", token.trim())?)]))
    }

    async fn ask(&self, cx: &Cx, method: Method, uri: Uri, headers: HeaderMap) -> Result<Bytes> {
        let mut answer = self.client.send(cx, method, &uri, headers, Bytes::new()).await?;
        let body = answer.body.whole(LARGEST).await?;
        if answer.status.is_success() {
            return Ok(body);
        }
        let message = format!("{} answered {}", uri.host().unwrap_or_default(), answer.status.as_u16());
        Err(Error::upstream(message).with_code(CREDENTIALS))
    }
}

/// `2026-11-24T03:48:21Z`.
fn time(text: &str) -> Option<Micros> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let mut parts = clock.split('.').next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(((day(date)? * 24 + hours) * 3600 + minutes * 60 + seconds) * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Oracle: `date -u -d 2026-11-24T03:48:21Z +%s`.
    #[test]
    fn the_end_of_a_loan_is_read() {
        assert_eq!(time("2026-11-24T03:48:21Z"), Some(1_795_492_101_000_000));
        assert_eq!(time("2026-11-24T03:48:21.5Z"), Some(1_795_492_101_000_000));
        for bad in ["", "2026-11-24", "2026-02-30T00:00:00Z", "2026-11-24T03:48Z", "2026-11-24T03:48:21+01:00"] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }
}
