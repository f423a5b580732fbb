//! From a key to a `Cx`: who asks, for which tenant, with which scopes, and on behalf of which end customer.
//!
//! Routes are listed by the scope they need (`http::every_route`); the edge asks here before it lets a request through.
//! Invariants: no handler of a list with a scope runs without a verified key that holds it; where a request names an end
//! customer, no handler that takes a [`Caller`] runs unless the customer's token was verified, whatever the route does
//! with it.

use std::collections::HashMap;

use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderMap, Method, header, request::Parts},
};
use frontdesk_api::{Cx, Error, Kind, Scope, customer::CUSTOMER_TOKEN, cx::Customer, reuse::CacheControl};
use subtle::ConstantTimeEq as _;
use utoipa::openapi::Paths;

use crate::{app::App, problem::Early, provider_data::client_keys};

/// The longest `traceparent` that is passed on; the W3C form has 55 characters.
const MAX_TRACEPARENT: usize = 128;

/// Names the conversation a request is part of: a route may keep it on one target.
const SESSION: &str = "x-frontdesk-session";

/// The longest name of a conversation that is looked at, in bytes.
const MAX_SESSION: usize = 256;

/// Which key each route asks for.
#[derive(Default)]
pub struct Gates(HashMap<String, Vec<(Method, Option<Scope>)>>);

impl Gates {
    /// Routes whose keys must hold `scope`; None: they need no key.
    pub(crate) fn put(&mut self, routes: &Paths, scope: Option<Scope>) {
        for (path, item) in &routes.paths {
            let methods = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ];
            let had = methods.into_iter().filter(|(_, operation)| operation.is_some());
            self.0.entry(path.clone()).or_default().extend(had.map(|(method, _)| (method, scope)));
        }
    }

    /// Verifies the key that `route` asks for and puts the caller's `Cx` into the request. `route`: the template that
    /// answers it, None where nothing does.
    ///
    /// # Errors
    /// `Unauthenticated`, `Forbidden`.
    pub(crate) fn admit(
        &self,
        app: &App,
        route: Option<&str>,
        id: &str,
        request: &mut Request,
    ) -> frontdesk_api::Result<()> {
        if let Some(scope) = route.and_then(|route| self.scope(route, request.method())) {
            let cx = caller(app, scope, request.headers(), id.to_owned())?;
            request.extensions_mut().insert(cx);
        }
        Ok(())
    }

    /// A route that is in no list is the administrator's. A method that a route has not is answered with 405.
    fn scope(&self, route: &str, method: &Method) -> Option<Scope> {
        let Some(methods) = self.0.get(route) else { return Some(Scope::Admin) };
        // Axum answers HEAD by the handler for GET.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        methods.iter().find(|(has, _)| has == method).and_then(|(_, scope)| *scope)
    }
}

fn caller(app: &App, scope: Scope, headers: &HeaderMap, request_id: String) -> frontdesk_api::Result<Cx> {
    let key = key(headers)?;
    let caller = app.accounts.authenticate(key)?;
    let mut cx = Cx::new(caller.tenant.clone(), caller.principal.clone(), request_id);
    cx.traceparent = traceparent(headers);
    cx.session = session(headers);
    if app.takes_client_keys {
        cx.client_keys = client_keys(headers)?;
    }
    if app.reuses_answers {
        let values = headers.get_all(header::CACHE_CONTROL).iter();
        cx.cache = CacheControl::read(values.filter_map(|value| value.to_str().ok()));
    }
    cx.require(scope)?;
    Ok(cx)
}

/// Lets in who runs the installation: a key with the scope `admin`, or `own`, a key for this one thing.
///
/// # Errors
/// `Unauthenticated`; `Forbidden` for a good key without the scope.
pub(crate) fn operator(app: &App, headers: &HeaderMap, own: Option<&str>) -> frontdesk_api::Result<()> {
    let given = key(headers)?;
    if own.is_some_and(|own| own.as_bytes().ct_eq(given.as_bytes()).into()) {
        return Ok(());
    }
    caller(app, Scope::Admin, headers, String::new()).map(drop)
}

/// `Authorization: Bearer KEY`, else `x-api-key: KEY`. One that holds no text is as good as absent.
fn key(headers: &HeaderMap) -> frontdesk_api::Result<&str> {
    let given = |key: &&str| !key.is_empty();
    let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| {
        let (scheme, key) = v.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    let plain = || headers.get("x-api-key").and_then(|v| v.to_str().ok()).map(str::trim);
    bearer.filter(given).or_else(plain).filter(given).ok_or_else(|| {
        let message = "no API key: send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'";
        Error::new(Kind::Unauthenticated, message).with_code("missing_api_key")
    })
}

fn traceparent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let good = value.len() <= MAX_TRACEPARENT && value.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    good.then(|| value.to_owned())
}

/// The conversation that a client names: 1 to 256 visible ASCII characters, else it is as good as absent.
fn session(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(SESSION)?.to_str().ok()?;
    (1..=MAX_SESSION).contains(&value.len()).then(|| value.to_owned())
}

/// The end customer that a request names; None: it names none.
async fn customer(app: &App, cx: &Cx, headers: &HeaderMap) -> frontdesk_api::Result<Option<Customer>> {
    let refused = |why: &str| {
        let error = Error::new(Kind::Unauthenticated, format!("{CUSTOMER_TOKEN} {why}"));
        error.with_param(CUSTOMER_TOKEN).with_code("invalid_customer_token")
    };
    let mut given = headers.get_all(CUSTOMER_TOKEN).iter();
    let Some(token) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(refused("came more than once: a request is one customer's"));
    }
    let token = token.to_str().map_err(|_| refused("must hold a signed JWT, which is ASCII"))?;
    app.accounts.verify_customer(cx, token.trim()).await.map(Some)
}

/// The verified caller, as handlers take it.
pub struct Caller(pub Cx);

impl FromRequestParts<App> for Caller {
    type Rejection = Early;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Early> {
        // Absent only where a route was listed without a scope: refuse rather than guess.
        let Some(mut cx) = parts.extensions.remove::<Cx>() else {
            return Err(Error::new(Kind::Unauthenticated, "this route was reached without a verified key").into());
        };
        cx.customer = customer(app, &cx, &parts.headers).await?;
        Ok(Self(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (header::HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn a_route_that_no_list_has_is_the_administrators() {
        let mut gates = Gates::default();
        let item = utoipa::openapi::PathItem::new(
            utoipa::openapi::HttpMethod::Get,
            utoipa::openapi::path::Operation::default(),
        );
        let paths = utoipa::openapi::PathsBuilder::new().path("/v1/things", item).build();
        gates.put(&paths, Some(Scope::Use));
        assert_eq!(gates.scope("/v1/things", &Method::GET), Some(Scope::Use));
        assert_eq!(gates.scope("/v1/things", &Method::HEAD), Some(Scope::Use));
        assert_eq!(gates.scope("/v1/things", &Method::POST), None, "405, by the router");
        assert_eq!(gates.scope("/v1/others", &Method::GET), Some(Scope::Admin));
    }

    #[test]
    fn a_key_comes_as_bearer_or_as_x_api_key() {
        assert_eq!(key(&headers(&[("authorization", "Bearer abc")])).expect("bearer"), "abc");
        assert_eq!(key(&headers(&[("authorization", "bearer abc")])).expect("any case"), "abc");
        assert_eq!(key(&headers(&[("x-api-key", "abc")])).expect("anthropic's way"), "abc");
        // OGX's client sends both, one of them empty.
        assert_eq!(
            key(&headers(&[("authorization", "Bearer "), ("x-api-key", "abc")])).expect("the one that is there"),
            "abc"
        );
        for none in [&[][..], &[("authorization", "Basic abc")], &[("x-api-key", "")]] {
            assert_eq!(key(&headers(none)).expect_err("no key").kind, Kind::Unauthenticated);
        }
    }

    #[test]
    fn a_conversation_has_a_name_of_bounded_length() {
        assert_eq!(session(&headers(&[(SESSION, "order 7")])).as_deref(), Some("order 7"));
        assert_eq!(session(&headers(&[(SESSION, "")])), None);
        let long: &'static str = "x".repeat(MAX_SESSION + 1).leak();
        assert_eq!(session(&headers(&[(SESSION, long)])), None);
    }

    #[test]
    fn only_a_wellformed_traceparent_travels_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(&headers(&[("traceparent", good)])).as_deref(), Some(good));
        assert_eq!(traceparent(&headers(&[("traceparent", "00-x\t1")])), None);
    }
}
