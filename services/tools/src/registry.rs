//! The registry: groups in rows, parsed groups in memory, one gate for every call.
//!
//! A parsed group is reused while its row's revision is the same; listing a group's tools (which every
//! turn does before its first model call) looks at the revision, calls in between read no registry rows.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock, RwLockWriteGuard},
};

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{
    Clock, Cx, Egress, Error, Ids, Kind, Result, Seal, Secrets, Tools,
    chat::ToolCall,
    code,
    servers::Server,
    tools::{OUTCOME_UNKNOWN, Outcome, Reads, Risk, SecretArgs, ToolDef, ToolProvider, ToolResult},
};
use frontdesk_store::{Store, tools as rows};
use serde_json::{Map, Value};

use crate::{
    Group, KvLimits, arguments,
    builtin::Builtins,
    group::{Ready, ReadyTool},
    host::Host,
    registration::{BUILTIN, quoted},
    sealing,
};

/// Most a tool's answer may bring before the model, in bytes.
const MAX_RESULT: usize = 256 * 1024;

/// Where the bytes of uploaded components come from (the files of memory).
#[async_trait]
pub trait ComponentBytes: Send + Sync {
    /// # Errors
    /// `NotFound` naming the file.
    async fn load(&self, cx: &Cx, file_id: &str) -> Result<Bytes>;

    /// With the name it was uploaded by.
    ///
    /// # Errors
    /// As [`ComponentBytes::load`].
    async fn load_named(&self, cx: &Cx, file_id: &str) -> Result<(String, Bytes)> {
        Ok((file_id.to_owned(), self.load(cx, file_id).await?))
    }

    /// What lies in the working folder of code, as [`frontdesk_api::tools::ToolHost::files`] has it.
    ///
    /// # Errors
    /// Infrastructure only.
    async fn files(&self, _cx: &Cx, _run: &str) -> Result<Vec<code::File>> {
        Ok(vec![])
    }

    /// Keeps what code wrote, as [`frontdesk_api::tools::ToolHost::keep_written`] has it.
    ///
    /// # Errors
    /// Infrastructure only.
    async fn keep_written(
        &self,
        _cx: &Cx,
        _run: &str,
        _files: Vec<code::Written>,
        _bounds: &code::Bounds,
    ) -> Result<Option<code::Stored>> {
        Ok(None)
    }

    /// Whether it is kept until somebody deletes it.
    ///
    /// # Errors
    /// As [`ComponentBytes::load`].
    async fn stays(&self, cx: &Cx, file_id: &str) -> Result<bool>;
}

/// What a registry is made of.
pub struct Setting {
    pub store: Store,
    /// By the id that `provider_id` names.
    pub providers: BTreeMap<String, Arc<dyn ToolProvider>>,
    pub bodies: Arc<dyn ComponentBytes>,
    /// Keeps what registrations hold of secrets.
    pub seal: Arc<dyn Seal>,
    /// The provider of servers that requests name themselves, by its id; None: there is none.
    pub servers: Option<String>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub limits: KvLimits,
    /// The way out for tools.
    pub egress: Arc<dyn Egress>,
    pub secrets: Arc<dyn Secrets>,
}

/// The tools of all tenants.
pub struct Registry {
    pub(crate) setting: Setting,
    pub(crate) builtins: Builtins,
    /// By tenant and group.
    ready: RwLock<HashMap<(String, String), Arc<Ready>>>,
}

/// A tool out of a group, under the name the model calls it by.
struct Offered {
    name: String,
    group: Arc<Ready>,
    index: usize,
}

impl Offered {
    fn tool(&self) -> &ReadyTool {
        &self.group.tools[self.index]
    }
}

impl Registry {
    #[must_use]
    pub fn new(setting: Setting) -> Self {
        let builtins = Builtins::of(&setting.providers, setting.clock.now());
        Self { setting, builtins, ready: RwLock::default() }
    }

    /// # Errors
    /// As any query.
    pub async fn list_groups(&self, cx: &Cx) -> Result<Vec<Group>> {
        let tenant = self.setting.store.tenant(cx);
        let (rows, mut signed) = (tenant.list_toolgroups().await?, tenant.list_sign_ins().await?);
        let mut groups: Vec<Group> = self.builtins.rows().chain(rows).map(Group::from).collect();
        for group in &mut groups {
            if let Some(at) = signed.iter().position(|row| row.toolgroup_id == group.id) {
                group.authorization = Some(signed.swap_remove(at).into());
            }
        }
        Ok(groups)
    }

    /// A group that cannot be without this file: it is read anew whenever a process needs it.
    ///
    /// # Errors
    /// As any query.
    pub async fn group_of_file(&self, cx: &Cx, file_id: &str) -> Result<Option<String>> {
        let tenant = self.setting.store.tenant(cx);
        for row in tenant.list_toolgroups().await? {
            let provider = self.setting.providers.get(&row.provider_id);
            let reads = provider.and_then(|provider| provider.reads(&row.args).ok()).flatten();
            if reads == Some(Reads::File(file_id.to_owned()))
                && tenant.find_toolgroup_kept(&row.id, &row.revision).await?.is_none()
            {
                return Ok(Some(row.id));
            }
        }
        Ok(None)
    }

    /// # Errors
    /// `NotFound`.
    pub async fn load_group(&self, cx: &Cx, id: &str) -> Result<Group> {
        if let Some(builtin) = self.builtins.rows().find(|row| row.id == id) {
            return Ok(builtin.into());
        }
        let tenant = self.setting.store.tenant(cx);
        let (row, _) = tenant.find_toolgroup(id).await?.ok_or_else(|| no_group(id))?;
        let mut group = Group::from(row);
        if let Some(row) = tenant.find_sign_in(id).await? {
            group.authorization = Some(row.into());
        }
        Ok(group)
    }

    /// Deletes a group with the data its tools kept.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_group(&self, cx: &Cx, id: &str) -> Result<()> {
        let change = self.change(cx, id, "deleted", Value::Null);
        self.setting.store.tenant(cx).delete_toolgroup(id, &change).await?;
        self.forget(cx, id);
        Ok(())
    }

    /// The tools of one group (`group` or `group/tool`), or of all, each with its provider's id.
    ///
    /// # Errors
    /// `NotFound` naming the group.
    pub async fn list_tools(&self, cx: &Cx, group: Option<&str>) -> Result<Vec<(ToolDef, String)>> {
        let groups = match group {
            Some(id) => vec![id.to_owned()],
            None => self.builtins.rows().map(|row| row.id).chain(self.revisions(cx).await?.into_keys()).collect(),
        };
        let offered = self.offered(cx, &groups, true).await?;
        Ok(offered.iter().map(|o| (o.tool().def.clone(), o.group.provider_id.clone())).collect())
    }

    /// A tool by its name, or by `group/name` where several groups have one of that name.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` naming the groups that have it.
    pub async fn load_tool(&self, cx: &Cx, name: &str) -> Result<(ToolDef, String)> {
        let mut tools = self.list_tools(cx, None).await?;
        tools.retain(|(def, _)| {
            def.name == name || name.strip_prefix(def.toolgroup.as_str()) == Some(&format!("/{}", def.name))
        });
        if tools.len() > 1 {
            let places: Vec<String> = tools.iter().map(|(def, _)| format!("{}/{}", def.toolgroup, def.name)).collect();
            let message = format!("several tools are called '{name}': name one of {}", places.join(", "));
            return Err(Error::conflict(message).with_param("tool_name"));
        }
        tools.pop().ok_or_else(|| Error::not_found(format!("no tool is called '{name}'")).with_code("tool_not_found"))
    }

    /// Calls a tool directly, outside any turn.
    ///
    /// # Errors
    /// As [`Registry::load_tool`], and infrastructure.
    pub async fn invoke(
        &self,
        cx: &Cx,
        name: &str,
        arguments: &Map<String, Value>,
        idempotency_key: &str,
    ) -> Result<Outcome> {
        let (def, _) = self.load_tool(cx, name).await?;
        let arguments = Value::Object(arguments.clone()).to_string();
        let call = ToolCall { id: idempotency_key.to_owned(), name: def.name, arguments };
        self.call(cx, &[def.toolgroup], &call, idempotency_key, false).await
    }

    /// Makes `entries` all the data that the group's tools keep under names with `prefix` (every entry's key
    /// begins with it), in one step: a call sees the old data or the new.
    ///
    /// # Errors
    /// `NotFound` for the group, `Invalid` for a key, `TooLarge`.
    pub async fn replace_data(&self, cx: &Cx, group: &str, prefix: &str, entries: &[(String, Vec<u8>)]) -> Result<()> {
        for (key, value) in entries {
            self.setting.limits.check(key, value)?;
            if !key.starts_with(prefix) {
                return Err(Error::new(Kind::Invalid, format!("the key '{key}' does not begin with '{prefix}'")));
            }
        }
        let mut tx = self.setting.store.tenant(cx).write().await?;
        rows::hold_values(&mut tx, group)
            .await
            .map_err(|e| if e.kind == Kind::Conflict { no_group(group) } else { e })?;
        rows::remove_values(&mut tx, group, prefix).await?;
        for (key, value) in entries {
            rows::put_value(&mut tx, group, key, value).await?;
        }
        self.setting.limits.check_held(group, rows::values_held(&mut tx, group).await?)?;
        tx.commit().await
    }

    pub(crate) fn provider(&self, id: &str) -> Result<Arc<dyn ToolProvider>> {
        let providers = &self.setting.providers;
        providers.get(id).cloned().ok_or_else(|| {
            let known: Vec<&str> = providers.keys().map(String::as_str).collect();
            Error::invalid("provider_id", format!("no tool provider has the id '{id}'; there are {}", quoted(&known)))
        })
    }

    async fn revisions(&self, cx: &Cx) -> Result<BTreeMap<String, String>> {
        Ok(self.setting.store.tenant(cx).toolgroup_revisions().await?.into_iter().collect())
    }

    fn cached(&self, cx: &Cx, id: &str) -> Option<Arc<Ready>> {
        let ready = self.ready.read().unwrap_or_else(PoisonError::into_inner);
        ready.get(&(cx.tenant.clone(), id.to_owned())).cloned()
    }

    pub(crate) fn keep(&self, cx: &Cx, id: &str, group: Arc<Ready>) {
        let revision = group.source.revision.clone();
        let before = self.ready().insert((cx.tenant.clone(), id.to_owned()), group);
        if let Some(before) = before.filter(|before| before.source.revision != revision) {
            before.provider.retire(cx, &before.source);
        }
    }

    pub(crate) fn forget(&self, cx: &Cx, id: &str) {
        let before = self.ready().remove(&(cx.tenant.clone(), id.to_owned()));
        if let Some(before) = before {
            before.provider.retire(cx, &before.source);
        }
    }

    fn ready(&self) -> RwLockWriteGuard<'_, HashMap<(String, String), Arc<Ready>>> {
        self.ready.write().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self, cx: &Cx, id: &str) -> Result<Arc<Ready>> {
        let tenant = self.setting.store.tenant(cx);
        let (row, tools) = tenant.find_toolgroup(id).await?.ok_or_else(|| no_group(id))?;
        let kept = tenant.find_toolgroup_kept(id, &row.revision).await?;
        let provider = self.setting.providers.get(&row.provider_id).cloned().ok_or_else(|| {
            let message =
                format!("the provider '{}' of the tool group '{id}' is not configured any more", row.provider_id);
            Error::unavailable(message)
        })?;
        let body = match kept {
            Some(kept) => Some(Bytes::from(kept)),
            None => self.read(cx, &*provider, &row.args).await?,
        };
        let secrets = match &row.sealed {
            Some(sealed) => sealing::opened(&*self.setting.seal, cx, id, sealed)?,
            None => SecretArgs::default(),
        };
        let ready = Arc::new(Ready::new(row, tools, provider, body, secrets)?);
        self.keep(cx, id, Arc::clone(&ready));
        Ok(ready)
    }

    /// The tools of `groups` in order, each under a name of its own. `fresh`: look whether a group was
    /// registered anew meanwhile.
    async fn offered(&self, cx: &Cx, groups: &[String], fresh: bool) -> Result<Vec<Offered>> {
        let mut offered = vec![];
        let mut names = HashSet::new();
        if groups.is_empty() {
            return Ok(offered);
        }
        let revisions = if fresh { Some(self.revisions(cx).await?) } else { None };
        // One that this installation has not is passed over: a stored agent may name it.
        let here = |g: &&String| !g.starts_with(BUILTIN) || self.builtins.has(g.split('/').next().unwrap_or(g));
        for asked in groups.iter().filter(here) {
            let (group, only) = self.resolve(cx, asked, revisions.as_ref()).await?;
            for (index, tool) in group.tools.iter().enumerate() {
                if only.as_ref().is_some_and(|name| *name != tool.def.name) {
                    continue;
                }
                let name = free_name(&names, &group.source.toolgroup, &tool.def.name);
                // The same tool asked for twice is one tool.
                let same = |o: &Offered| Arc::ptr_eq(&o.group, &group) && o.index == index;
                if offered.iter().any(same) {
                    continue;
                }
                names.insert(name.clone());
                offered.push(Offered { name, group: Arc::clone(&group), index });
            }
        }
        Ok(offered)
    }

    /// A group by its id, or a tool of it by `group/tool`.
    async fn resolve(
        &self,
        cx: &Cx,
        asked: &str,
        revisions: Option<&BTreeMap<String, String>>,
    ) -> Result<(Arc<Ready>, Option<String>)> {
        match self.current(cx, asked, revisions).await {
            Err(e) if e.kind == Kind::NotFound && e.param.is_none() => {}
            found => return Ok((found?, None)),
        }
        let Some((group, tool)) = asked.rsplit_once('/') else { return Err(no_group(asked)) };
        let group = self
            .current(cx, group, revisions)
            .await
            .map_err(|e| if e.kind == Kind::NotFound { no_group(asked) } else { e })?;
        if !group.tools.iter().any(|t| t.def.name == tool) {
            return Err(no_group(asked));
        }
        Ok((group, Some(tool.to_owned())))
    }

    async fn current(&self, cx: &Cx, id: &str, revisions: Option<&BTreeMap<String, String>>) -> Result<Arc<Ready>> {
        if let Some(builtin) = self.builtins.find(cx, id).await? {
            return Ok(builtin);
        }
        let cached = self.cached(cx, id);
        let Some(revisions) = revisions else {
            return match cached {
                Some(group) => Ok(group),
                None => self.load(cx, id).await,
            };
        };
        let revision = revisions.get(id).ok_or_else(|| no_group(id))?;
        match cached.filter(|group| group.source.revision == *revision) {
            Some(group) => Ok(group),
            None => self.load(cx, id).await,
        }
    }
}

#[async_trait]
impl Tools for Registry {
    async fn list(&self, cx: &Cx, groups: &[String]) -> Result<Vec<ToolDef>> {
        let offered = self.offered(cx, groups, true).await?;
        let on = offered.into_iter().filter(|o| !o.group.disabled);
        Ok(on.map(|o| ToolDef { name: o.name.clone(), ..o.tool().def.clone() }).collect())
    }

    async fn call(
        &self,
        cx: &Cx,
        groups: &[String],
        call: &ToolCall,
        idempotency_key: &str,
        approved: bool,
    ) -> Result<Outcome> {
        let offered = self.offered(cx, groups, false).await?;
        let Some(found) = offered.iter().find(|o| o.name == call.name) else {
            let known: Vec<&str> = offered.iter().map(|o| o.name.as_str()).collect();
            return Ok(failed(&format!("no tool is called '{}'; there are {}", call.name, quoted(&known))));
        };
        let tool = found.tool();
        if found.group.disabled {
            return Ok(failed(&format!("'{}' is switched off by its operator and was not run", call.name)));
        }
        // Nobody can be asked here; without a yes it is a no, in a turn and outside.
        if tool.def.risk == Risk::ApprovalRequired && !approved {
            return Ok(failed(&format!("'{}' needs the approval of a person and was not run", call.name)));
        }
        let bound = &tool.def.bound_args;
        let mut arguments = match arguments::read(&call.arguments, &tool.check, bound) {
            Ok(arguments) => arguments,
            Err(wrong) => return Ok(failed(&wrong)),
        };
        if let Err(wrong) = arguments::bind(&mut arguments, bound, cx.customer.as_ref()) {
            return Ok(failed(&wrong));
        }
        // A provider knows the call by its idempotency key: the same for every attempt.
        let call = ToolCall {
            id: idempotency_key.to_owned(),
            name: tool.def.wire_name.clone(),
            arguments: Value::Object(arguments).to_string(),
        };
        self.ask(cx, &found.group, &call).await
    }

    async fn list_server(&self, cx: &Cx, server: &Server) -> Result<Vec<ToolDef>> {
        self.tools_of(cx, server).await
    }

    async fn call_server(
        &self,
        cx: &Cx,
        server: &Server,
        tool: &ToolDef,
        call: &ToolCall,
        idempotency_key: &str,
    ) -> Result<Outcome> {
        self.call_tool_of(cx, server, tool, call, idempotency_key).await
    }

    fn leave_server(&self, cx: &Cx, server: &Server) {
        self.leave(cx, server);
    }

    fn forget_conversations(&self, cx: &Cx, workspaces: &[String]) {
        for provider in self.setting.providers.values() {
            provider.forget_conversations(cx, workspaces);
        }
    }
}

impl Registry {
    /// Asks a provider; what it could not do is a result.
    pub(crate) async fn ask(&self, cx: &Cx, group: &Arc<Ready>, call: &ToolCall) -> Result<Outcome> {
        let host = Host {
            store: self.setting.store.clone(),
            bodies: Arc::clone(&self.setting.bodies),
            cx: cx.clone(),
            group: Arc::clone(group),
            limits: self.setting.limits,
            egress: Arc::clone(&self.setting.egress),
            secrets: Arc::clone(&self.setting.secrets),
        };
        let host = Arc::new(host);
        // Only what is registered is let in anywhere.
        let outcome = match group.source.revision.is_empty() {
            true => group.provider.call(cx, &group.source, call, host).await,
            false => self.let_in(cx, &group.provider, &group.source, call, host).await,
        };
        match outcome {
            Ok(Outcome::Done(result)) if result.content.len() > MAX_RESULT => {
                Ok(failed(&format!("the tool answered {} bytes; at most {MAX_RESULT} are read", result.content.len())))
            }
            Ok(Outcome::NeedsInput(request)) if request.bytes() > MAX_RESULT => {
                Ok(failed(&format!("the tool asked a person {} bytes; at most {MAX_RESULT} are read", request.bytes())))
            }
            // Whoever did not answer in time may have done its work.
            Err(e) if e.kind == Kind::Timeout || e.code.as_deref() == Some(OUTCOME_UNKNOWN) => {
                Ok(Outcome::Done(ToolResult::unsure(&e.message)))
            }
            Err(e) if !matches!(e.kind, Kind::Internal | Kind::Unavailable | Kind::Cancelled) => Ok(failed(&e.message)),
            outcome => outcome,
        }
    }
}

pub(crate) fn failed(message: &str) -> Outcome {
    Outcome::Done(ToolResult::error(message))
}

pub(crate) fn no_group(id: &str) -> Error {
    Error::not_found(format!("no tool group has the id '{id}'")).with_code("toolgroup_not_found")
}

/// `name`, or `group_name` when it is taken: unique within an agent and still callable.
fn free_name(taken: &HashSet<String>, group: &str, name: &str) -> String {
    if !taken.contains(name) {
        return name.to_owned();
    }
    let group: String = group.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let full = format!("{group}_{name}");
    // The end tells tools apart; names are ASCII.
    let mut free = full[full.len().saturating_sub(64)..].to_owned();
    let mut n = 2;
    while taken.contains(&free) {
        let end = format!("_{n}");
        let keep = full.len().min(64 - end.len());
        free = format!("{}{end}", &full[full.len() - keep..]);
        n += 1;
    }
    free
}
