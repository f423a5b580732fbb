//! Every HTTP route, listed by the scope its key must hold.
//!
//! A route is one file `http/<noun>/<verb>.rs` (documentation, handler, tests) and one line here.
//! Invariant: what is not in a list does not exist, and only `open` is reachable without a key.

pub mod agents;
pub mod approvals;
pub mod attempts;
pub mod batches;
pub mod chat_completions;
mod collect;
pub mod completions;
pub mod console;
pub mod containers;
pub mod conversations;
pub mod customer_keys;
pub mod docs;
pub mod edge;
pub mod embeddings;
pub mod extract;
pub mod files;
pub mod handoffs;
pub mod health;
pub mod inference;
pub mod inspect;
pub mod keys;
pub mod mcp;
pub mod message_batches;
pub mod messages;
pub mod metrics;
pub mod models;
pub mod paging;
pub mod prefix;
pub mod prompts;
pub mod providers;
pub mod questions;
pub mod reply;
pub mod rerank;
pub mod responses;
pub mod room;
pub mod safety;
pub mod secrets;
pub mod sessions;
pub mod shields;
pub mod sign_in;
pub mod tenants;
pub mod tool_runtime;
pub mod toolgroups;
pub mod tools;
pub mod turns;
pub mod usage;
pub mod vector_stores;
pub mod version;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use frontdesk_api::{Error, Kind, Scope, chat::Dialect};
use tower::layer::layer_fn;
use utoipa::openapi::OpenApi;
use utoipa_axum::routes;

use self::{collect::Collected, prefix::Prefixed};
use crate::{app::App, config::Role, problem::Early};

/// The service: routes, what is said of routes that do not exist, and the edge around all of it.
pub fn router(app: App) -> Prefixed {
    let served = Collected::served();
    let served = if app.config.role == Role::Worker { wellness(served) } else { every_route(served) };
    app.telemetry.know_routes(served.paths.iter().map(String::as_str));
    let (around, gates) = (app.clone(), Arc::new(served.gates));
    let routes = served
        .router
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        // One layer for all that happens around a request: axum boxes and clones every further one with each request.
        .layer(layer_fn(move |route| edge::around(around.clone(), Arc::clone(&gates), route)))
        .with_state(app);
    Prefixed::new(routes)
}

/// The documentation of every route.
pub fn document() -> OpenApi {
    every_route(Collected::documented()).document.unwrap_or_default()
}

/// Every list.
fn every_route(all: Collected) -> Collected {
    let all = open(all.asking(None));
    let all = use_scope(all.asking(Some(Scope::Use)));
    let all = write_scope(all.asking(Some(Scope::Write)));
    admin_scope(all.asking(Some(Scope::Admin)))
}

/// What a process answers that only works.
fn wellness(all: Collected) -> Collected {
    all.routes(routes!(health::show::show)).routes(routes!(health::ready::ready)).routes(routes!(metrics::show::show))
}

/// Reachable without a key.
fn open(all: Collected) -> Collected {
    all.routes(routes!(console::page))
        .routes(routes!(console::style))
        .routes(routes!(console::script))
        .routes(routes!(docs::page))
        .routes(routes!(docs::openapi))
        .routes(routes!(health::show::show))
        .routes(routes!(health::ready::ready))
        .routes(routes!(metrics::show::show)) // asks for its own key
        .routes(routes!(mcp::metadata::root))
        .routes(routes!(mcp::metadata::at_mcp))
        .routes(routes!(sign_in::back::back))
        .routes(routes!(sign_in::begin::show, sign_in::begin::go))
}

/// Calling models and talking to agents; reading what there is.
fn use_scope(all: Collected) -> Collected {
    all.routes(routes!(version::show::show))
        .routes(routes!(inspect::routes::routes))
        .routes(routes!(providers::list::list))
        .routes(routes!(providers::show::show))
        .routes(routes!(models::list::list))
        .routes(routes!(models::show::show))
        .routes(routes!(chat_completions::list::list, chat_completions::create::create))
        .routes(routes!(
            chat_completions::show::show,
            chat_completions::update::update,
            chat_completions::delete::delete
        ))
        .routes(routes!(chat_completions::messages::messages))
        .routes(routes!(completions::create::create))
        .routes(routes!(embeddings::create::create))
        .routes(routes!(rerank::create::create))
        .routes(routes!(rerank::create::create_v2))
        .routes(routes!(rerank::ogx::rerank))
        .routes(routes!(inference::batch::chats))
        .routes(routes!(inference::batch::completions))
        .routes(routes!(inference::chat_completion::chat_completion))
        .routes(routes!(inference::completion::completion))
        .routes(routes!(inference::embeddings::embeddings))
        .routes(routes!(messages::create::create))
        .routes(routes!(messages::count_tokens::count_tokens))
        .routes(routes!(batches::list::list, batches::create::create))
        .routes(routes!(batches::show::show))
        .routes(routes!(batches::cancel::cancel))
        .routes(routes!(message_batches::list::list, message_batches::create::create))
        .routes(routes!(message_batches::show::show, message_batches::delete::delete))
        .routes(routes!(message_batches::cancel::cancel))
        .routes(routes!(message_batches::results::results))
        .routes(routes!(agents::list::list))
        .routes(routes!(agents::show::show))
        .routes(routes!(sessions::create::create))
        .routes(routes!(sessions::list::list))
        .routes(routes!(sessions::show::show, sessions::delete::delete))
        .routes(routes!(turns::create::create))
        .routes(routes!(turns::show::show))
        .routes(routes!(turns::resume::resume))
        .routes(routes!(turns::cancel::cancel))
        .routes(routes!(turns::step::step))
        .routes(routes!(questions::list::list))
        .routes(routes!(questions::show::show, questions::answer::answer))
        .routes(routes!(responses::list::list, responses::create::create))
        .routes(routes!(responses::input_tokens::input_tokens))
        .routes(routes!(responses::compact::compact))
        .routes(routes!(responses::show::show, responses::delete::delete))
        .routes(routes!(responses::cancel::cancel))
        .routes(routes!(responses::input_items::input_items))
        .routes(routes!(prompts::list::list))
        .routes(routes!(prompts::show::show))
        .routes(routes!(prompts::versions::versions))
        .routes(routes!(conversations::create::create))
        .routes(routes!(conversations::show::show, conversations::update::update, conversations::delete::delete))
        .routes(routes!(conversations::items::list, conversations::items::create))
        .routes(routes!(conversations::items::show, conversations::items::delete))
        .routes(routes!(containers::list::list))
        .routes(routes!(containers::show::show))
        .routes(routes!(containers::files::files))
        .routes(routes!(containers::file::file))
        .routes(routes!(containers::content::content))
        .routes(routes!(toolgroups::list::list))
        .routes(routes!(toolgroups::show::show))
        .routes(routes!(tools::list::list))
        .routes(routes!(tools::show::show))
        .routes(routes!(tool_runtime::list_tools::list_tools))
        .routes(routes!(tool_runtime::invoke::invoke))
        .routes(routes!(mcp::post::post, mcp::post::end))
        .routes(routes!(files::list::list))
        .routes(routes!(files::show::show))
        .routes(routes!(files::content::content))
        .routes(routes!(vector_stores::list::list))
        .routes(routes!(vector_stores::show::show))
        .routes(routes!(vector_stores::files::files))
        .routes(routes!(vector_stores::file::file))
        .routes(routes!(vector_stores::search::search))
        .routes(routes!(shields::list::list))
        .routes(routes!(shields::show::show))
        .routes(routes!(safety::run_shield::run_shield))
}

/// Changing what agents are, what they may do and what they know.
fn write_scope(all: Collected) -> Collected {
    all.routes(routes!(agents::create::create))
        .routes(routes!(containers::create::create))
        .routes(routes!(containers::create_file::create_file))
        .routes(routes!(containers::delete::delete))
        .routes(routes!(containers::delete_file::delete_file))
        .routes(routes!(agents::update::update, agents::delete::delete))
        .routes(routes!(agents::import::import))
        .routes(routes!(agents::export::export))
        .routes(routes!(agents::replay::replay))
        .routes(routes!(agents::versions::list::list))
        .routes(routes!(agents::versions::show::show))
        .routes(routes!(agents::versions::create::create))
        .routes(routes!(agents::versions::publish::publish))
        .routes(routes!(handoffs::list::list))
        .routes(routes!(handoffs::show::show))
        .routes(routes!(handoffs::take::take))
        .routes(routes!(handoffs::messages::messages, handoffs::say::say))
        .routes(routes!(handoffs::done::done))
        .routes(routes!(approvals::list::list))
        .routes(routes!(turns::list::list))
        .routes(routes!(turns::retry::retry))
        .routes(routes!(turns::dismiss::dismiss))
        .routes(routes!(approvals::show::show, approvals::decide::decide))
        .routes(routes!(prompts::create::create))
        .routes(routes!(prompts::update::update, prompts::delete::delete))
        .routes(routes!(prompts::set_default_version::set_default_version))
        .routes(routes!(models::register::register))
        .routes(routes!(models::delete::delete))
        .routes(routes!(toolgroups::register::register))
        .routes(routes!(toolgroups::delete::delete, toolgroups::update::update, toolgroups::authorize::authorize))
        .routes(routes!(toolgroups::changes::changes))
        .routes(routes!(toolgroups::restore::restore))
        .routes(routes!(files::create::create))
        .routes(routes!(files::delete::delete))
        .routes(routes!(vector_stores::create::create))
        .routes(routes!(vector_stores::update::update, vector_stores::delete::delete))
        .routes(routes!(vector_stores::add_file::add_file))
        .routes(routes!(vector_stores::update_file::update_file, vector_stores::remove_file::remove_file))
}

/// Tenants and keys, and what they cost.
fn admin_scope(all: Collected) -> Collected {
    all.routes(routes!(keys::list::list, keys::create::create))
        .routes(routes!(keys::revoke::revoke))
        .routes(routes!(customer_keys::list::list, customer_keys::create::create))
        .routes(routes!(customer_keys::revoke::revoke))
        .routes(routes!(secrets::list::list, secrets::create::create))
        .routes(routes!(secrets::show::show, secrets::delete::delete))
        .routes(routes!(tenants::list::list, tenants::create::create))
        .routes(routes!(usage::list::list))
        .routes(routes!(providers::load::load))
        .routes(routes!(providers::unload::unload))
}

/// The dialect in which a path's errors are told: a property of the path, so that it holds before a handler is reached
/// (no key, a body too large) and after one has panicked.
fn dialect(path: &str) -> Dialect {
    match path.strip_prefix("/v1/messages") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Dialect::AnthropicMessages,
        _ => Dialect::OpenaiChat,
    }
}

async fn unknown_route(method: http::Method, uri: http::Uri) -> Early {
    let message = format!("there is no route {method} {}; /docs lists them", uri.path());
    Early(Error::new(Kind::NotFound, message).with_code("unknown_route"))
}

/// The one status that no kind of error stands for: HTTP asks for 405 and for the Allow header, which axum adds.
async fn wrong_method(method: http::Method, uri: http::Uri) -> (http::StatusCode, Early) {
    let message = format!("{method} is not allowed on {}; the Allow header says what is", uri.path());
    (http::StatusCode::METHOD_NOT_ALLOWED, Early(Error::new(Kind::Invalid, message).with_code("method_not_allowed")))
}
