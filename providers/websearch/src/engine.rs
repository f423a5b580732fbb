//! Three engines' wires: what is asked, and where in the answer the pages are.

use bytes::Bytes;
use frontdesk_api::{Cx, Error, Kind as Trouble, Result, web::Page};
use frontdesk_http::{Client, setting};
use http::{HeaderMap, HeaderName, Method, Uri, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{config::Config, results};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// <https://api-dashboard.search.brave.com/app/documentation/web-search>
    Brave,
    /// <https://docs.tavily.com/documentation/api-reference/endpoint/search>
    Tavily,
    /// <https://docs.searxng.org/dev/search_api.html>
    Searxng,
}

/// The most of an answer that is read, in bytes.
const ANSWER: usize = 4 << 20;

/// Domains that are named in a question: questions have an end.
const MOST_NAMED: usize = 10;

pub(crate) struct Engine {
    config: Config,
    address: Uri,
    headers: HeaderMap,
}

impl Engine {
    /// # Errors
    /// `Invalid` naming the configuration key.
    pub(crate) fn new(config: Config) -> Result<Self> {
        let path = if config.kind == Kind::Brave { "web/search" } else { "search" };
        let address = setting::uri(&config.base_url, path)?;
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
        if let Some(key) = &config.api_key {
            let (name, value) = match config.kind {
                Kind::Brave => (HeaderName::from_static("x-subscription-token"), key.clone()),
                Kind::Tavily | Kind::Searxng => (header::AUTHORIZATION, format!("Bearer {key}")),
            };
            headers.insert(name, setting::secret("api_key", &value)?);
        }
        Ok(Self { config, address, headers })
    }

    /// Pages of the domains that `cx` names alone, where it names some: the engine is told so in its own way, and what it
    /// brings is looked at.
    ///
    /// # Errors
    /// `Upstream`, `Timeout`, `RateLimited`, `Cancelled`.
    pub(crate) async fn ask(&self, cx: &Cx, client: &Client, query: &str) -> Result<Vec<Page>> {
        let most = self.config.max_results;
        let domains = &cx.web_domains;
        if self.config.kind != Kind::Tavily && domains.len() > MOST_NAMED {
            let message = format!(
                "this search engine can be asked for pages of at most {MOST_NAMED} domains, and {} are allowed here",
                domains.len()
            );
            return Err(Error::invalid("allowed_domains", message));
        }
        let asked = within(query, domains);
        let encoded = utf8_percent_encode(&asked, NON_ALPHANUMERIC);
        let (method, uri, body) = match self.config.kind {
            Kind::Brave => (Method::GET, self.with(&format!("q={encoded}&count={most}"))?, Bytes::new()),
            Kind::Searxng => (Method::GET, self.with(&format!("q={encoded}&format=json"))?, Bytes::new()),
            Kind::Tavily => {
                let mut body = json!({ "query": query, "max_results": most, "search_depth": "basic" });
                if !domains.is_empty() {
                    body["include_domains"] = json!(domains);
                }
                (Method::POST, self.address.clone(), Bytes::from(body.to_string()))
            }
        };
        let mut headers = self.headers.clone();
        if method == Method::POST {
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        }
        let mut answer = client.send(cx, method, &uri, headers, body).await?;
        let said = answer.body.whole(ANSWER).await?;
        match answer.status.as_u16() {
            200..=299 => {}
            401 | 403 if self.config.kind == Kind::Searxng => {
                let message = "the search engine answers no JSON: allow 'json' under search.formats in its settings";
                return Err(Error::upstream(message));
            }
            401 | 403 => return Err(Error::upstream("the search engine refuses its key")),
            429 => {
                return Err(Error::new(
                    Trouble::RateLimited,
                    "the search engine has had too many questions; try later",
                ));
            }
            status => return Err(Error::upstream(format!("the search engine answered with status {status}"))),
        }
        let said: Value = serde_json::from_slice(&said)
            .map_err(|e| Error::upstream("the search engine answered no JSON").with_source(e))?;
        let list = if self.config.kind == Kind::Brave { said.pointer("/web/results") } else { said.get("results") };
        let words = if self.config.kind == Kind::Brave { "description" } else { "content" };
        let pages = list.and_then(Value::as_array).into_iter().flatten();
        let pages = pages.filter_map(|page| results::page(page, words));
        Ok(pages.filter(|page| domains.is_empty() || results::is_of(page, domains)).take(most).collect())
    }

    fn with(&self, query: &str) -> Result<Uri> {
        let whole = format!("{}?{query}", self.address);
        whole.parse().map_err(|e| Error::internal("making the address of a search", e))
    }
}

/// The question with the operator that Brave and the engines behind SearXNG know for domains.
fn within(query: &str, domains: &[String]) -> String {
    if domains.is_empty() {
        return query.to_owned();
    }
    let sites: Vec<String> = domains.iter().map(|domain| format!("site:{domain}")).collect();
    format!("{query} ({})", sites.join(" OR "))
}
