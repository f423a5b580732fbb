//! Groups out of the documents beside, and what their calls send.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // shared by several test programs

pub mod oracle;

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use frontdesk_api::{
    Cx, Error, Result,
    chat::ToolCall,
    egress::OutboundAnswer,
    tools::{
        CredentialPlace, FetchRequest, Inspected, Outcome, ToolDef, ToolHost, ToolProvider as _, ToolResult, ToolSource,
    },
};
use frontdesk_openapi::OpenapiTools;
use serde::Deserialize;
use serde_json::{Value, json};

/// A group as the registry would hold it.
pub struct Group {
    pub inspected: Inspected,
    /// As they are stored.
    pub args: Value,
    provider: OpenapiTools,
    source: ToolSource,
}

impl Group {
    pub fn tool(&self, name: &str) -> &ToolDef {
        let tools = &self.inspected.tools;
        let names: Vec<&String> = tools.iter().map(|tool| &tool.name).collect();
        tools.iter().find(|tool| tool.name == name).unwrap_or_else(|| panic!("no {name} in {names:?}"))
    }
}

pub fn cx() -> Cx {
    Cx::internal("t", "r")
}

/// The document of that name, as text, with these args.
pub async fn import(document: &str, mut args: Value) -> Result<Group> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents").join(document);
    args["document"] = Value::String(std::fs::read_to_string(path).unwrap());
    import_args(args).await
}

pub async fn import_args(args: Value) -> Result<Group> {
    let provider = OpenapiTools::default();
    assert_eq!(provider.reads(&args)?, None, "nothing else is read");
    let mut source = ToolSource { toolgroup: "shop".into(), args, ..ToolSource::default() };
    let inspected = provider.inspect(&cx(), &source).await?;
    let args = inspected.args.clone().unwrap();
    source.body = inspected.kept.clone();
    source.args = args.clone();
    Ok(Group { inspected, args, provider, source })
}

/// Answers everything with one answer, and remembers what it was asked.
pub struct Web(pub Mutex<Vec<FetchRequest>>, pub OutboundAnswer);

#[async_trait::async_trait]
impl ToolHost for Web {
    async fn kv_get(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
    async fn kv_set(&self, _: &str, _: Vec<u8>) -> Result<()> {
        Ok(())
    }
    async fn fetch(&self, request: FetchRequest) -> Result<OutboundAnswer> {
        self.0.lock().unwrap().push(request);
        Ok(self.1.clone())
    }
}

pub async fn call(group: &Group, tool: &str, arguments: Value, web: &Arc<Web>) -> ToolResult {
    let call = ToolCall { id: "key_1".into(), name: tool.into(), arguments: arguments.to_string() };
    match group.provider.call(&cx(), &group.source, &call, Arc::clone(web) as _).await.unwrap() {
        Outcome::Done(result) => result,
        Outcome::NeedsInput(request) => panic!("unexpected {request:?}"),
    }
}

/// The one request a call sends, or the words it failed with.
pub async fn request(group: &Group, tool: &str, arguments: Value) -> Result<FetchRequest, String> {
    let ok = OutboundAnswer { status: 200, ..OutboundAnswer::default() };
    let web = Arc::new(Web(Mutex::default(), ok));
    let result = call(group, tool, arguments, &web).await;
    let mut asked = std::mem::take(&mut *web.0.lock().unwrap());
    match asked.pop() {
        Some(request) if asked.is_empty() => Ok(request),
        _ => Err(result.content),
    }
}

/// A call of a tool and the very request that it becomes. `requests.json` has some for each document beside, `real.json` for
/// real ones; tests/conformance/test_openapi_requests.py sends the same to a server.
#[derive(Deserialize)]
pub struct Golden {
    pub document: String,
    #[serde(default)]
    pub args: Value,
    pub tool: String,
    pub arguments: Value,
    /// The document's, before the paths.
    pub server: String,
    /// Method and target, then the headers. A secret stands as `<name>`, the call's key as `{key}`, the boundary of parts as
    /// `{boundary}`.
    pub request: Vec<String>,
    /// Each character is one byte.
    #[serde(default)]
    pub body: String,
}

/// Calls it: what is wrong, if anything is.
pub async fn held_against(golden: &Golden, text: String) -> Option<String> {
    let mut args = if golden.args.is_null() { json!({}) } else { golden.args.clone() };
    args["document"] = Value::String(text);
    let group = import_args(args).await.unwrap_or_else(|e| panic!("{}: {e}", golden.document));
    let def = group.tool(&golden.tool);
    let check = jsonschema::validator_for(&def.schema).unwrap();
    let wrong: Vec<String> = check.iter_errors(&golden.arguments).map(|e| e.to_string()).collect();
    if !wrong.is_empty() {
        return Some(format!("{} {}: {wrong:?} in {}", golden.document, golden.tool, def.schema));
    }
    let sent = match request(&group, &golden.tool, golden.arguments.clone()).await {
        Ok(sent) => sent,
        Err(words) => return Some(format!("{} {}: {words}", golden.document, golden.tool)),
    };
    let head = shown(&FetchRequest { body: bytes::Bytes::new(), ..sent.clone() });
    let boundary = head.split("boundary=").nth(1).and_then(|rest| rest.lines().next()).map(str::to_owned);
    let named = |text: String| match &boundary {
        Some(boundary) => text.replace(boundary, "{boundary}"),
        None => text,
    };
    let body: String = sent.body.iter().map(|byte| char::from(*byte)).collect();
    let (head, body) = (named(head).replace(": key_1\n", ": {key}\n"), named(body));
    let mut expected = golden.request.clone();
    let target = format!(" {}", golden.server);
    expected[0] = expected[0].replacen(' ', &target, 1);
    let expected = format!("{}\n", expected.join("\n"));
    (head != expected || body != golden.body).then(|| {
        format!("{} {}:\n{head}\n{body}\ninstead of\n{expected}\n{}", golden.document, golden.tool, golden.body)
    })
}

/// A request as text: as it is sent, but for secrets, which stand as `<name>`.
pub fn shown(request: &FetchRequest) -> String {
    let mut url = request.url.clone();
    for c in request.credentials.iter().filter(|c| c.place == CredentialPlace::Query) {
        url.push_str(&format!("{}{}=<{}>", if url.contains('?') { '&' } else { '?' }, c.name, c.secret));
    }
    let mut text = format!("{} {url}\n", request.method);
    for (name, value) in &request.headers {
        text.push_str(&format!("{name}: {value}\n"));
    }
    for c in &request.credentials {
        let secret = if c.base64 { format!("<{} in base64>", c.secret) } else { format!("<{}>", c.secret) };
        text.push_str(&match c.place {
            CredentialPlace::Header => format!("{}: {}{secret}\n", c.name, c.prefix),
            CredentialPlace::Query => String::new(),
            CredentialPlace::Cookie => format!("Cookie: {}={secret}\n", c.name),
        });
    }
    if !request.body.is_empty() {
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&request.body));
    }
    text
}

/// So that `Error` is named where a test only passes it on.
pub type Refusal = Error;
