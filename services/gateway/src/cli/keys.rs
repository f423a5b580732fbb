//! `frontdesk keys`: create, list and revoke API keys.
//!
//! While a server holds the data folder the command asks it over HTTP (and needs an admin key); else it
//! opens the database itself: whoever may write the folder may make keys.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use frontdesk_accounts::{Accounts, DEFAULT_TENANT, KeyRequest};
use frontdesk_api::{
    Clock, Error, PageRequest, Result, Scope,
    clock::{SystemClock, unix_seconds},
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Place,
    remote::{Remote, running},
    say,
};
use crate::wiring;

#[derive(Args)]
pub(super) struct Keys {
    #[command(flatten)]
    place: Place,
    /// An admin key, needed while the server runs
    #[arg(long, env = "FRONTDESK_ADMIN_KEY", hide_env_values = true, value_name = "KEY", global = true)]
    key: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a key; it is shown this once
    Create {
        /// What it is for, for people
        #[arg(long)]
        name: String,
        /// What it may do; wider scopes include narrower ones
        #[arg(long, value_enum, default_value = "use")]
        scope: KeyScope,
        /// Days until it expires; without it, never
        #[arg(long)]
        expires_days: Option<u32>,
    },
    /// List the keys without their secrets
    List,
    /// Revoke a key; it opens nothing from then on
    Revoke { id: String },
}

#[derive(Clone, Copy, ValueEnum)]
enum KeyScope {
    /// Call models and talk to agents
    Use,
    /// Also create and change agents, tools, knowledge
    Write,
    /// Also tenants and keys
    Admin,
}

impl From<KeyScope> for Scope {
    fn from(scope: KeyScope) -> Self {
        match scope {
            KeyScope::Use => Self::Use,
            KeyScope::Write => Self::Write,
            KeyScope::Admin => Self::Admin,
        }
    }
}

impl Keys {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let config = self.place.load()?;
        // The store's lock decides: while a server holds the folder, the server is asked.
        match wiring::accounts(&config, &wiring::Host::real()).await {
            Ok((accounts, store)) => {
                let done = self.verb.directly(&accounts).await;
                store.close().await;
                done?;
            }
            Err(e) if e.code.as_deref() == Some("data_dir_in_use") => {
                let url = running(&config.data_dir).ok_or(e)?;
                let Some(key) = &self.key else {
                    let message =
                        format!("a server runs at {url}: give an admin key with --key or FRONTDESK_ADMIN_KEY");
                    return Err(Error::invalid("key", message));
                };
                self.verb.over_http(&Remote::new(&url, key)?).await?;
            }
            Err(e) => return Err(e),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Verb {
    async fn directly(self, accounts: &Accounts) -> Result<()> {
        match self {
            Self::Create { name, scope, expires_days } => {
                let expires_at = expires_days.map(|days| SystemClock.now() + i64::from(days) * DAY_S * 1_000_000);
                let wanted = KeyRequest { name, scopes: vec![scope.into()], expires_at };
                let made = accounts.create_key(DEFAULT_TENANT, wanted).await?;
                show_made(&made.key.id, &made.secret)
            }
            Self::List => {
                let mut page = PageRequest { limit: 100, ..PageRequest::default() };
                loop {
                    let keys = accounts.list_keys(DEFAULT_TENANT, &page).await?;
                    page.after = keys.items.last().map(|key| key.id.clone());
                    for key in keys.items {
                        let scopes = key
                            .scopes
                            .iter()
                            .map(|scope| format!("{scope:?}").to_lowercase())
                            .collect::<Vec<_>>()
                            .join(",");
                        let now = SystemClock.now();
                        let state = if key.revoked_at.is_some() {
                            "revoked"
                        } else if key.expires_at.is_some_and(|end| end <= now) {
                            "expired"
                        } else {
                            "open"
                        };
                        line(&key.id, state, &scopes, &key.name)?;
                    }
                    if !keys.more {
                        return Ok(());
                    }
                }
            }
            Self::Revoke { id } => {
                accounts.revoke_key(DEFAULT_TENANT, &id).await?;
                say(format!("revoked {id}"))
            }
        }
    }

    async fn over_http(self, server: &Remote) -> Result<()> {
        match self {
            Self::Create { name, scope, expires_days } => {
                let expires_at = expires_days.map(|days| unix_seconds(SystemClock.now()) + i64::from(days) * DAY_S);
                let wanted = json!({ "name": name, "scopes": [Scope::from(scope)], "expires_at": expires_at });
                let made = server.json(Method::POST, "/v1/keys", Some(&wanted)).await?;
                show_made(text(&made, "id"), text(&made, "key"))
            }
            Self::List => {
                let mut after = String::new();
                loop {
                    let page = server.json(Method::GET, &format!("/v1/keys?limit=100&after={after}"), None).await?;
                    for key in page["data"].as_array().into_iter().flatten() {
                        let scopes = key["scopes"]
                            .as_array()
                            .into_iter()
                            .flatten()
                            .filter_map(Value::as_str)
                            .collect::<Vec<_>>()
                            .join(",");
                        let now = unix_seconds(SystemClock.now());
                        let state = if !key["revoked_at"].is_null() {
                            "revoked"
                        } else if key["expires_at"].as_i64().is_some_and(|end| end <= now) {
                            "expired"
                        } else {
                            "open"
                        };
                        line(text(key, "id"), state, &scopes, text(key, "name"))?;
                    }
                    if page["has_more"] != true {
                        return Ok(());
                    }
                    after = text(&page, "last_id").to_owned();
                }
            }
            Self::Revoke { id } => {
                server.json(Method::DELETE, &format!("/v1/keys/{id}"), None).await?;
                say(format!("revoked {id}"))
            }
        }
    }
}

const DAY_S: i64 = 86_400;

fn show_made(id: &str, secret: &str) -> Result<()> {
    say(format!("{id}\n{secret}\nThe second line is the key; it is not shown again."))
}

fn line(id: &str, state: &str, scopes: &str, name: &str) -> Result<()> {
    say(format!("{id:<32} {state:<8} {scopes:<16} {name}"))
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_default()
}
