//! The body of `POST /v1/chat/completions` as this engine reads it, and what it refuses.
//!
//! Members it does not know are ignored (clients send many); members it knows but cannot honour are refused by name,
//! so that no answer silently ignores what was asked for.
//! Shapes: <https://platform.openai.com/docs/api-reference/chat/create>.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::problem::Problem;

/// A chat completion request.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ChatBody {
    pub(crate) model: String,
    pub(crate) messages: Vec<Message>,
    pub(crate) stream: Option<bool>,
    pub(crate) stream_options: Option<StreamOptions>,
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) top_k: Option<usize>,
    pub(crate) min_p: Option<f64>,
    pub(crate) frequency_penalty: Option<f32>,
    pub(crate) presence_penalty: Option<f32>,
    pub(crate) repetition_penalty: Option<f32>,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) max_completion_tokens: Option<usize>,
    pub(crate) stop: Option<Stop>,
    pub(crate) seed: Option<i64>,
    pub(crate) n: Option<u32>,
    pub(crate) logprobs: Option<bool>,
    pub(crate) top_logprobs: Option<usize>,
    pub(crate) logit_bias: Option<HashMap<String, f32>>,
    #[serde(default)]
    pub(crate) tools: Option<Vec<ToolBody>>,
    pub(crate) tool_choice: Option<ToolChoiceBody>,
    pub(crate) parallel_tool_calls: Option<bool>,
    pub(crate) response_format: Option<ResponseFormat>,
    pub(crate) reasoning_effort: Option<String>,
    pub(crate) functions: Option<Vec<Value>>,
    pub(crate) function_call: Option<Value>,
    pub(crate) modalities: Option<Vec<String>>,
    pub(crate) web_search_options: Option<Value>,
    /// Members some servers take for the chat template; only `enable_thinking` is read.
    pub(crate) chat_template_kwargs: Option<TemplateArguments>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct TemplateArguments {
    pub(crate) enable_thinking: Option<bool>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: Option<bool>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Message {
    pub(crate) role: String,
    pub(crate) content: Option<Content>,
    pub(crate) tool_calls: Option<Vec<CallBody>>,
    pub(crate) tool_call_id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) reasoning_content: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Part {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) text: Option<String>,
    pub(crate) image_url: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CallBody {
    pub(crate) id: String,
    pub(crate) function: CallFunction,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct CallFunction {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) arguments: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ToolBody {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) function: FunctionBody,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct FunctionBody {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) parameters: Option<serde_json::Map<String, Value>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum ToolChoiceBody {
    Word(String),
    Named { function: NamedFunction },
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NamedFunction {
    pub(crate) name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ResponseFormat {
    Text,
    JsonObject,
    JsonSchema { json_schema: NamedSchema },
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NamedSchema {
    pub(crate) schema: Option<serde_json::Map<String, Value>>,
}

impl ChatBody {
    /// Reads a body.
    ///
    /// # Errors
    /// `invalid`, naming the member that does not fit.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let body: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            let cause = error.into_inner();
            if cause.is_data() && path != "." {
                Problem::invalid(path.clone(), format!("'{path}' does not fit: {cause}"))
            } else {
                Problem::malformed(format!("the body is not a chat completion request: {cause}"))
            }
        })?;
        reader.end().map_err(|cause| Problem::malformed(format!("the body does not end: {cause}")))?;
        body.check()?;
        Ok(body)
    }

    /// The most tokens the answer may have, if the client said so.
    pub(crate) fn answer_limit(&self) -> Option<usize> {
        self.max_completion_tokens.or(self.max_tokens)
    }

    /// Whether there is an image to be read.
    pub(crate) fn has_images(&self) -> bool {
        let parts = self.messages.iter().filter_map(|message| match &message.content {
            Some(Content::Parts(parts)) => Some(parts),
            _ => None,
        });
        parts.flatten().any(|part| part.kind == "image_url")
    }

    /// The strings that end the answer; never empty strings.
    pub(crate) fn stops(&self) -> Vec<String> {
        match &self.stop {
            None => Vec::new(),
            Some(Stop::One(one)) => vec![one.clone()],
            Some(Stop::Many(many)) => many.clone(),
        }
    }

    pub(crate) fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    pub(crate) fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage) == Some(true)
    }

    fn check(&self) -> Result<(), Problem> {
        if self.messages.is_empty() {
            return Err(Problem::invalid("messages", "'messages' is empty"));
        }
        if self.n.is_some_and(|n| n != 1) {
            return Err(Problem::invalid("n", "this engine makes one choice per request ('n' = 1)"));
        }
        if self.answer_limit() == Some(0) {
            return Err(Problem::invalid("max_tokens", "'max_tokens' must be at least 1"));
        }
        if self.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty()) {
            return Err(Problem::invalid("logit_bias", "this engine does not apply 'logit_bias'"));
        }
        if self.functions.as_ref().is_some_and(|functions| !functions.is_empty()) {
            return Err(Problem::invalid("functions", "'functions' is not known here: give 'tools'"));
        }
        if self.function_call.is_some() {
            return Err(Problem::invalid("function_call", "'function_call' is not known here: give 'tool_choice'"));
        }
        if self.modalities.iter().flatten().any(|kind| kind != "text") {
            return Err(Problem::invalid("modalities", "this engine answers in text"));
        }
        if self.web_search_options.is_some() {
            return Err(Problem::invalid("web_search_options", "this engine does not search the web"));
        }
        if self.stops().iter().any(String::is_empty) {
            return Err(Problem::invalid("stop", "'stop' holds an empty string"));
        }
        if self.stops().len() > 16 {
            return Err(Problem::invalid("stop", "'stop' holds more than 16 strings"));
        }
        within("temperature", self.temperature, 0.0, 2.0)?;
        within("top_p", self.top_p, 0.0, 1.0)?;
        within("min_p", self.min_p, 0.0, 1.0)?;
        within("frequency_penalty", self.frequency_penalty.map(f64::from), -2.0, 2.0)?;
        within("presence_penalty", self.presence_penalty.map(f64::from), -2.0, 2.0)?;
        within("repetition_penalty", self.repetition_penalty.map(f64::from), 0.01, 10.0)?;
        if self.top_logprobs.is_some_and(|count| count > 20) {
            return Err(Problem::invalid("top_logprobs", "'top_logprobs' must be at most 20"));
        }
        for (index, tool) in self.tools.iter().flatten().enumerate() {
            if tool.kind != "function" {
                let path = format!("tools[{index}].type");
                let message = format!("tools of type '{}' are not known here", tool.kind);
                return Err(Problem::invalid(path, message));
            }
        }
        Ok(())
    }
}

fn within(name: &str, value: Option<f64>, least: f64, most: f64) -> Result<(), Problem> {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            Err(Problem::invalid(name, format!("'{name}' must be between {least} and {most}, not {value}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> Problem {
        ChatBody::read(body.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_member_of_the_wrong_type_is_named() {
        let problem = refusal(r#"{"model":"m","messages":[{"role":7,"content":"x"}]}"#);
        assert_eq!((problem.status, problem.param.as_deref()), (400, Some("messages[0].role")));
    }

    #[test]
    fn broken_json_says_where() {
        let problem = refusal(r#"{"model":"m","messages":["#);
        assert_eq!((problem.status, problem.param.clone()), (400, None));
        assert!(problem.message.contains("column"), "{}", problem.message);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let base = r#""model":"m","messages":[{"role":"user","content":"x"}]"#;
        for (member, name) in [
            (r#""n":2"#, "n"),
            (r#""temperature":3"#, "temperature"),
            (r#""top_p":-1"#, "top_p"),
            (r#""max_tokens":0"#, "max_tokens"),
            (r#""stop":["ok",""]"#, "stop"),
            (r#""logit_bias":{"5":1}"#, "logit_bias"),
            (r#""functions":[{"name":"f"}]"#, "functions"),
            (r#""function_call":"auto""#, "function_call"),
            (r#""modalities":["text","audio"]"#, "modalities"),
            (r#""web_search_options":{}"#, "web_search_options"),
            (r#""tools":[{"type":"web","function":{"name":"x"}}]"#, "tools[0].type"),
        ] {
            let problem = refusal(&format!("{{{base},{member}}}"));
            assert_eq!(problem.param.as_deref(), Some(name), "{member}");
        }
    }

    #[test]
    fn unknown_members_and_nulls_are_fine() {
        let body =
            r#"{"model":"m","messages":[{"role":"user","content":"x","later":1}],"stop":null,"tools":null,"user":"u"}"#;
        assert!(ChatBody::read(body.as_bytes()).is_ok());
    }
}
