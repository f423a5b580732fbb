//! Texts to vectors by models of Amazon Bedrock, which `InvokeModel` asks each in the words of its maker.
//!
//! Sources: the user guide's pages "Amazon Titan Embeddings G1 - Text" (both Titans), "Cohere Embed v3" and "Cohere
//! Embed v4". Invariant: how a model is asked is told by what stands in its id, wherever it stands: behind a region's
//! prefix (`us.cohere.embed-v4:0`) or inside an ARN; an id that tells nothing is refused.

use frontdesk_api::{Error, Result, embed::Embed, inference::NOT_OFFERED};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::fields::Fields;

/// The most texts that Cohere's models take at once (both of their pages).
const COHERE: usize = 96;

/// What Cohere's models must be told; their word for texts that are stored and searched.
const STORED: &str = "search_document";

/// A kind of models that are asked alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    TitanG1,
    TitanV2,
    CohereV3,
    CohereV4,
}

const KNOWN: [(&str, Family); 5] = [
    ("amazon.titan-embed-text-v1", Family::TitanG1),
    ("amazon.titan-embed-text-v2", Family::TitanV2),
    ("cohere.embed-english-v3", Family::CohereV3),
    ("cohere.embed-multilingual-v3", Family::CohereV3),
    ("cohere.embed-v4", Family::CohereV4),
];

fn family(model: &str) -> Option<Family> {
    KNOWN.iter().find(|(id, _)| model.contains(id)).map(|(_, family)| *family)
}

/// Whether the model can be asked for vectors.
#[must_use]
pub fn knows(model: &str) -> bool {
    family(model).is_some()
}

/// How one request for vectors is made of a model.
pub struct Way {
    family: Family,
    settings: Map<String, Value>,
}

impl Way {
    /// The makers' own members of the request: Titan's `normalize`; Cohere's `input_type` (without it,
    /// `search_document`), `truncate` and, of version 4, `max_tokens`.
    ///
    /// # Errors
    /// `Invalid` with the code [`NOT_OFFERED`] for a model of another family; `Invalid` naming the member: one of the
    /// wrong type, `dimensions` of a model that has one size.
    pub fn of(model: &str, embed: &Embed) -> Result<Self> {
        let family = family(model).ok_or_else(|| {
            let known = KNOWN.map(|(id, _)| id).join(", ");
            let message = format!("has no embeddings: the models of Bedrock that have them here are {known}");
            Error::invalid("model", message).with_code(NOT_OFFERED)
        })?;
        let mut settings = Map::new();
        let mut extra = Fields::of_members(embed.extra.clone());
        let mut set = |name: &str, value: Option<Value>| settings.extend(value.map(|value| (name.to_owned(), value)));
        match family {
            Family::TitanG1 => {}
            Family::TitanV2 => {
                set("dimensions", embed.dimensions.map(Value::from));
                set("normalize", extra.flag("normalize")?.map(Value::from));
            }
            Family::CohereV3 | Family::CohereV4 => {
                let input_type = extra.text("input_type")?.unwrap_or_else(|| STORED.to_owned());
                set("input_type", Some(input_type.into()));
                set("embedding_types", Some(vec!["float"].into()));
                set("truncate", extra.text("truncate")?.map(Value::from));
            }
        }
        match (family, embed.dimensions) {
            (Family::CohereV4, dimensions) => {
                set("output_dimension", dimensions.map(Value::from));
                set("max_tokens", extra.count("max_tokens", 1)?.map(Value::from));
            }
            (Family::TitanV2, _) | (_, None) => {}
            (Family::TitanG1 | Family::CohereV3, Some(_)) => {
                let message = format!("vectors of the model '{model}' have one size: leave 'dimensions' out");
                return Err(Error::invalid("dimensions", message));
            }
        }
        Ok(Self { family, settings })
    }

    /// The most texts of one call.
    #[must_use]
    pub fn most(&self) -> usize {
        match self.family {
            Family::TitanG1 | Family::TitanV2 => 1,
            Family::CohereV3 | Family::CohereV4 => COHERE,
        }
    }

    /// The body of a call for as many texts as it takes at most.
    #[must_use]
    pub fn body(&self, texts: &[&str]) -> Value {
        let mut out = self.settings.clone();
        match self.family {
            Family::TitanG1 | Family::TitanV2 => out.insert("inputText".into(), texts.concat().into()),
            Family::CohereV3 | Family::CohereV4 => out.insert("texts".into(), texts.into()),
        };
        Value::Object(out)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    #[serde(rename_all = "camelCase")]
    Titan {
        embedding: Vec<f32>,
        #[serde(default)]
        input_text_token_count: Option<u64>,
    },
    Cohere {
        embeddings: Embeddings,
    },
}

/// By their types where types were asked for, as is done here; bare without.
#[derive(Deserialize)]
#[serde(untagged)]
enum Embeddings {
    Typed { float: Vec<Vec<f32>> },
    Bare(Vec<Vec<f32>>),
}

/// The vectors of an answer in the order of the texts, and the tokens that its body tells; None: it tells none, as
/// Cohere's (Bedrock counts in the header [`TOKENS`]).
///
/// # Errors
/// The JSON error, when the text is not an answer.
pub fn decode(json: &[u8]) -> serde_json::Result<(Vec<Vec<f32>>, Option<u64>)> {
    Ok(match serde_json::from_slice(json)? {
        Answer::Titan { embedding, input_text_token_count } => (vec![embedding], input_text_token_count),
        Answer::Cohere { embeddings: Embeddings::Typed { float } | Embeddings::Bare(float) } => (float, None),
    })
}

/// The header of an answer to `InvokeModel` in which Bedrock counts what the model read.
pub const TOKENS: &str = "x-amzn-bedrock-input-token-count";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(model: &str, dimensions: Option<u32>, extra: Value, texts: &[&str]) -> Result<Value> {
        let Value::Object(extra) = extra else { panic!("an object") };
        let way = Way::of(model, &Embed { dimensions, extra, ..Embed::default() })?;
        assert!(texts.len() <= way.most());
        Ok(way.body(texts))
    }

    // Oracle: the request formats on the user guide's pages, and for Cohere what its own package sends to Bedrock.
    #[test]
    fn each_family_is_asked_in_its_own_words() {
        let cohere = json!({ "texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"] });
        let own =
            json!({ "texts": ["a"], "input_type": "search_query", "embedding_types": ["float"], "truncate": "END" });
        for (model, dimensions, extra, texts, want) in [
            ("amazon.titan-embed-text-v1", None, json!({ "normalize": true }), vec!["a"], json!({ "inputText": "a" })),
            ("amazon.titan-embed-text-v2:0", None, json!({}), vec!["a"], json!({ "inputText": "a" })),
            (
                "arn:aws:bedrock:eu-west-1::foundation-model/amazon.titan-embed-text-v2:0",
                Some(256),
                json!({ "normalize": false, "user": "u" }),
                vec!["a"],
                json!({ "inputText": "a", "dimensions": 256, "normalize": false }),
            ),
            ("cohere.embed-english-v3", None, json!({}), vec!["a", "b"], cohere.clone()),
            (
                "cohere.embed-multilingual-v3",
                None,
                json!({ "input_type": "search_query", "truncate": "END" }),
                vec!["a"],
                own,
            ),
            ("us.cohere.embed-v4:0", None, json!({}), vec!["a", "b"], cohere),
            (
                "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.cohere.embed-v4:0",
                Some(512),
                json!({ "input_type": "clustering", "max_tokens": 9 }),
                vec!["a"],
                json!({ "texts": ["a"], "input_type": "clustering", "embedding_types": ["float"], "output_dimension": 512, "max_tokens": 9 }),
            ),
        ] {
            assert_eq!(body(model, dimensions, extra, &texts).expect("a body"), want, "{model}");
        }
    }

    #[test]
    fn what_a_model_does_not_take_is_named() {
        for (model, dimensions, extra, param) in [
            ("amazon.nova-lite-v1:0", None, json!({}), "model"),
            ("amazon.titan-embed-image-v1", None, json!({}), "model"),
            ("arn:aws:bedrock:eu-west-1:1:application-inference-profile/abc", None, json!({}), "model"),
            ("amazon.titan-embed-text-v1", Some(8), json!({}), "dimensions"),
            ("cohere.embed-english-v3", Some(8), json!({}), "dimensions"),
            ("amazon.titan-embed-text-v2:0", None, json!({ "normalize": "yes" }), "normalize"),
            ("cohere.embed-v4:0", None, json!({ "input_type": 7 }), "input_type"),
            ("cohere.embed-v4:0", None, json!({ "max_tokens": 0 }), "max_tokens"),
        ] {
            let error = body(model, dimensions, extra, &["a"]).expect_err(model);
            assert_eq!(error.param.as_deref(), Some(param), "{model}");
            assert_eq!(error.code.as_deref() == Some(NOT_OFFERED), param == "model");
            assert!(param != "model" || error.message.contains("cohere.embed-v4"), "{}", error.message);
        }
    }

    // Oracle: the response formats on the same pages.
    #[test]
    fn answers_of_every_family_are_read() {
        let two = vec![vec![0.5], vec![1.0]];
        for (answer, want) in [
            (json!({ "embedding": [0.5], "inputTextTokenCount": 3 }), (vec![vec![0.5]], Some(3))),
            (
                json!({ "embedding": [0.5], "inputTextTokenCount": 3, "embeddingsByType": { "float": [0.5] } }),
                (vec![vec![0.5]], Some(3)),
            ),
            (
                json!({ "id": "x", "texts": ["a", "b"], "response_type": "embeddings_by_type", "embeddings": { "float": [[0.5], [1.0]] } }),
                (two.clone(), None),
            ),
            (json!({ "id": "x", "response_type": "embeddings_floats", "embeddings": [[0.5], [1.0]] }), (two, None)),
        ] {
            assert_eq!(decode(answer.to_string().as_bytes()).expect("an answer"), want, "{answer}");
        }
        for odd in ["{}", r#"{"embedding":"a"}"#, r#"{"embeddings":{"int8":[[1]]}}"#, "<html>"] {
            assert!(decode(odd.as_bytes()).is_err(), "{odd}");
        }
    }
}
