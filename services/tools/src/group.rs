//! A registered group, parsed and ready to be called.

use std::sync::Arc;

use frontdesk_api::{
    Error, Kind, Micros, Result,
    tools::{SecretArgs, ToolDef, ToolProvider, ToolSource},
};
use frontdesk_store::{sign_ins::StoredSignIn, tools::StoredToolgroup};
use jsonschema::{PatternOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{arguments, fetch::Policy};

/// Whose systems a group's results come from: shown to people, and acted on by nothing yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// The shop's own: what an operator registers, unless said otherwise.
    #[default]
    Own,
    /// Results are untrusted text.
    ThirdParty,
}

impl Trust {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::ThirdParty => "third_party",
        }
    }
}

/// A registered tool group.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    pub id: String,
    pub provider_id: String,
    pub trust: Trust,
    pub args: Value,
    /// Powers the operator granted.
    pub grants: Vec<String>,
    /// Hash of what was inspected.
    pub hash: String,
    pub created_at: Micros,
    /// Its tools are offered to no model and do not run.
    pub disabled: bool,
    /// How it stands with a server that asks for OAuth; None: it does not.
    pub authorization: Option<Authorization>,
}

/// The problem of a group that was registered and never let in.
pub(crate) const NOBODY: &str = "nobody has signed in yet";

/// How a group stands with a server that asks for OAuth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Why a person has to sign in; None: somebody did.
    pub problem: Option<String>,
}

impl From<StoredSignIn> for Authorization {
    fn from(row: StoredSignIn) -> Self {
        Self { problem: row.problem }
    }
}

impl From<StoredToolgroup> for Group {
    fn from(row: StoredToolgroup) -> Self {
        Self {
            // A word that this program does not know was not written to be trusted.
            trust: if row.trust == Trust::Own.as_str() { Trust::Own } else { Trust::ThirdParty },
            id: row.id,
            provider_id: row.provider_id,
            args: row.args,
            grants: row.grants,
            hash: row.hash,
            created_at: row.created_at,
            disabled: row.disabled_at.is_some(),
            authorization: row.overrides.map(|_| Authorization { problem: Some(NOBODY.to_owned()) }),
        }
    }
}

/// A group with everything a call needs, so that a call reads no rows of the registry.
pub(crate) struct Ready {
    pub(crate) provider_id: String,
    pub(crate) provider: Arc<dyn ToolProvider>,
    pub(crate) source: ToolSource,
    pub(crate) disabled: bool,
    /// What its tools may ask and use.
    pub(crate) policy: Policy,
    pub(crate) tools: Vec<ReadyTool>,
}

pub(crate) struct ReadyTool {
    /// As pinned, its schema the one the model is offered.
    pub(crate) def: ToolDef,
    pub(crate) check: Validator,
}

impl Ready {
    pub(crate) fn new(
        row: StoredToolgroup,
        tools: Vec<ToolDef>,
        provider: Arc<dyn ToolProvider>,
        body: Option<bytes::Bytes>,
        secrets: SecretArgs,
    ) -> Result<Self> {
        let (policy, disabled) = (Policy::of(&row.args)?, row.disabled_at.is_some());
        let pinned = tools.iter().map(|def| (def.wire_name.clone(), def.hash.clone())).collect();
        let (toolgroup, args, hash, grants) = (row.id, row.args, row.hash, row.grants);
        let revision = row.revision;
        let source = ToolSource { toolgroup, args, secrets, pinned, hash, revision, body, grants, signed: None };
        let alone = provider.one_at_a_time(&source);
        let tools = tools.into_iter().map(|def| ReadyTool::new(ToolDef { alone: def.alone || alone, ..def }));
        let tools = tools.collect::<Result<_>>()?;
        Ok(Self { provider_id: row.provider_id, provider, source, disabled, policy, tools })
    }
}

impl ReadyTool {
    pub(crate) fn new(mut def: ToolDef) -> Result<Self> {
        def.schema = arguments::offered(&def.schema, &def.bound_args);
        // Patterns take linear time: schemas come from strangers too.
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
        let check = options.build(&def.schema).map_err(|e| {
            Error::new(Kind::Invalid, format!("the schema of the tool '{}' is no JSON Schema: {e}", def.name))
        })?;
        Ok(Self { def, check })
    }
}
