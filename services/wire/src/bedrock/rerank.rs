//! Documents put in order by models of Amazon Bedrock, which `InvokeModel` asks; answers are those of Cohere's API
//! (`crate::rerank`).
//!
//! Sources: Cohere's page "Rerank" and its own package for Bedrock, which adds `api_version`; the user guide's page
//! "Supported Regions and models for reranking". Invariant: as in `embeddings`, the id tells how a model is asked.

use frontdesk_api::{Error, Result, inference::NOT_OFFERED, rerank::Rerank};
use serde_json::{Value, json};

use crate::fields::Fields;

const COHERE: &str = "cohere.rerank-v3-5";
const AMAZON: &str = "amazon.rerank-v1";

/// The version of Cohere's API that is spoken: documents are texts.
const VERSION: u32 = 2;

/// Whether the model can be asked for an order.
#[must_use]
pub fn knows(model: &str) -> bool {
    [COHERE, AMAZON].iter().any(|id| model.contains(id))
}

/// How many places are asked for: those of the best that are wanted, else all there are.
#[must_use]
pub fn places(rerank: &Rerank) -> usize {
    let all = rerank.documents.len();
    rerank.top_n.map_or(all, |best| best.min(all))
}

/// Writes the request. Cohere's own member `max_tokens_per_doc` goes on.
///
/// # Errors
/// `Invalid` with the code [`NOT_OFFERED`] for another model; `Invalid` naming the document that has no text, or the
/// member that is of the wrong type.
pub fn encode(model: &str, rerank: &Rerank) -> Result<Value> {
    if !knows(model) {
        let message = format!("has no reranking: the models of Bedrock that have it here are {COHERE}, {AMAZON}");
        return Err(Error::invalid("model", message).with_code(NOT_OFFERED));
    }
    let mut out = json!({ "query": rerank.query, "documents": rerank.texts()?, "top_n": places(rerank) });
    if model.contains(COHERE) {
        out["api_version"] = VERSION.into();
        if let Some(tokens) = Fields::of_members(rerank.extra.clone()).count("max_tokens_per_doc", 1)? {
            out["max_tokens_per_doc"] = tokens.into();
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(top_n: Option<usize>, extra: Value) -> Rerank {
        let Value::Object(extra) = extra else { panic!("an object") };
        let documents = vec![json!("a"), json!({ "text": "b" })];
        Rerank { query: "q".into(), documents, top_n, extra, ..Rerank::default() }
    }

    #[test]
    fn each_model_is_asked_in_its_own_words() {
        let cohere = json!({ "query": "q", "documents": ["a", "b"], "top_n": 2, "api_version": 2 });
        assert_eq!(encode("cohere.rerank-v3-5:0", &asked(None, json!({}))).expect("a body"), cohere);
        let own =
            encode("us.cohere.rerank-v3-5:0", &asked(Some(1), json!({ "max_tokens_per_doc": 9 }))).expect("a body");
        assert_eq!((&own["top_n"], &own["max_tokens_per_doc"]), (&json!(1), &json!(9)));
        let arn = "arn:aws:bedrock:eu-central-1::foundation-model/amazon.rerank-v1:0";
        let amazon = encode(arn, &asked(Some(9), json!({ "max_tokens_per_doc": 9 }))).expect("a body");
        assert_eq!(amazon, json!({ "query": "q", "documents": ["a", "b"], "top_n": 2 }));
    }

    #[test]
    fn what_a_model_does_not_take_is_named() {
        let error = encode("cohere.command-r-v1:0", &asked(None, json!({}))).expect_err("no such model");
        assert_eq!((error.param.as_deref(), error.code.as_deref()), (Some("model"), Some(NOT_OFFERED)));
        assert!(error.message.contains("amazon.rerank-v1"), "{}", error.message);
        let mut odd = asked(None, json!({}));
        odd.documents.push(json!({ "body": "c" }));
        let error = encode("amazon.rerank-v1:0", &odd).expect_err("no text");
        assert_eq!(error.param.as_deref(), Some("documents[2]"));
        let error =
            encode("cohere.rerank-v3-5:0", &asked(None, json!({ "max_tokens_per_doc": "x" }))).expect_err("no count");
        assert_eq!(error.param.as_deref(), Some("max_tokens_per_doc"));
    }
}
