//! An agent as one YAML file that people read, compare and keep beside their code.
//!
//! Invariants: members stand in the order of the spec's definition and those at their defaults are left out, so equal
//! specs are equal files; what is written is read back as the same spec.

use frontdesk_api::{
    Error, Result,
    agent::{AgentSpec, AgentVersion},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::document;
use crate::config;

/// The file.
///
/// # Errors
/// `Internal` alone.
pub fn write(version: &AgentVersion) -> Result<String> {
    let spec = tree(&version.spec)?.without(&tree(&AgentSpec::new(""))?);
    let body = serde_saphyr::to_string(&spec).map_err(|e| Error::internal("writing an agent as YAML", e))?;
    let (agent, number) = (&version.agent_id, version.version);
    Ok(format!(
        "# An agent of Frontdesk: {agent}, version {number}. Read it in with: frontdesk agent import FILE\n\
         # What is left out is at its default.\n{body}"
    ))
}

/// The spec in a file.
///
/// # Errors
/// `Invalid`: no YAML (with line and column), or a key by its path with what was found and what is allowed.
pub fn read(text: &str) -> Result<AgentSpec> {
    let value = config::yaml(text)?;
    if !value.is_object() {
        return Err(Error::invalid("", "the file must have keys and values at its top, such as 'model: …'"));
    }
    document::spec(&value)
}

fn tree(spec: &AgentSpec) -> Result<Tree> {
    // Through JSON's text: its values would put the members into another order.
    let broken = |e| Error::internal("reading an agent", e);
    serde_json::from_str(&serde_json::to_string(spec).map_err(broken)?).map_err(broken)
}

/// JSON whose members keep their order.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Leaf(Value),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// Without the members that `defaults` has as well.
    fn without(self, defaults: &Tree) -> Self {
        let (Self::Object(members), Self::Object(defaults)) = (&self, defaults) else { return self };
        let mut kept = vec![];
        for (name, value) in members {
            match defaults.iter().find(|(other, _)| other == name) {
                Some((_, default)) if default == value => {}
                Some((_, default)) => kept.push((name.clone(), value.clone().without(default))),
                None => kept.push((name.clone(), value.clone())),
            }
        }
        Self::Object(kept)
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Leaf(value) => value.serialize(serializer),
            Self::List(entries) => serializer.collect_seq(entries),
            Self::Object(members) => serializer.collect_map(members.iter().map(|(name, value)| (name, value))),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reads)
    }
}

struct Reads;

impl<'de> Visitor<'de> for Reads {
    type Value = Tree;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Leaf(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Leaf(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut entries = vec![];
        while let Some(entry) = list.next_element()? {
            entries.push(entry);
        }
        Ok(Tree::List(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Tree, A::Error> {
        let mut members = vec![];
        while let Some(member) = object.next_entry()? {
            members.push(member);
        }
        Ok(Tree::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::{
        agent::{HandOffSpec, Limits, Sampling},
        chat::{ToolChoice, ToolSpec},
    };
    use serde_json::{Map, json};

    use super::*;

    fn version(spec: AgentSpec) -> AgentVersion {
        AgentVersion {
            agent_id: "agent_1".into(),
            version: 3,
            spec,
            note: None,
            created_at: 0,
            created_by: None,
            published_at: None,
            published_by: None,
            published: false,
        }
    }

    /// Texts that YAML reads as something else where they are not quoted.
    const WORDS: [&str; 12] =
        ["no", "1.5", "null", "~", "a: b # c", "- x", "'", "\"\\n\"", " two \n\n lines\n", "", "2024-01-01", "ü\u{85}"];

    fn full() -> AgentSpec {
        AgentSpec {
            name: Some("shop".into()),
            instructions: "You help customers of a shop.\n\nBe kind: \"yes\" is better than \"no\".\n".into(),
            greeting: Some("Hello! How can I help?".into()),
            toolgroups: vec!["shop".into()],
            client_tools: vec![ToolSpec {
                name: "add".into(),
                description: Some("Add".into()),
                parameters: Some(json!({"type": "object", "properties": {"n": {"type": "integer"}}})),
                strict: None,
                cache_control: None,
            }],
            tool_choice: Some(ToolChoice::Named("add".into())),
            hand_off: Some(HandOffSpec { message: "A colleague takes over.".into(), targets: vec![] }),
            sampling: Sampling { temperature: Some(0.2), stop: vec!["END".into()], ..Sampling::default() },
            response_format: Some(json!({"type": "json_object"})),
            limits: Limits { max_steps: 3, ..Limits::default() },
            metadata: WORDS.iter().map(|word| ((*word).to_owned(), json!([word]))).collect::<Map<_, _>>(),
            ..AgentSpec::new("local/tiny")
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for spec in [full(), AgentSpec::new("m")] {
            let text = write(&version(spec.clone())).expect("a file");
            assert_eq!(read(&text).unwrap_or_else(|e| panic!("{e}\n{text}")), spec, "{text}");
        }
        for word in WORDS {
            let spec = AgentSpec { instructions: word.into(), name: Some(word.into()), ..AgentSpec::new("m") };
            let text = write(&version(spec.clone())).expect("a file");
            assert_eq!(read(&text).unwrap_or_else(|e| panic!("{e}\n{text}")), spec, "{text}");
        }
    }

    #[test]
    fn a_file_is_for_people() {
        let spec = AgentSpec { metadata: Map::new(), ..full() };
        insta::assert_snapshot!(write(&version(spec)).expect("a file"), @r#"
        # An agent of Frontdesk: agent_1, version 3. Read it in with: frontdesk agent import FILE
        # What is left out is at its default.
        name: shop
        model: local/tiny
        instructions: |
          You help customers of a shop.

          Be kind: "yes" is better than "no".
        greeting: Hello! How can I help?
        toolgroups:
        - shop
        client_tools:
        - name: add
          description: Add
          parameters:
            type: object
            properties:
              "n":
                type: integer
          strict: null
        tool_choice:
          named: add
        hand_off:
          message: A colleague takes over.
        sampling:
          temperature: 0.2
          stop:
          - END
        response_format:
          type: json_object
        limits:
          max_steps: 3
        "#);
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_path() {
        for (text, says) in [
            (
                "model: m\nlimits: { max_step: 3 }",
                "limits.max_step: unknown key 'max_step', did you mean 'max_steps'? (allowed: max_steps,",
            ),
            ("model: m\nhand_off: { message: 5 }", "hand_off.message: invalid type: integer `5`, expected a string"),
            (
                "model: m\nclient_tools: [ { name: 1 } ]",
                "client_tools[0].name: invalid type: integer `1`, expected a string",
            ),
            ("instructions: hi", "missing field `model`"),
            ("- model: m", "keys and values at its top"),
            ("model: [", "line"),
        ] {
            let refused = read(text).expect_err(text).message;
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }
}
