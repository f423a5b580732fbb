//! `frontdesk tool push`: the component to a server, and its tools registered there.
//!
//! Nobody is taken to have said yes, but to `wasi` where the language's runtime cannot be without it. Invariants: what is registered was shown before anybody was asked, by the server (a
//! dry run of the same registration, which says which powers it asks for), beside what stands there already; after a refusal no file of ours is left there,
//! and where it is not known whether the server registered it, none is taken away.

use std::{
    io::{BufRead as _, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use frontdesk_api::{Error, Kind, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Folder, Language,
    build::size,
    sandbox,
    standing::{Differences, list, standing},
};
use crate::cli::{Place, remote::Remote, say, write};

#[derive(Args)]
pub(super) struct Push {
    #[arg(default_value = ".")]
    folder: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Where the server is; without it the one of this data folder, else http://127.0.0.1:8321
    #[arg(long, value_name = "URL", env = "FRONTDESK_URL")]
    url: Option<String>,
    /// An API key of the server, with the scope `write`
    #[arg(long, env = "FRONTDESK_API_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<String>,
    /// Grant this power; once for each that the component asks for
    #[arg(long = "grant", value_name = "POWER")]
    grants: Vec<String>,
    /// Grant every power that it asks for
    #[arg(long, conflicts_with = "grants")]
    yes: bool,
    /// Let the group's trust, or a tool's risk, effect or bound arguments, guard less than what is there
    #[arg(long)]
    weaken: bool,
    /// The tool provider of the server that is its sandbox
    #[arg(long, value_name = "ID", default_value = "wasm")]
    provider: String,
    /// Show what would be registered, and register nothing
    #[arg(long)]
    dry_run: bool,
}

impl Push {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let folder = Folder::open(&self.folder)?;
        let name = &folder.manifest.name;
        let component = folder.load()?;
        let imports = sandbox::powers(&component)?;
        let url = self.place.server(self.url.as_deref())?;
        let Some(key) = &self.key else {
            return Err(Error::invalid("key", "give an API key of the server with --key or FRONTDESK_API_KEY"));
        };
        let remote = Remote::new(&url, key)?;
        let before = standing(&remote, name, &self.provider).await?;
        say(format!("{name} ({})", size(component.len())))?;
        let file = remote.upload(&format!("{name}.wasm"), "application/wasm", "tool", component).await?;
        let file = text(&file["id"]);
        let mut body = registration(&folder, &imports, &self.provider, file);
        let agreed = self.agreed(&remote, &folder, &mut body, before.as_ref()).await;
        if !matches!(agreed, Ok(true)) {
            discard(&remote, file).await;
        }
        if !agreed? {
            say("a dry run: nothing was registered")?;
            return Ok(ExitCode::SUCCESS);
        }
        register(&remote, name, file, &body).await?;
        say(format!("{name} is at {}; its tools are for agents that name it: toolgroups: [{name}]", remote.url()))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Shows what the server would make of it, then asks. False: nobody wants it registered (a dry run).
    async fn agreed(&self, remote: &Remote, folder: &Folder, body: &mut Value, before: Option<&Value>) -> Result<bool> {
        let shown = remote.json(Method::POST, "/v1/toolgroups?dry_run=true", Some(body)).await?;
        body["args"]["grants"] = shown["requests"].clone();
        let powers: Vec<&str> = list(&shown["requests"]).iter().map(text).collect();
        self.fits(&powers)?;
        asked_for(folder, &powers)?;
        for tool in list(&shown["tools"]) {
            let (name, meta) = (text(&tool["identifier"]), &tool["metadata"]);
            let said = if body["tools"][name].is_null() { "" } else { " (tool.yaml)" };
            say(format!("  {name}: effect {}, risk {}{said}", text(&meta["effect"]), text(&meta["risk"])))?;
            for (argument, source) in meta["bound_args"].as_object().into_iter().flatten() {
                say(format!("    '{argument}' is filled in from {}", text(source)))?;
            }
        }
        let found = before.map(|before| Differences::between(before, body, &shown)).unwrap_or_default();
        if before.is_some() {
            say("what is there under this name would be replaced:")?;
            found.other.iter().try_for_each(|line| say(format!("  {line}")))?;
            found.weaker.iter().try_for_each(|line| say(format!("  WEAKER {line}")))?;
        }
        if self.dry_run {
            return Ok(false);
        }
        if !found.weaker.is_empty() && !self.weaken {
            let message = "nothing was pushed: it would guard less than what is there; --weaken says yes to that";
            return Err(Error::invalid("weaken", message));
        }
        self.granted(&powers, folder.manifest.language).map(|()| true)
    }

    /// Whether the component asks for what is granted.
    fn fits(&self, powers: &[&str]) -> Result<()> {
        let idle = self.grants.iter().find(|grant| !powers.contains(&grant.as_str()));
        idle.map_or(Ok(()), |idle| Err(Error::invalid("grant", format!("the component does not ask for '{idle}'"))))
    }

    /// Whether somebody said yes to each power. Whoever writes in Python said so by that to what Python asks for.
    fn granted(&self, powers: &[&str], language: Language) -> Result<()> {
        let agreed = |power: &str| {
            self.grants.iter().any(|g| g == power) || (language == Language::Python && power == sandbox::WASI)
        };
        let missing: Vec<&str> = powers.iter().filter(|power| !agreed(power)).copied().collect();
        if missing.is_empty() || self.yes {
            return Ok(());
        }
        if std::io::stdin().is_terminal() {
            write(format!("Grant {} and register all this? [y/N] ", missing.join(", ")))?;
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map_err(|e| Error::internal("reading your answer", e))?;
            if matches!(line.trim(), "y" | "Y" | "yes") {
                return Ok(());
            }
        }
        let flags: Vec<String> = missing.iter().map(|power| format!("--grant {power}")).collect();
        Err(Error::invalid("grant", format!("nothing was pushed: grant with {} (or --yes for all)", flags.join(" "))))
    }
}

fn asked_for(folder: &Folder, powers: &[&str]) -> Result<()> {
    let manifest = &folder.manifest;
    say(format!("{} asks for:", manifest.name))?;
    if powers.is_empty() {
        say("  no power")?;
    }
    powers.iter().try_for_each(|power| say(format!("  {power:<8} {}", sandbox::about(power))))?;
    for (what, named) in [("hosts", &manifest.hosts), ("secrets", &manifest.secrets)] {
        if !named.is_empty() {
            say(format!("  {what:<8} {}", named.join(", ")))?;
        }
    }
    say(format!("  trust    {}", manifest.trust.as_deref().unwrap_or("own")))
}

/// With all that it can ask for, for the dry run: what its tools keep stands in no import.
fn registration(folder: &Folder, imports: &[&str], provider: &str, file: &str) -> Value {
    let manifest = &folder.manifest;
    let mut args = folder.args();
    let powers: Vec<&str> = imports.iter().copied().chain([sandbox::KEEP]).collect();
    args.extend([("component".to_owned(), json!(file)), ("grants".to_owned(), json!(powers))]);
    json!({
        "toolgroup_id": manifest.name,
        "provider_id": provider,
        "args": args,
        "trust": manifest.trust,
        "tools": manifest.tools,
    })
}

/// Registers it. The file goes only where the server refused: one that answered nothing may have registered it.
async fn register(remote: &Remote, name: &str, file: &str, body: &Value) -> Result<()> {
    let Err(mut error) = remote.json(Method::POST, "/v1/toolgroups", Some(body)).await else { return Ok(()) };
    if matches!(error.kind, Kind::Invalid | Kind::NotFound) {
        discard(remote, file).await;
        return Err(error);
    }
    match remote.json(Method::GET, &format!("/v1/toolgroups/{name}"), None).await {
        Ok(group) if text(&group["args"]["component"]) == file => Ok(()),
        _ => {
            let unknown = format!("; whether '{name}' was registered is not known, so {file} was left on the server");
            error.message.push_str(&unknown);
            Err(error)
        }
    }
}

async fn discard(remote: &Remote, file: &str) {
    // What was said before counts; a file that stays is only room.
    let _ = remote.send(Method::DELETE, &format!("/v1/files/{file}"), None).await;
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{Json, Router, extract::Path, http::StatusCode, routing};
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        push: Push,
    }

    fn push(arguments: &[&str]) -> Push {
        let line = ["push"].iter().chain(arguments);
        Line::try_parse_from(line).expect("a command line").push
    }

    #[test]
    fn nobody_is_taken_to_have_said_yes() {
        let powers = ["log", "fetch"];
        let granted = |arguments: &[&str], powers: &[&str]| push(arguments).granted(powers, Language::Rust);
        // Tests have no terminal to be asked at.
        let refused = granted(&[], &powers).expect_err("refused");
        assert!(refused.message.contains("--grant log --grant fetch (or --yes for all)"), "{refused}");
        let refused = granted(&["--grant", "log"], &powers).expect_err("refused");
        assert!(refused.message.contains("grant with --grant fetch (or"), "{refused}");
        assert!(granted(&["--grant", "log", "--grant", "fetch"], &powers).is_ok());
        assert!(granted(&["--yes"], &powers).is_ok() && granted(&[], &[]).is_ok());
        assert!(granted(&[], &["wasi"]).is_err(), "Rust can be without");
        assert!(push(&[]).granted(&["wasi"], Language::Python).is_ok());
        let refused = push(&[]).granted(&["log", "wasi"], Language::Python).expect_err("refused");
        assert!(refused.message.contains("grant with --grant log (or"), "{refused}");
        let refused = push(&["--grant", "kv"]).fits(&powers).expect_err("refused");
        assert!(refused.message.contains("does not ask for 'kv'"), "{refused}");
    }

    /// A server that answers a registration with `status`, and shows the group with `held` as its component. What came
    /// of the registration, and the files that were deleted.
    async fn registered(status: StatusCode, held: &'static str) -> (Result<()>, Vec<String>) {
        let deleted = Arc::new(Mutex::new(vec![]));
        let gone = Arc::clone(&deleted);
        let delete = async move |Path(file): Path<String>| gone.lock().expect("no panic").push(file);
        let show = async move || Json(json!({ "args": { "component": held } }));
        let routes = Router::new()
            .route("/v1/toolgroups", routing::post(async move || (status, Json(json!({ "args": {} })))))
            .route("/v1/toolgroups/{name}", routing::get(show))
            .route("/v1/files/{file}", routing::delete(delete));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let remote = Remote::new(&format!("http://{}", listener.local_addr().expect("an address")), "key");
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        let outcome = register(&remote.expect("a client"), "desk", "file_new", &json!({})).await;
        server.abort();
        let deleted = deleted.lock().expect("no panic").clone();
        (outcome, deleted)
    }

    #[tokio::test]
    async fn a_component_goes_only_where_its_registration_was_refused() {
        let (outcome, deleted) = registered(StatusCode::BAD_REQUEST, "file_old").await;
        assert!(outcome.is_err() && deleted == ["file_new"], "{deleted:?}");
        // Its answer was lost, and it is registered.
        let (outcome, deleted) = registered(StatusCode::GATEWAY_TIMEOUT, "file_new").await;
        assert!(outcome.is_ok() && deleted.is_empty(), "{outcome:?} {deleted:?}");
        // Not, or not yet.
        let (outcome, deleted) = registered(StatusCode::GATEWAY_TIMEOUT, "file_old").await;
        let told = outcome.expect_err("not known").message;
        assert!(told.contains("file_new was left on the server") && deleted.is_empty(), "{told} {deleted:?}");
    }
}
