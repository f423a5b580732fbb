//! `tests.yaml`: what a tool is asked, and what the world around it is made of.
//!
//! A case brings its own world: what was kept, which requests are made and what is heard, the time, the call's key.
//! A host or a secret that tool.yaml does not name is refused by the code of a server. What a server's own egress, secrets
//! and registration add (hosts of each secret, headers it keeps for itself, sizes of answers, bound arguments, room for
//! kept data) is not here. Invariant: nothing leaves the machine, and a request that no case spoke of is a failure of the case.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{
    Cx, Egress, Error, Kind, Result, Secrets,
    egress::{HostRule, Outbound, OutboundAnswer, OutboundLimits},
    secret::Secret,
    tools::{FetchRequest, ToolHost},
};
use frontdesk_tools::{KvLimits, Policy};
use serde::Deserialize;
use serde_json::Value;

use super::{Folder, failed, read};

/// A question to a tool and its answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// For people.
    #[serde(default)]
    pub(super) name: String,
    pub(super) tool: String,
    #[serde(default = "no_arguments")]
    pub(super) arguments: Value,
    /// The JSON that has to come back; null is one.
    #[serde(default, deserialize_with = "given")]
    pub(super) result: Option<Value>,
    /// Words that have to be in the error that the model reads.
    #[serde(default)]
    pub(super) error: Option<String>,
    /// What the tools kept before: texts as they are, other values as JSON.
    #[serde(default)]
    pub(super) kv: BTreeMap<String, Value>,
    /// What has to be kept after, all of it.
    #[serde(default)]
    pub(super) kv_after: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    pub(super) fetch: Vec<Recorded>,
    /// Seconds since 1970.
    #[serde(default = "some_day")]
    pub(super) now: i64,
    #[serde(default = "some_key")]
    pub(super) idempotency_key: String,
    /// Which conversation the call is part of: a tool that keeps its instance meets what earlier cases of it left. None:
    /// none.
    #[serde(default)]
    pub(super) conversation: Option<String>,
}

/// A request that the tool has to make, and what it hears.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recorded {
    request: Expected,
    #[serde(default)]
    response: Option<Heard>,
    #[serde(default)]
    error: Option<Broken>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    method: String,
    url: String,
    /// Those that have to be among the request's. A secret reads `[secret NAME]`.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A text, or JSON.
    #[serde(default)]
    body: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heard {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<Value>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Broken {
    Timeout,
    TooLarge,
    Failed,
}

/// What is written is there, null too.
fn given<'de, D: serde::Deserializer<'de>>(value: D) -> std::result::Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

fn no_arguments() -> Value {
    Value::Object(serde_json::Map::new())
}

/// 2026-01-01T00:00:00Z.
fn some_day() -> i64 {
    1_767_225_600
}

fn some_key() -> String {
    "call_1".to_owned()
}

/// # Errors
/// `Invalid` naming the file and what is wrong in it.
pub(super) fn load(folder: &Folder) -> Result<Vec<Case>> {
    let file = folder.path.join("tests.yaml");
    let text = std::fs::read_to_string(&file).map_err(|e| failed("read", &file, &e))?;
    let cases: Vec<Case> = read(&text, &file)?;
    for (n, case) in cases.iter().enumerate() {
        if case.result.is_some() == case.error.is_some() {
            let message = format!("{}: [{n}]: a case says either result or error", file.display());
            return Err(Error::invalid(format!("[{n}]"), message));
        }
        if case.error.as_ref().is_some_and(|words| words.trim().is_empty()) {
            let message = format!("{}: [{n}]: an error without words is in every error", file.display());
            return Err(Error::invalid(format!("[{n}].error"), message));
        }
        if let Some(at) = case.fetch.iter().position(|one| one.response.is_some() == one.error.is_some()) {
            let message = format!("{}: [{n}].fetch[{at}]: it says either response or error", file.display());
            return Err(Error::invalid(format!("[{n}].fetch[{at}]"), message));
        }
    }
    Ok(cases)
}

/// The world of one case.
pub(super) struct World {
    policy: Policy,
    hosts: Vec<HostRule>,
    seen: Mutex<Seen>,
}

struct Seen {
    kv: BTreeMap<String, Vec<u8>>,
    to_come: VecDeque<Recorded>,
    /// What was asked otherwise than the case says.
    wrong: Vec<String>,
}

impl World {
    /// # Errors
    /// `Invalid` for a rule of tool.yaml that is none.
    pub(super) fn of(folder: &Folder, case: &Case) -> Result<Self> {
        let policy = Policy::of(&Value::Object(folder.args()))?;
        let hosts = folder.manifest.hosts.iter().filter_map(|rule| rule.parse().ok()).collect();
        let kv = case.kv.iter().map(|(key, value)| (key.clone(), bytes(value))).collect();
        let seen = Seen { kv, to_come: case.fetch.iter().cloned().collect(), wrong: vec![] };
        Ok(Self { policy, hosts, seen: Mutex::new(seen) })
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What did not go as the case says, besides the answer.
    pub(super) fn wrong(&self, case: &Case) -> Vec<String> {
        let seen = self.seen();
        let mut wrong = seen.wrong.clone();
        wrong.extend(seen.to_come.iter().map(|one| format!("never asked: {} {}", one.request.method, one.request.url)));
        if let Some(after) = &case.kv_after {
            let after: BTreeMap<String, Vec<u8>> =
                after.iter().map(|(key, value)| (key.clone(), bytes(value))).collect();
            for key in after.keys().chain(seen.kv.keys().filter(|key| !after.contains_key(*key))) {
                let (wanted, held) = (after.get(key), seen.kv.get(key));
                let same = matches!((wanted, held), (Some(one), Some(other)) if alike(one, other));
                if !same {
                    wrong.push(format!("kept under '{key}': expected {}, found {}", shown(wanted), shown(held)));
                }
            }
        }
        wrong
    }
}

/// JSON is compared as JSON.
fn alike(one: &[u8], other: &[u8]) -> bool {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    one == other || json(one).is_some_and(|one| Some(one) == json(other))
}

fn shown(held: Option<&Vec<u8>>) -> String {
    held.map_or_else(|| "nothing".to_owned(), |held| String::from_utf8_lossy(held).into_owned())
}

fn bytes(value: &Value) -> Vec<u8> {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).into_bytes()
}

#[async_trait]
impl ToolHost for World {
    async fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        KvLimits::default().check(key, &[])?;
        Ok(self.seen().kv.get(key).cloned())
    }

    async fn kv_set(&self, key: &str, value: Vec<u8>) -> Result<()> {
        KvLimits::default().check(key, &value)?;
        self.seen().kv.insert(key.to_owned(), value);
        Ok(())
    }

    async fn fetch(&self, request: FetchRequest) -> Result<OutboundAnswer> {
        self.policy.send(&Cx::internal("default", "tests"), self, self, request).await
    }
}

/// A secret reads as its name.
#[async_trait]
impl Secrets for World {
    async fn find(&self, _: &Cx, name: &str) -> Result<Option<Secret>> {
        Ok(Some(Secret { value: format!("[secret {name}]"), hosts: self.hosts.clone() }))
    }
}

#[async_trait]
impl Egress for World {
    async fn send(&self, _: &Cx, request: Outbound, _: OutboundLimits) -> Result<OutboundAnswer> {
        let mut seen = self.seen();
        let asked = format!("{} {}", request.method, request.url);
        let Some(next) = seen.to_come.pop_front() else {
            seen.wrong.push(format!("asked for {asked}, of which the case does not speak"));
            return Err(Error::upstream("the test's case has no answer to this request"));
        };
        seen.wrong.extend(next.request.differences(&request));
        match (next.response, next.error) {
            (Some(heard), _) => Ok(heard.answer()),
            (None, Some(Broken::Timeout)) => Err(Error::new(Kind::Timeout, "no whole answer in time")),
            (None, Some(Broken::TooLarge)) => Err(Error::new(Kind::TooLarge, "the answer is too large")),
            (None, _) => Err(Error::upstream("the server could not be asked")),
        }
    }
}

impl Expected {
    fn differences(&self, request: &Outbound) -> Vec<String> {
        let mut wrong = vec![];
        let (wanted, asked) = (format!("{} {}", self.method, self.url), format!("{} {}", request.method, request.url));
        if wanted != asked {
            wrong.push(format!("expected a request {wanted}, found {asked}"));
        }
        for (name, value) in &self.headers {
            let held = request.headers.iter().find(|(held, _)| held.eq_ignore_ascii_case(name));
            if held.is_none_or(|(_, held)| held != value) {
                let found = held.map_or("none", |(_, held)| held);
                wrong.push(format!("{asked}: expected the header {name}: {value}, found {found}"));
            }
        }
        if let Some(body) = &self.body
            && !alike(&bytes(body), &request.body)
        {
            let found = String::from_utf8_lossy(&request.body);
            wrong.push(format!("{asked}: expected the body {body}, found {found}"));
        }
        wrong
    }
}

impl Heard {
    fn answer(self) -> OutboundAnswer {
        OutboundAnswer {
            status: self.status,
            headers: self.headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
            body: self.body.as_ref().map(bytes).map(Bytes::from).unwrap_or_default(),
        }
    }
}
