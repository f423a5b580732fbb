//! OpenAPI documents behind Frontdesk's tool provider: `provider_id: openapi`.
//!
//! `args` names one of `document` (an object or a text), `url`, `file_id` or `curl`, and may hold `base_url`,
//! `server_variables`, `hosts`, `secrets` (secret by security scheme), `include`, `exclude`. Invariant: what is stored of a
//! registration is the plan and these words; the document itself is not, nor the query of its address, nor a value that
//! was pasted with a command.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{
    Cx, Error, Kind, ProviderDef, Result,
    chat::ToolCall,
    egress::{HostRule, Place},
    provider::{Build, Setting},
    tools::{Inspected, Outcome, Reads, ToolHost, ToolProvider, ToolResult, ToolSource},
};
use serde_json::{Map, Value, json};

use crate::{
    answer, curl,
    document::{Document, text},
    import::{Wanted, import},
    plan::Plan,
    request,
    servers::Servers,
};

/// The types this crate offers to configurations.
pub const PROVIDERS: &[ProviderDef] = &[ProviderDef {
    kind: "openapi",
    ogx_type: "remote::openapi",
    about: "Tools out of OpenAPI documents and pasted curl commands: operations become tools.",
    build: Build::Tools(build),
}];

fn build(_: &Setting, config: Value) -> Result<Arc<dyn ToolProvider>> {
    if config.is_null() || config.as_object().is_some_and(Map::is_empty) {
        return Ok(Arc::new(OpenapiTools::default()));
    }
    Err(Error::invalid("", "'openapi' has no settings"))
}

/// What `args` may hold.
const ARGS: [&str; 11] = [
    "document",
    "url",
    "file_id",
    "curl",
    "base_url",
    "server_variables",
    "hosts",
    "secrets",
    "include",
    "exclude",
    "grants",
];

/// Where a document comes from: one of these.
const SOURCES: [&str; 4] = ["document", "url", "file_id", "curl"];

/// Texts in one list of args: each is tried on each operation.
const MOST: usize = 256;

/// Plans kept as they are called, the last ones first.
const REMEMBERED: usize = 64;

/// Tool groups made of documents.
#[derive(Default)]
pub struct OpenapiTools {
    recent: Mutex<VecDeque<(Bytes, Arc<Plan>)>>,
}

impl OpenapiTools {
    /// The group's plan, read now or lately. By address: bytes we hold cannot move or change.
    fn plan(&self, source: &ToolSource) -> Result<Arc<Plan>> {
        let Some(kept) = &source.body else {
            let message = format!("tool group '{}' has lost its plan: register it anew", source.toolgroup);
            return Err(Error::new(Kind::Internal, message));
        };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |held: &Bytes| (held.as_ptr(), held.len()) == (kept.as_ptr(), kept.len());
        if let Some(at) = recent.iter().position(|(held, _)| same(held))
            && let Some(entry) = recent.remove(at)
        {
            let plan = Arc::clone(&entry.1);
            recent.push_front(entry);
            return Ok(plan);
        }
        let plan = serde_json::from_slice(kept)
            .map_err(|e| Error::internal(format!("reading the plan of tool group '{}'", source.toolgroup), e))?;
        let plan: Arc<Plan> = Arc::new(plan);
        recent.push_front((kept.clone(), Arc::clone(&plan)));
        recent.truncate(REMEMBERED);
        Ok(plan)
    }
}

#[async_trait]
impl ToolProvider for OpenapiTools {
    fn reads(&self, args: &Value) -> Result<Option<Reads>> {
        let named: Vec<&str> =
            SOURCES.into_iter().filter(|name| args.get(name).is_some_and(|v| !v.is_null())).collect();
        if named.len() != 1 {
            let message = format!(
                "args names one of {}, not {}",
                SOURCES.join(", "),
                if named.is_empty() { "none".to_owned() } else { named.join(" and ") }
            );
            return Err(Error::invalid("args", message));
        }
        Ok(match (named[0], text(args, named[0])) {
            ("url", Some(url)) => {
                Place::of(url).map_err(|wrong| Error::invalid("args.url", wrong))?;
                Some(Reads::Url(url.to_owned()))
            }
            ("file_id", Some(id)) => Some(Reads::File(id.to_owned())),
            ("url" | "file_id" | "curl", None) => {
                return Err(Error::invalid(format!("args.{}", named[0]), "it must be a text"));
            }
            _ => None,
        })
    }

    async fn inspect(&self, _: &Cx, source: &ToolSource) -> Result<Inspected> {
        let (args, body) = (source.args.clone(), source.body.clone());
        let group = source.toolgroup.clone();
        // A large document takes a second of a core.
        let work = move || inspect(&group, &args, body.as_ref());
        run_blocking(work).await
    }

    async fn call(&self, _: &Cx, source: &ToolSource, call: &ToolCall, host: Arc<dyn ToolHost>) -> Result<Outcome> {
        let plan = self.plan(source)?;
        let failed = |message: &str| Ok(Outcome::Done(ToolResult::error(message)));
        let Some(operation) = plan.operations.get(&call.name) else {
            return failed(&format!("no operation is called '{}'", call.name));
        };
        let arguments: Map<String, Value> = match serde_json::from_str(&call.arguments) {
            Ok(arguments) => arguments,
            Err(e) => return failed(&format!("the arguments are not a JSON object: {e}")),
        };
        match request::build(operation, &arguments, &call.id) {
            Ok(request) => Ok(Outcome::Done(answer::read(&host.fetch(request).await?))),
            Err(wrong) => failed(&wrong),
        }
    }
}

async fn run_blocking(work: impl FnOnce() -> Result<Inspected> + Send + 'static) -> Result<Inspected> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::internal("reading an OpenAPI document broke off", e))?
}

fn inspect(group: &str, args: &Value, body: Option<&Bytes>) -> Result<Inspected> {
    let Value::Object(members) = args else { return Err(Error::invalid("args", "args must be an object")) };
    if let Some(unknown) = members.keys().find(|name| !ARGS.contains(&name.as_str())) {
        let message = format!("args has no '{unknown}' for this provider; it has {}", ARGS.join(", "));
        return Err(Error::invalid(format!("args.{unknown}"), message));
    }
    let document = document(args, body)?;
    let wanted = wanted(args)?;
    let imported = import(&document, &wanted)?;
    let kept = serde_json::to_vec(&imported.plan).map_err(|e| Error::internal("writing the plan of a document", e))?;
    let about = |name: &str| document.root.pointer(&format!("/info/{name}")).cloned().unwrap_or_default();
    let hosts = match args.get("hosts") {
        Some(given) if !given.is_null() => given.clone(),
        _ => json!(imported.hosts),
    };
    let report = json!({ "title": about("title"), "version": about("version"), "hosts": imported.hosts,
        "secrets": imported.security, "operations": imported.tools.len(), "left_out": imported.left_out,
        "left_open": imported.left_open });
    let mut stored = members.clone();
    stored.remove("curl");
    if stored.remove("document").is_some() || !stored.contains_key("url") && !stored.contains_key("file_id") {
        // What it was, without being it.
        stored.insert("document".into(), json!({ "title": about("title"), "version": about("version") }));
    }
    if let Some(url) = text(args, "url") {
        // A query often is a key.
        stored.insert("url".into(), json!(url.split('?').next()));
    }
    stored.insert("hosts".into(), hosts);
    let tools =
        imported.tools.into_iter().map(|def| frontdesk_api::tools::ToolDef { toolgroup: group.to_owned(), ..def });
    Ok(Inspected {
        tools: tools.collect(),
        requests: vec![],
        hash: blake3::hash(&kept).to_hex().to_string(),
        kept: Some(Bytes::from(kept)),
        args: Some(Value::Object(stored)),
        report,
    })
}

fn document(args: &Value, body: Option<&Bytes>) -> Result<Document> {
    if let Some(command) = text(args, "curl") {
        return Document::of(curl::document(command)?, "args.curl");
    }
    match args.get("document") {
        Some(Value::String(text)) => Document::read(text.as_bytes(), "args.document"),
        Some(value) if !value.is_null() => Document::of(value.clone(), "args.document"),
        _ => {
            let param = if args.get("url").is_some() { "args.url" } else { "args.file_id" };
            let body =
                body.ok_or_else(|| Error::new(Kind::Internal, "the document was not read before it was looked into"))?;
            Document::read(body, param)
        }
    }
}

fn wanted(args: &Value) -> Result<Wanted<'_>> {
    let list = |name: &str| -> Result<Option<Vec<String>>> {
        let Some(given) = args.get(name).filter(|given| !given.is_null()) else { return Ok(None) };
        let read = serde_json::from_value(given.clone());
        let read: Vec<String> =
            read.map_err(|_| Error::invalid(format!("args.{name}"), format!("args.{name} must be a list of texts")))?;
        if read.len() > MOST {
            return Err(Error::invalid(format!("args.{name}"), format!("args.{name} has at most {MOST} texts")));
        }
        Ok(Some(read))
    };
    let hosts = list("hosts")?.map(|hosts| {
        let read = |(i, host): (usize, &String)| {
            host.parse::<HostRule>().map_err(|wrong| Error::invalid(format!("args.hosts[{i}]"), wrong))
        };
        hosts.iter().enumerate().map(read).collect::<Result<Vec<_>>>()
    });
    let secrets: BTreeMap<String, Option<String>> = match args.get("secrets").filter(|given| !given.is_null()) {
        None => BTreeMap::new(),
        Some(given) => serde_json::from_value(given.clone())
            .map_err(|_| Error::invalid("args.secrets", "args.secrets names a secret by each security scheme"))?,
    };
    let variables = match args.get("server_variables") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(variables)) => variables.clone(),
        Some(_) => return Err(Error::invalid("args.server_variables", "args.server_variables must be an object")),
    };
    Ok(Wanted {
        servers: Servers { base_url: text(args, "base_url"), variables, document_url: text(args, "url") },
        hosts: hosts.transpose()?,
        secrets: secrets.into_iter().filter_map(|(scheme, secret)| Some((scheme, secret?))).collect(),
        include: list("include")?.unwrap_or_default(),
        exclude: list("exclude")?.unwrap_or_default(),
    })
}
