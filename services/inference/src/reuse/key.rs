//! Which requests are equal, and what kind of request one is.
//!
//! Equal are two requests of one tenant to one route in one dialect whose members are the same, in any order at the
//! top and however spaced. Left out is what cannot change an answer: `model` (the route stands for it) and the
//! members of [`WITHOUT_EFFECT`]. Values are compared as they were written: `0` and `0.0` are two, and so are two
//! orders of a schema's properties, which a model reads in that order.
//! Invariant: what is not known to be without effect makes a difference.

use std::io::Write as _;

use blake3::Hasher;
use frontdesk_api::{ChatRequest, Cx, Error, Kind, Result, embed::EmbedRequest};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::policy::Include;

/// Members that say who asks, or how the provider is to find what it kept of a prompt; the answer is the same without
/// them. `stream_options.include_usage` is a further one: the frame it asks for is kept in any case.
const WITHOUT_EFFECT: [&str; 5] =
    ["user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"];

/// Members by which a model is offered tools or the provider looks things up.
/// `plugins` are OpenRouter's, `data_sources` Azure's.
const TOOLS: [&str; 6] = ["tools", "functions", "web_search_options", "mcp_servers", "plugins", "data_sources"];

/// A request's number: BLAKE3, so that no two requests have the same one.
pub(super) type Key = [u8; 32];

/// What was read of a request.
pub(super) struct Read {
    pub(super) key: Key,
    sampled: bool,
    tools: bool,
    agent: bool,
}

impl Read {
    /// # Errors
    /// `Invalid` where a request's bytes do not read as an object.
    pub(super) fn of(cx: &Cx, request: &ChatRequest) -> Result<Self> {
        let kind = if request.stream { "stream" } else { "whole" };
        let (mut hash, agent) = begun(cx, &request.model, kind);
        let Some(source) = request.source() else {
            let chat = request.chat()?;
            // Rust's own way to write a value tells every value from every other; the key never leaves the process.
            let _ = write!(hash, "{chat:?}");
            let (sampled, tools) = (chat.temperature != Some(0.0), !chat.tools.is_empty());
            return Ok(Self { key: *hash.finalize().as_bytes(), sampled, tools, agent });
        };
        // Of two versions or two sets of features one is not told the other's answer.
        let _ = write!(hash, "{:?}{:?}", source.dialect, request.headers);
        let (sampled, tools) = body(&mut hash, &source.bytes)?;
        Ok(Self { key: *hash.finalize().as_bytes(), sampled, tools, agent })
    }

    /// Vectors: nothing about them is left to chance.
    ///
    /// # Errors
    /// As [`Read::of`].
    pub(super) fn of_embedding(cx: &Cx, request: &EmbedRequest) -> Result<Self> {
        let (mut hash, agent) = begun(cx, &request.model, "vectors");
        match request.source() {
            Some(source) => {
                let _ = write!(hash, "{:?}", source.dialect);
                body(&mut hash, &source.bytes)?;
            }
            None => {
                let _ = write!(hash, "{:?}", request.embed()?);
            }
        }
        Ok(Self { key: *hash.finalize().as_bytes(), sampled: false, tools: false, agent })
    }

    /// Whether requests of this kind are meant, where `include` is.
    pub(super) fn is_within(&self, include: &[Include]) -> bool {
        let kinds = [(self.sampled, Include::Sampled), (self.tools, Include::Tools), (self.agent, Include::Agents)];
        kinds.iter().all(|(is, kind)| !is || include.contains(kind))
    }
}

/// What every request's number begins with, and whether it is an agent's.
fn begun(cx: &Cx, model: &str, kind: &str) -> (Hasher, bool) {
    let mut hash = Hasher::new();
    for part in [&*cx.tenant, model, kind] {
        text(&mut hash, part);
    }
    (hash, cx.turn.is_some() || cx.agent.is_some())
}

/// A body's members, and whether they leave something to chance, and whether they offer tools.
fn body(hash: &mut Hasher, bytes: &[u8]) -> Result<(bool, bool)> {
    let unread = |e| Error::new(Kind::Invalid, "the body is not a JSON object").with_source(e);
    let mut members = serde_json::from_slice::<Members<'_>>(bytes).map_err(unread)?.0;
    // Stable: of members of one name the order stays, since it decides which of them counts.
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    let (mut sampled, mut tools) = (true, false);
    for (name, value) in &members {
        match name.as_str() {
            "model" | "stream" => continue,
            "stream_options" => {
                options(hash, value);
                continue;
            }
            "temperature" => sampled = value.get().parse::<f64>() != Ok(0.0),
            name if WITHOUT_EFFECT.contains(&name) => continue,
            name if TOOLS.contains(&name) => tools |= !matches!(value.get(), "null" | "[]"),
            _ => {}
        }
        text(hash, name);
        squeezed(hash, value.get());
    }
    Ok((sampled, tools))
}

/// A text and where it ends.
fn text(hash: &mut Hasher, text: &str) {
    hash.update(&(text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

/// What `stream_options` say beside the wish for usage; all of it where they are no object.
fn options(hash: &mut Hasher, value: &RawValue) {
    let Ok(Members(mut members)) = serde_json::from_str::<Members<'_>>(value.get()) else {
        text(hash, "stream_options");
        return squeezed(hash, value.get());
    };
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (name, value) in members.iter().filter(|(name, _)| name != "include_usage") {
        text(hash, "stream_options");
        text(hash, name);
        squeezed(hash, value.get());
    }
}

/// A JSON value without the space between its parts, and its end.
fn squeezed(hash: &mut Hasher, json: &str) {
    let (mut inside, mut escaped, mut from) = (false, false, 0);
    let json = json.as_bytes();
    for (at, byte) in json.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b' ' | b'\n' | b'\r' | b'\t' if !inside => {
                hash.update(&json[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    hash.update(&json[from..]);
    // No value holds this byte.
    hash.update(&[0]);
}

/// An object's members in their order, values as they were written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Whole;
        impl<'de> Visitor<'de> for Whole {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = vec![];
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Whole)
    }
}
