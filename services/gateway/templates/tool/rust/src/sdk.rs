//! Between the component's world and its tools: describes them, reads their arguments, writes their answers.
//!
//! A tool that cannot do it returns a [`ToolError`], whose text the model reads. A panic ends the call as a crash, and
//! the model reads no reason.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

pub use crate::exports::frontdesk::tool::tools::Error as ToolError;

impl ToolError {
    /// The tool could not do it.
    pub fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    /// The arguments make no sense, beyond what the schema says; the model may try again.
    #[allow(dead_code)] // for tools to come
    pub fn bad_arguments(text: impl Into<String>) -> Self {
        Self::BadArguments(text.into())
    }
}

/// What a second call does to the world.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)] // each is some tool's
pub enum Effect {
    None,
    /// Same key, same result.
    Idempotent,
    Unsafe,
}

/// How much a call can hurt.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)] // each is some tool's
pub enum Risk {
    Read,
    LowImpactWrite,
    /// Waits for a person.
    ApprovalRequired,
}

type Run = Box<dyn Fn(&str) -> Result<String, ToolError>>;

/// A tool, described and ready to run.
pub struct Tool {
    name: &'static str,
    about: Value,
    run: Run,
}

impl Tool {
    /// `parameters` is the JSON Schema of the arguments; `run` gets them as its own type, which has to say the same.
    pub fn new<Arguments, Answer>(
        name: &'static str,
        description: &str,
        parameters: Value,
        effect: Effect,
        risk: Risk,
        run: fn(Arguments) -> Result<Answer, ToolError>,
    ) -> Self
    where
        Arguments: DeserializeOwned + 'static,
        Answer: Serialize + 'static,
    {
        let about = json!({ "name": name, "description": description, "parameters": parameters, "effect": effect, "risk": risk });
        let run = move |args: &str| {
            let args = serde_json::from_str(args).map_err(|error| ToolError::BadArguments(error.to_string()))?;
            serde_json::to_string(&run(args)?).map_err(|error| ToolError::Failed(error.to_string()))
        };
        Self { name, about, run: Box::new(run) }
    }

    /// What it has in statics is there for the conversation's next call, most of the time.
    #[allow(dead_code)] // for tools to come
    pub fn kept(mut self) -> Self {
        self.about["keep"] = json!("conversation");
        self
    }
}

pub fn describe(tools: &[Tool]) -> String {
    Value::from_iter(tools.iter().map(|tool| tool.about.clone())).to_string()
}

pub fn call(tools: &[Tool], name: &str, args: &str) -> Result<String, ToolError> {
    match tools.iter().find(|tool| tool.name == name) {
        Some(tool) => (tool.run)(args),
        None => Err(ToolError::BadArguments(format!("no tool is called {name}"))),
    }
}
