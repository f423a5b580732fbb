//! Prompts as OGX's clients store them; a response names one instead of sending its words.
//!
//! Invariant: a stored text uses no variable that it does not declare, so whoever fills its variables has filled it.

pub mod create;
pub mod delete;
pub mod list;
pub mod set_default_version;
pub mod show;
pub mod update;
pub mod versions;

use frontdesk_api::{Error, Result};
use frontdesk_store::prompts::Prompt;
use frontdesk_wire::openai::responses::prompt::names;
use serde::Serialize;

/// The longest text of a prompt, in bytes: 256 KiB, more than most models read.
const LONGEST: usize = 256 * 1024;

/// The most variables of a prompt.
const MOST: usize = 128;

/// OGX's object.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PromptInfo {
    #[schema(example = "pmpt_01jd0c6v2e8k4m6p8r0t2v4x6z")]
    prompt_id: String,
    /// From 1; each change counts.
    version: i64,
    /// Whether this version is meant where none is named.
    is_default: bool,
    /// With `{{ name }}` where a variable stands.
    prompt: String,
    variables: Vec<String>,
}

impl From<Prompt> for PromptInfo {
    fn from(prompt: Prompt) -> Self {
        Self {
            prompt_id: prompt.id,
            version: prompt.version,
            is_default: prompt.is_default,
            prompt: prompt.text,
            variables: prompt.variables,
        }
    }
}

/// OGX's list, which has no pages.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PromptList {
    data: Vec<PromptInfo>,
}

impl From<Vec<Prompt>> for PromptList {
    fn from(prompts: Vec<Prompt>) -> Self {
        Self { data: prompts.into_iter().map(PromptInfo::from).collect() }
    }
}

/// What can be known to be wrong with a prompt before it is stored.
fn check(text: &str, variables: &[String]) -> Result<()> {
    if text.is_empty() || text.len() > LONGEST || text.contains('\0') {
        let message = format!("prompt has 1 to {LONGEST} bytes and no zero byte");
        return Err(Error::invalid("prompt", message));
    }
    if variables.len() > MOST {
        return Err(Error::invalid("variables", format!("variables has at most {MOST} names")));
    }
    for (i, name) in variables.iter().enumerate() {
        let word = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if !word || variables[..i].contains(name) {
            let message = format!("variables[{i}] must be a name of its own out of letters, digits and _");
            return Err(Error::invalid(format!("variables[{i}]"), message));
        }
    }
    match names(text).find(|name| !variables.iter().any(|declared| declared == name)) {
        None => Ok(()),
        Some(name) => {
            let message = format!("the prompt uses '{name}', which is not among its variables");
            Err(Error::invalid("variables", message).with_code("undeclared_variable"))
        }
    }
}
