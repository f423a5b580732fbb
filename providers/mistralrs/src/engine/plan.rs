//! From a chat request to what the engine is asked to do.
//!
//! Decides here, once, how the answer is constrained and how its text is read afterwards; `generation` only carries it
//! out. Invariant: a plan can be carried out twice with the same meaning (the retry after an engine death).

use std::collections::HashMap;

use image::DynamicImage;
use mistralrs::core::ReasoningEffort;
use mistralrs::{Constraint, Function, ModelGenerationDefaults, SamplingParams, StopTokens, Tool, ToolType};
use serde_json::{Map, Value};

use super::forced::{ToolShape, answer_schema, any_object, call_or_answer_schema, call_schema};
use super::model::{LoadedModel, Style};
use super::problem::Problem;
use super::prompt::{TemplateMessage, template_messages};
use super::request::{ChatBody, FunctionBody, ResponseFormat, ToolChoiceBody};
use super::seed::Seeded;

/// What the engine is asked to do.
pub(crate) struct Plan {
    pub(crate) messages: Vec<TemplateMessage>,
    /// In the order of their places in the messages.
    pub(crate) images: Vec<DynamicImage>,
    pub(crate) tools: Vec<Tool>,
    pub(crate) reading: Reading,
    /// The answer ends with its first call.
    pub(crate) one_call: bool,
    pub(crate) constraint: Constraint,
    /// Without the length limit, which depends on the prompt.
    pub(crate) sampling: SamplingParams,
    /// Takes the place of the engine's own random choice.
    pub(crate) seeded: Option<Seeded>,
    pub(crate) stops: Vec<String>,
    /// Most tokens of the answer, if the client or the model's configuration says.
    pub(crate) max_tokens: Option<usize>,
    pub(crate) logprobs: bool,
    pub(crate) thinking: Option<bool>,
    pub(crate) effort: Option<ReasoningEffort>,
}

/// Who finds the tool calls in the model's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The engine, in all the formats it knows.
    Engine,
    /// We, in `<tool_call>` blocks: the engine reads only the first.
    Blocks,
    /// We, in the whole answer: it was forced to be one JSON object.
    Whole,
}

impl Plan {
    /// Plans the answer to `body`.
    ///
    /// # Errors
    /// `invalid` naming the member that does not fit this model or the other members.
    pub(crate) fn new(body: &ChatBody, model: &LoadedModel) -> Result<Self, Problem> {
        let (messages, images) = template_messages(&body.messages, model.style.arguments_as_text, &model.sight)?;
        let offered = offered_tools(body)?;
        let (constraint, reading) = constraint(body, &offered, model.style)?;
        let stops = body.stops();
        let mut sampling = sampling(body, &model.defaults);
        if !stops.is_empty() {
            sampling.stop_toks = Some(StopTokens::Seqs(stops.clone()));
        }
        let seeded = seeded(body.seed, &mut sampling);
        let logprobs = body.logprobs == Some(true);
        if logprobs && seeded.is_some() {
            return Err(Problem::invalid("seed", "this engine gives no 'logprobs' of answers drawn by a 'seed'"));
        }
        if logprobs && sampling.temperature == Some(0.0) {
            // At temperature 0 the engine reports logits; the likeliest token of a true distribution is the same one.
            (sampling.temperature, sampling.top_k) = (Some(1.0), Some(1));
        }
        let asked = body.chat_template_kwargs.as_ref().and_then(|kwargs| kwargs.enable_thinking);
        // A grammar leaves no room for thoughts before the answer.
        let thinking = if matches!(constraint, Constraint::None) { asked } else { asked.or(Some(false)) };
        let (thinking, effort) = effort(body.reasoning_effort.as_deref(), thinking)?;
        Ok(Self {
            messages,
            images,
            tools: offered.iter().map(|function| tool(function)).collect(),
            reading,
            one_call: body.parallel_tool_calls == Some(false),
            constraint,
            sampling,
            seeded,
            stops,
            max_tokens: body.answer_limit().or(model.max_tokens),
            logprobs,
            thinking,
            effort,
        })
    }
}

fn offered_tools(body: &ChatBody) -> Result<Vec<&FunctionBody>, Problem> {
    let all: Vec<&FunctionBody> = body.tools.iter().flatten().map(|tool| &tool.function).collect();
    match &body.tool_choice {
        Some(ToolChoiceBody::Word(word)) if word == "none" => Ok(Vec::new()),
        Some(ToolChoiceBody::Word(word)) if word == "auto" => Ok(all),
        Some(ToolChoiceBody::Word(word)) if word == "required" => match all.is_empty() {
            true => Err(Problem::invalid("tool_choice", "'tool_choice' is 'required' but there are no 'tools'")),
            false => Ok(all),
        },
        Some(ToolChoiceBody::Word(word)) => Err(Problem::invalid(
            "tool_choice",
            format!("'tool_choice' is '{word}'; known are none, auto, required and a function"),
        )),
        Some(ToolChoiceBody::Named { function }) => match all.iter().any(|tool| tool.name == function.name) {
            true => Ok(all),
            false => Err(Problem::invalid(
                "tool_choice",
                format!("'tool_choice' names '{}', which is not among the 'tools'", function.name),
            )),
        },
        None => Ok(all),
    }
}

fn constraint(body: &ChatBody, offered: &[&FunctionBody], style: Style) -> Result<(Constraint, Reading), Problem> {
    let forced: Option<Vec<ToolShape<'_>>> = match &body.tool_choice {
        Some(ToolChoiceBody::Word(word)) if word == "required" => {
            Some(offered.iter().map(|function| shape(function)).collect())
        }
        Some(ToolChoiceBody::Named { function }) => {
            Some(offered.iter().filter(|tool| tool.name == function.name).map(|function| shape(function)).collect())
        }
        _ => None,
    };
    if let Some(forced) = forced {
        let schema = call_schema(&forced, style.arguments_key);
        return Ok((Constraint::JsonSchema(schema), Reading::Whole));
    }
    let Some(answer) = answer_shape(body.response_format.as_ref())? else {
        let blocks = style.blocks && !offered.is_empty();
        return Ok((Constraint::None, if blocks { Reading::Blocks } else { Reading::Engine }));
    };
    if offered.is_empty() {
        return Ok((Constraint::JsonSchema(answer_schema(&answer)), Reading::Engine));
    }
    let shapes: Vec<ToolShape<'_>> = offered.iter().map(|function| shape(function)).collect();
    let schema = call_or_answer_schema(&shapes, style.arguments_key, &answer);
    Ok((Constraint::JsonSchema(schema), Reading::Whole))
}

fn shape(function: &FunctionBody) -> ToolShape<'_> {
    ToolShape { name: &function.name, parameters: function.parameters.as_ref() }
}

fn answer_shape(format: Option<&ResponseFormat>) -> Result<Option<Map<String, Value>>, Problem> {
    match format {
        None | Some(ResponseFormat::Text) => Ok(None),
        Some(ResponseFormat::JsonObject) => Ok(Some(any_object())),
        Some(ResponseFormat::JsonSchema { json_schema }) => match &json_schema.schema {
            Some(schema) => Ok(Some(schema.clone())),
            None => Err(Problem::invalid(
                "response_format.json_schema.schema",
                "'response_format.json_schema' has no 'schema'",
            )),
        },
    }
}

fn tool(function: &FunctionBody) -> Tool {
    let parameters = function.parameters.as_ref();
    let parameters = parameters.map(|map| map.clone().into_iter().collect::<HashMap<String, Value>>());
    Tool {
        tp: ToolType::Function,
        function: Function { description: function.description.clone(), name: function.name.clone(), parameters },
    }
}

/// The model's own sampling, with what the client asked for in its place.
fn sampling(body: &ChatBody, defaults: &ModelGenerationDefaults) -> SamplingParams {
    let mut sampling = SamplingParams::neutral();
    sampling.apply_model_defaults(defaults);
    sampling.max_len = None;
    if let Some(temperature) = body.temperature {
        // 0 makes the engine take the likeliest token, whatever else is set.
        sampling.temperature = Some(temperature);
        sampling.top_k = defaults.top_k.filter(|&k| k > 0);
    }
    sampling.top_p = body.top_p.or(sampling.top_p);
    sampling.top_k = body.top_k.filter(|&k| k > 0).or(sampling.top_k);
    sampling.min_p = body.min_p.or(sampling.min_p);
    sampling.frequency_penalty = body.frequency_penalty;
    sampling.presence_penalty = body.presence_penalty;
    sampling.repetition_penalty = body.repetition_penalty.or(sampling.repetition_penalty);
    sampling.top_n_logprobs = body.top_logprobs.unwrap_or(0);
    sampling
}

/// Moves the random choice from the engine to the seed; nothing to do where nothing is random.
fn seeded(seed: Option<i64>, sampling: &mut SamplingParams) -> Option<Seeded> {
    let seed = seed?.cast_unsigned();
    let temperature = sampling.temperature.unwrap_or(1.0);
    if temperature < 1e-7 || sampling.top_k == Some(1) {
        return None;
    }
    sampling.temperature = Some(0.0);
    let (top_k, top_p, min_p) = (sampling.top_k.take(), sampling.top_p.take(), sampling.min_p.take());
    Some(Seeded { seed, temperature, top_k, top_p, min_p })
}

fn effort(written: Option<&str>, thinking: Option<bool>) -> Result<(Option<bool>, Option<ReasoningEffort>), Problem> {
    match written {
        None => Ok((thinking, None)),
        Some("none") => Ok((Some(false), None)),
        Some("minimal" | "low") => Ok((thinking, Some(ReasoningEffort::Low))),
        Some("medium") => Ok((thinking, Some(ReasoningEffort::Medium))),
        Some("high" | "xhigh") => Ok((thinking, Some(ReasoningEffort::High))),
        Some(other) => Err(Problem::invalid(
            "reasoning_effort",
            format!("'reasoning_effort' is '{other}'; known are none, minimal, low, medium, high"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const STYLE: Style = Style { arguments_as_text: false, arguments_key: "parameters", blocks: true };

    fn body(members: Value) -> ChatBody {
        let mut whole = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
        whole.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        ChatBody::read(whole.to_string().as_bytes()).unwrap()
    }

    fn tools() -> Value {
        json!([{"type":"function","function":{"name":"a"}}, {"type":"function","function":{"name":"b"}}])
    }

    fn outcome(members: Value) -> Result<(Option<Value>, Reading), Problem> {
        let body = body(members);
        let offered = offered_tools(&body)?;
        let (constraint, reading) = constraint(&body, &offered, STYLE)?;
        let schema = match constraint {
            Constraint::JsonSchema(schema) => Some(schema),
            _ => None,
        };
        Ok((schema, reading))
    }

    #[test]
    fn a_named_tool_is_the_only_one_the_grammar_allows() {
        let choice = json!({"type":"function","function":{"name":"b"}});
        let (schema, reading) = outcome(json!({"tools": tools(), "tool_choice": choice})).unwrap();
        assert_eq!(schema.unwrap()["properties"]["name"], json!({"const": "b"}));
        assert_eq!(reading, Reading::Whole);
        let (schema, _) = outcome(json!({"tools": tools(), "tool_choice": "required"})).unwrap();
        assert_eq!(schema.unwrap()["anyOf"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn none_takes_the_tools_away_and_auto_leaves_the_text_free() {
        assert_eq!(outcome(json!({"tools": tools(), "tool_choice": "none"})).unwrap(), (None, Reading::Engine));
        assert_eq!(outcome(json!({"tools": tools()})).unwrap(), (None, Reading::Blocks));
    }

    #[test]
    fn a_shape_beside_tools_still_lets_the_model_call() {
        let format = json!({"type":"json_schema","json_schema":{"name":"n","schema":{"type":"array"}}});
        let (schema, reading) = outcome(json!({"tools": tools(), "response_format": format})).unwrap();
        assert_eq!(schema.unwrap()["anyOf"][2], json!({"type": "array"}));
        assert_eq!(reading, Reading::Whole);
        let (schema, reading) = outcome(json!({"response_format": {"type":"json_object"}})).unwrap();
        assert_eq!(schema.unwrap()["type"], json!("object"));
        assert_eq!(reading, Reading::Engine);
    }

    #[test]
    fn choices_that_cannot_be_met_are_refused() {
        for members in [
            json!({"tool_choice": "required"}),
            json!({"tools": tools(), "tool_choice": {"type":"function","function":{"name":"c"}}}),
            json!({"tools": tools(), "tool_choice": "perhaps"}),
        ] {
            assert_eq!(outcome(members).unwrap_err().param.as_deref(), Some("tool_choice"));
        }
    }

    #[test]
    fn temperature_zero_beats_the_models_sampling_and_unset_keeps_it() {
        let defaults = ModelGenerationDefaults {
            do_sample: Some(true),
            temperature: Some(0.7),
            top_p: Some(0.8),
            ..ModelGenerationDefaults::default()
        };
        let unset = sampling(&body(json!({})), &defaults);
        assert_eq!((unset.temperature, unset.top_p), (Some(0.7), Some(0.8)));
        let zero = sampling(&body(json!({"temperature": 0})), &defaults);
        assert_eq!(zero.temperature, Some(0.0));

        let greedy = ModelGenerationDefaults { do_sample: Some(false), ..ModelGenerationDefaults::default() };
        assert_eq!(sampling(&body(json!({})), &greedy).top_k, Some(1));
        let warm = sampling(&body(json!({"temperature": 1.0})), &greedy);
        assert_eq!((warm.temperature, warm.top_k), (Some(1.0), None));
    }
}
