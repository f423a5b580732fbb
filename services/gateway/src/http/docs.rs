//! `/openapi.json` and `/docs`: the documentation, made from the routes themselves.
//!
//! The document is built when first asked for: a server that nobody asks keeps its memory. The page is
//! one file of our own that renders it; nothing is loaded from elsewhere.

use axum::{
    extract::State,
    http::{HeaderName, header},
    response::{Html, IntoResponse},
};
use bytes::Bytes;
use frontdesk_api::customer::CUSTOMER_TOKEN;
use utoipa::openapi::{
    OpenApi, SecurityRequirement,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use crate::app::App;

const PAGE: &str = include_str!("docs.html");

/// Scripts and styles of the page itself, and requests to this server: nothing else.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The document, as it is sent, and the routes in it.
pub struct Document {
    pub json: Bytes,
    /// Method and path.
    pub routes: Vec<(String, String)>,
}

impl Document {
    /// Builds the document from the routes.
    #[must_use]
    pub fn of_routes() -> Self {
        let mut api = super::document();
        describe(&mut api);
        let mut document = serde_json::to_value(&api).unwrap_or_default();
        // Axum's catch-all `{*id}` is `{id}` in OpenAPI.
        if let Some(paths) = document.get_mut("paths").and_then(|p| p.as_object_mut()) {
            *paths = std::mem::take(paths).into_iter().map(|(path, item)| (path.replace("{*", "{"), item)).collect();
        }
        let mut routes = vec![];
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for method in item.as_object().into_iter().flatten().map(|(method, _)| method.to_uppercase()) {
                routes.push((method, path.clone()));
            }
        }
        Self { json: document.to_string().into(), routes }
    }
}

fn describe(api: &mut OpenApi) {
    api.info.title = "Frontdesk".into();
    api.info.version = env!("CARGO_PKG_VERSION").into();
    api.info.description =
        Some("The agent platform's HTTP interface: OpenAI's, Anthropic's, Llama Stack's and its own routes.".into());
    api.info.license =
        Some(utoipa::openapi::LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build());
    let components = api.components.get_or_insert_default();
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let plain = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key")));
    // Not asked for by any route: it says on whose behalf one is asked.
    let customer = ApiKeyValue::with_description(
        CUSTOMER_TOKEN,
        "A signed JWT that names the end customer; see /v1/customer-keys",
    );
    components.security_schemes.insert("customer".into(), SecurityScheme::ApiKey(ApiKey::Header(customer)).into());
    components.security_schemes.insert("bearer".into(), bearer.into());
    components.security_schemes.insert("x-api-key".into(), plain.into());
    let none: [&str; 0] = [];
    api.security = Some(vec![SecurityRequirement::new("bearer", none), SecurityRequirement::new("x-api-key", none)]);
}

/// This interface as an OpenAPI 3.1 document
#[utoipa::path(get, path = "/openapi.json", tag = "platform", security(()), responses((status = 200, description = "OpenAPI 3.1")))]
pub async fn openapi(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], app.document().json.clone())
}

/// This interface as a page for people
#[utoipa::path(get, path = "/docs", tag = "platform", security(()), responses((status = 200, description = "An HTML page")))]
pub async fn page() -> impl IntoResponse {
    let headers: [(HeaderName, &str); 2] =
        [(header::CONTENT_SECURITY_POLICY, POLICY), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (headers, Html(PAGE))
}
