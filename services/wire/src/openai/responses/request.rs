//! `POST /v1/responses`: what is asked, and the members of the response object that only repeat it.

use frontdesk_api::{Error, Result, chat::ToolChoice};
use serde_json::{Map, Value, json};

use super::{
    input::{Input, input},
    logprobs,
    prompt::{self, Named},
    tools::{self, Tools},
};
use crate::{fields::Fields, openai::peek};

/// Where the answer's source passages are wanted.
pub const FILE_SEARCH_RESULTS: &str = "file_search_call.results";

/// Where what code printed is wanted.
pub const CODE_OUTPUTS: &str = "code_interpreter_call.outputs";

/// Where the pages that searches of the web found are wanted.
pub const WEB_SOURCES: &str = "web_search_call.action.sources";

/// Where what is known of the answer's tokens is wanted.
pub const LOGPROBS: &str = "message.output_text.logprobs";

/// Where what was thought is wanted for the client to keep.
pub const THOUGHTS: &str = "reasoning.encrypted_content";

/// Where the addresses of pictures that were sent are wanted.
pub const IMAGES: &str = "message.input_image.image_url";

/// What `include` asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Include {
    /// What searches found.
    pub results: bool,
    /// What code printed.
    pub outputs: bool,
    /// Which pages searches of the web found.
    pub sources: bool,
    /// What is known of the answer's tokens.
    pub logprobs: bool,
    /// What was thought, sealed.
    pub thoughts: bool,
    /// Addresses of pictures that were sent, their data too.
    pub images: bool,
}

impl Include {
    /// All there is.
    pub const EVERYTHING: Self =
        Self { results: true, outputs: true, sources: true, logprobs: true, thoughts: true, images: true };

    /// Adds a word of `include`, a member or of a query.
    ///
    /// # Errors
    /// `Invalid` naming where it stands.
    pub fn add(&mut self, word: &str, path: &str) -> Result<()> {
        known(word, path)?;
        self.results |= word == FILE_SEARCH_RESULTS;
        self.outputs |= word == CODE_OUTPUTS;
        self.sources |= word == WEB_SOURCES;
        self.logprobs |= word == LOGPROBS;
        self.thoughts |= word == THOUGHTS;
        self.images |= word == IMAGES;
        Ok(())
    }
}

/// What `include` may name (OpenAI's API reference, "include"). Those without a name include nothing: a computer's output is
/// an item that nothing here makes, and a `web_search_call` has no member of results in the types of OpenAI's packages.
const INCLUDABLE: [&str; 8] = [
    FILE_SEARCH_RESULTS,
    CODE_OUTPUTS,
    THOUGHTS,
    IMAGES,
    "computer_call_output.output.image_url",
    "web_search_call.results",
    WEB_SOURCES,
    LOGPROBS,
];

/// A request for a response.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// A model, an alias, a route, or `agent/NAME`.
    pub model: String,
    pub input: Vec<Input>,
    pub instructions: Option<String>,
    /// A stored text that stands before the instructions.
    pub prompt: Option<Named>,
    pub tools: Tools,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    pub max_output_tokens: Option<u32>,
    /// Of calls that are made here.
    pub max_tool_calls: Option<u32>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    /// In the shape of chat completions.
    pub response_format: Option<Value>,
    /// Whether the oldest turns may stay out where all of them are too long; None: it was not said.
    pub truncate: Option<bool>,
    /// Members for the model, by their names in chat completions.
    pub extra: Map<String, Value>,
    pub previous_response_id: Option<String>,
    pub conversation: Option<String>,
    pub background: bool,
    pub stream: bool,
    pub store: bool,
    /// What its items show.
    pub include: Include,
    /// Members of the response object that repeat the request.
    pub echo: Map<String, Value>,
}

/// Reads a request body.
///
/// # Errors
/// `Invalid` naming the member; one that nobody here knows too.
pub fn request(body: &[u8]) -> Result<Asked> {
    let mut fields = Fields::of_body(body)?;
    let mut echo = Map::new();
    let model = fields.id("model")?.filter(|m| !m.is_empty()).ok_or_else(|| fields.missing("model"))?;
    let items = fields.take("input").map(|value| input(value, "input")).transpose()?.unwrap_or_default();
    let instructions = fields.text("instructions")?;
    let (prompt, shown_prompt) = prompt::prompt(&mut fields)?;
    let mut tools = tools::tools(fields.list("tools")?.unwrap_or_default())?;
    let choice = fields.take("tool_choice");
    let tool_choice = choice.as_ref().map(|choice| tools::choice(choice, &mut tools)).transpose()?;
    let parallel_tool_calls = fields.flag("parallel_tool_calls")?;
    let max_output_tokens = fields.count("max_output_tokens", 1)?;
    let max_tool_calls = fields.count("max_tool_calls", 1)?;
    let (temperature, top_p) = (fields.number("temperature", 0.0, 2.0)?, fields.number("top_p", 0.0, 1.0)?);
    let truncation = fields.word("truncation", &["auto", "disabled"])?;
    let notes = fields.take("metadata").map(|value| value.to_string());
    let metadata = peek::metadata(notes.as_deref())?;
    let background = fields.flag("background")?.unwrap_or(false);
    let stream = fields.flag("stream")?.unwrap_or(false);
    let store = fields.flag("store")?.unwrap_or(true);
    let previous_response_id = fields.id("previous_response_id")?;
    let conversation = conversation(&mut fields)?;
    if previous_response_id.is_some() && conversation.is_some() {
        let message = "'previous_response_id' and 'conversation' cannot both be given";
        return Err(Error::invalid("previous_response_id", message).with_code("mutually_exclusive_parameters"));
    }
    if background && !store {
        return Err(Error::invalid("store", "a background response is looked up later, so 'store' must not be false"));
    }
    if items.is_empty() && previous_response_id.is_none() && conversation.is_none() {
        return Err(fields.missing("input"));
    }
    let mut extra = Map::new();
    let text = text(&mut fields, &mut extra)?;
    let reasoning = reasoning(&mut fields, &mut extra)?;
    for name in ["user", "prompt_cache_key", "safety_identifier", "prompt_cache_retention"] {
        if let Some(value) = fields.text(name)? {
            extra.insert(name.to_owned(), value.clone().into());
            echo.insert(name.to_owned(), value.into());
        }
    }
    let mut include = includes(&mut fields)?;
    // Who has nothing stored here has nowhere else to keep them.
    include.thoughts |= !store;
    let top_logprobs = fields.count("top_logprobs", 0)?.unwrap_or(0);
    if top_logprobs > logprobs::MOST {
        let message = format!("'top_logprobs' must be 0 to {}", logprobs::MOST);
        return Err(Error::invalid("top_logprobs", message));
    }
    if include.logprobs || top_logprobs > 0 {
        extra.insert("logprobs".into(), true.into());
        extra.insert("top_logprobs".into(), top_logprobs.into());
    }
    let service_tier =
        fields.word("service_tier", &["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"])?;
    // The tier that is meant where none is named needs no telling, and not every server knows the member.
    let service_tier = service_tier.filter(|tier| tier != "auto" && tier != "default");
    if let Some(tier) = &service_tier {
        extra.insert("service_tier".into(), tier.as_str().into());
    }
    stream_options(&mut fields, stream)?;
    for (name, why) in [
        ("context_management", "conversations are not compacted here"),
        ("moderation", "shields are set for agents here"),
    ] {
        if fields.take(name).is_some() {
            return Err(
                Error::invalid(name, format!("'{name}' is not supported: {why}")).with_code("unsupported_parameter")
            );
        }
    }
    fields.end()?;
    let repeated = [
        ("model", json!(model)),
        ("instructions", json!(instructions)),
        ("tools", json!(tools.shown)),
        ("tool_choice", choice.unwrap_or_else(|| json!("auto"))),
        ("parallel_tool_calls", json!(parallel_tool_calls.unwrap_or(true))),
        ("max_output_tokens", json!(max_output_tokens)),
        ("max_tool_calls", json!(max_tool_calls)),
        ("temperature", json!(temperature)),
        ("top_p", json!(top_p)),
        ("top_logprobs", json!(top_logprobs)),
        ("truncation", json!(truncation.as_deref().unwrap_or("disabled"))),
        ("metadata", json!(metadata)),
        ("background", json!(background)),
        ("store", json!(store)),
        ("service_tier", json!(service_tier.as_deref().unwrap_or("default"))),
        ("previous_response_id", json!(previous_response_id)),
        ("conversation", conversation.as_ref().map_or(Value::Null, |id| json!({ "id": id }))),
        ("text", text.1),
        ("reasoning", reasoning),
        ("prompt", shown_prompt),
    ];
    echo.extend(repeated.map(|(name, value)| (name.to_owned(), value)));
    Ok(Asked {
        model,
        input: items,
        instructions,
        prompt,
        tools,
        tool_choice,
        parallel_tool_calls,
        max_output_tokens,
        max_tool_calls,
        temperature,
        top_p,
        response_format: text.0,
        truncate: truncation.as_deref().map(|word| word == "auto"),
        extra,
        previous_response_id,
        conversation,
        background,
        stream,
        store,
        include,
        echo,
    })
}

/// An id, or an object that holds it.
fn conversation(fields: &mut Fields) -> Result<Option<String>> {
    if !fields.is_object("conversation") {
        return fields.id("conversation");
    }
    let Some(mut conversation) = fields.object("conversation")? else { return Ok(None) };
    let id = conversation.id("id")?.ok_or_else(|| conversation.missing("id"))?;
    conversation.end()?;
    Ok(Some(id))
}

/// The form of the answer: as chat completions say it, and as the response repeats it.
fn text(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<(Option<Value>, Value)> {
    let Some(mut text) = fields.object("text")? else { return Ok((None, json!({ "format": { "type": "text" } }))) };
    let verbosity = text.word("verbosity", &["low", "medium", "high"])?;
    let format = text.object("format")?;
    text.end()?;
    let (chat, shown) = match format {
        None => (None, json!({ "type": "text" })),
        Some(format) => self::format(format)?,
    };
    let mut told = json!({ "format": shown });
    if let Some(verbosity) = verbosity {
        told["verbosity"] = json!(verbosity);
        extra.insert("verbosity".into(), verbosity.into());
    }
    Ok((chat, told))
}

fn format(mut format: Fields) -> Result<(Option<Value>, Value)> {
    let kind = format.word("type", &["text", "json_object", "json_schema"])?;
    let (chat, shown) = match kind.as_deref() {
        None => return Err(format.missing("type")),
        Some("json_schema") => {
            let (name, description) = (format.needed("name")?, format.text("description")?);
            let schema = format.object("schema")?.ok_or_else(|| format.missing("schema"))?.into_value();
            let strict = format.flag("strict")?;
            let mut inner = json!({ "name": name, "schema": schema });
            for (member, value) in [("description", json!(description)), ("strict", json!(strict))] {
                if !value.is_null() {
                    inner[member] = value;
                }
            }
            let mut shown = inner.clone();
            shown["type"] = json!("json_schema");
            (Some(json!({ "type": "json_schema", "json_schema": inner })), shown)
        }
        Some("json_object") => (Some(json!({ "type": "json_object" })), json!({ "type": "json_object" })),
        Some(_) => (None, json!({ "type": "text" })),
    };
    format.end()?;
    Ok((chat, shown))
}

/// How much the model may think, which chat completions call `reasoning_effort`.
fn reasoning(fields: &mut Fields, extra: &mut Map<String, Value>) -> Result<Value> {
    let Some(mut reasoning) = fields.object("reasoning")? else {
        return Ok(json!({ "effort": null, "summary": null }));
    };
    let effort = reasoning.word("effort", &["none", "minimal", "low", "medium", "high", "xhigh", "max"])?;
    let styles = ["auto", "concise", "detailed"];
    let (summary, old) = (reasoning.word("summary", &styles)?, reasoning.word("generate_summary", &styles)?);
    reasoning.end()?;
    extra.extend(effort.iter().map(|effort| ("reasoning_effort".to_owned(), json!(effort))));
    Ok(json!({ "effort": effort, "summary": summary.or(old) }))
}

/// How a stream is to be sent.
fn stream_options(fields: &mut Fields, stream: bool) -> Result<()> {
    let Some(mut options) = fields.object("stream_options")? else { return Ok(()) };
    // Either way events are sent as they stand in their rows, the same bytes at every reading, without padding.
    options.flag("include_obfuscation")?;
    options.end()?;
    if !stream {
        return Err(Error::invalid("stream_options", "'stream_options' is for a request with 'stream': true"));
    }
    Ok(())
}

/// What `include` asks for.
fn includes(fields: &mut Fields) -> Result<Include> {
    let mut include = Include::default();
    let wanted = fields.list("include")?.unwrap_or_default();
    for (i, word) in wanted.iter().enumerate() {
        include.add(word.as_str().unwrap_or_default(), &format!("include[{i}]"))?;
    }
    Ok(include)
}

fn known(wanted: &str, path: &str) -> Result<()> {
    if INCLUDABLE.contains(&wanted) {
        return Ok(());
    }
    let message = format!("'{path}' must be one of {}", INCLUDABLE.join(", "));
    Err(Error::invalid(path, message))
}

#[cfg(test)]
mod tests {
    use frontdesk_api::filter::{Filter, Test};

    use super::*;

    fn read(body: Value) -> Result<Asked> {
        request(body.to_string().as_bytes())
    }

    // Oracle: the parameters of `responses.create` in the official package and what its guides send.
    #[test]
    fn what_is_asked_reaches_the_model_and_is_repeated() {
        let schema = json!({ "type": "object", "properties": {}, "additionalProperties": false });
        let asked = read(json!({
            "model": "m", "input": "hi", "instructions": "be brief", "max_output_tokens": 20, "max_tool_calls": 3,
            "temperature": 0.5, "top_p": 1, "parallel_tool_calls": false, "truncation": "auto", "metadata": { "a": "b" },
            "tools": [{ "type": "function", "name": "look", "parameters": { "type": "object" }, "strict": true }],
            "tool_choice": { "type": "function", "name": "look" }, "user": "u", "prompt_cache_key": "k",
            "text": { "format": { "type": "json_schema", "name": "n", "schema": schema, "strict": true }, "verbosity": "low" },
            "reasoning": { "effort": "low", "summary": "auto" }, "include": ["reasoning.encrypted_content"],
            "conversation": { "id": "conv_1" }, "stream": true, "background": true, "service_tier": "flex", "store": null,
            "top_logprobs": 2, "stream_options": { "include_obfuscation": false },
        }))
        .expect("a good request");
        assert_eq!(asked.tool_choice, Some(ToolChoice::Named("look".into())));
        assert_eq!(
            asked.response_format,
            Some(json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": schema, "strict": true } }))
        );
        assert_eq!(
            Value::Object(asked.extra),
            json!({ "reasoning_effort": "low", "verbosity": "low", "user": "u", "prompt_cache_key": "k",
                    "service_tier": "flex", "logprobs": true, "top_logprobs": 2 })
        );
        assert_eq!((asked.conversation.as_deref(), asked.truncate), (Some("conv_1"), Some(true)));
        assert!(asked.background && asked.stream && asked.store);
        for (member, value) in [
            ("tool_choice", json!({ "type": "function", "name": "look" })),
            ("parallel_tool_calls", json!(false)),
            (
                "text",
                json!({ "format": { "type": "json_schema", "name": "n", "schema": schema, "strict": true }, "verbosity": "low" }),
            ),
            ("reasoning", json!({ "effort": "low", "summary": "auto" })),
            ("metadata", json!({ "a": "b" })),
            ("service_tier", json!("flex")),
            ("top_logprobs", json!(2)),
            ("conversation", json!({ "id": "conv_1" })),
            ("previous_response_id", Value::Null),
        ] {
            assert_eq!(asked.echo[member], value, "{member}");
        }
    }

    #[test]
    fn filters_are_repeated_as_they_were_sent() {
        let filters = json!({ "type": "and", "filters": [{ "value": 1.0, "key": "year", "type": "gte" }] });
        let tool = json!({ "type": "file_search", "vector_store_ids": ["v"], "filters": filters });
        let asked = read(json!({ "model": "m", "input": "hi", "tools": [tool] })).expect("a good request");
        assert_eq!(asked.echo["tools"], json!([tool]));
        let test = Test::Gte(json!(1.0));
        let filter = asked.tools.search.and_then(|search| search.filter);
        assert_eq!(filter, Some(Filter::All(vec![Filter::Key { key: "year".into(), test }])));
    }

    #[test]
    fn each_fault_names_its_member_and_unknown_ones_are_faults() {
        let with = |member: &str, value: Value| {
            let mut body = json!({ "model": "m", "input": "hi" });
            body[member] = value;
            body
        };
        for (body, param, code) in [
            (json!({ "input": "hi" }), "model", Some("missing_required_parameter")),
            (json!({ "model": "m" }), "input", Some("missing_required_parameter")),
            (with("top_k", json!(3)), "top_k", Some("unknown_parameter")),
            (with("text", json!({ "form": 1 })), "text.form", Some("unknown_parameter")),
            (with("text", json!({ "format": { "type": "xml" } })), "text.format.type", None),
            (
                with("text", json!({ "format": { "type": "json_schema", "name": "n" } })),
                "text.format.schema",
                Some("missing_required_parameter"),
            ),
            (with("tools", json!([{ "type": "shell" }])), "tools[0].type", Some("unsupported_tool")),
            (with("tools", json!([{ "type": "web_search" }, { "type": "web_search_preview" }])), "tools[1].type", None),
            (with("tools", json!([{ "type": "function", "name": "a b" }])), "tools[0].name", None),
            (with("tool_choice", json!({ "type": "function", "name": "look" })), "tool_choice", None),
            (with("temperature", json!(3)), "temperature", None),
            (with("max_output_tokens", json!(0)), "max_output_tokens", None),
            (with("metadata", json!({ "a": 1 })), "metadata", None),
            (with("top_logprobs", json!(21)), "top_logprobs", None),
            (with("service_tier", json!("gold")), "service_tier", None),
            (with("stream_options", json!({})), "stream_options", None),
            (
                json!({ "model": "m", "input": "x", "stream": true, "stream_options": { "include_usage": true } }),
                "stream_options.include_usage",
                Some("unknown_parameter"),
            ),
            (with("include", json!(["message"])), "include[0]", None),
            (with("prompt", json!({})), "prompt.id", Some("missing_required_parameter")),
            (with("prompt", json!({ "id": "p", "version": "new" })), "prompt.version", None),
            (
                with("prompt", json!({ "id": "p", "variables": { "a": { "type": "input_image" } } })),
                "prompt.variables.a",
                Some("unsupported_content"),
            ),
            (with("tools", json!([{ "type": "file_search" }])), "tools[0].vector_store_ids", None),
            (
                with("tools", json!([{ "type": "file_search", "vector_store_ids": vec!["v"; 51] }])),
                "tools[0].vector_store_ids",
                None,
            ),
            (
                with("tools", json!([{ "type": "file_search", "vector_store_ids": ["v"], "max_num_results": 51 }])),
                "tools[0].max_num_results",
                None,
            ),
            (
                with("tools", json!([{ "type": "file_search", "vector_store_ids": ["v"], "filters": {} }])),
                "tools[0].filters.type",
                Some("missing_required_parameter"),
            ),
            (
                with("tools", json!([{ "type": "mcp", "server_url": "https://h/" }])),
                "tools[0].server_label",
                Some("missing_required_parameter"),
            ),
            (with("previous_response_id", json!("r\u{0}")), "previous_response_id", None),
            (
                json!({ "model": "m", "input": "x", "previous_response_id": "r", "conversation": "c" }),
                "previous_response_id",
                Some("mutually_exclusive_parameters"),
            ),
            (json!({ "model": "m", "input": "x", "background": true, "store": false }), "store", None),
        ] {
            let error = read(body.clone()).expect_err("refused");
            assert_eq!((error.param.as_deref(), error.code.as_deref()), (Some(param), code), "{body}: {error}");
        }
        assert!(
            read(json!({ "model": "m", "previous_response_id": "r" })).is_ok(),
            "a response may go on without words"
        );
    }
}
