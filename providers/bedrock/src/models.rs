//! What Bedrock's control plane lists: foundation models, and the inference profiles over them.
//!
//! A model is asked by its own id only where its region serves it on demand; newer ones are asked through a profile,
//! which may spread over regions. Source: `ListFoundationModels` and `ListInferenceProfiles` of the service model
//! `bedrock`.

use std::collections::HashSet;

use frontdesk_api::{Error, Result, inference::ModelKind};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{invoke::kind, sign::encoded};

/// All models; what they give is read here, since one request can ask for one modality only.
pub(crate) const FOUNDATION: &str = "foundation-models";

/// The most pages of profiles that are read: a list that never ends is a fault of the server.
pub(crate) const PAGES: usize = 20;

/// The path of a page of profiles; None: the first.
pub(crate) fn profiles(next: Option<&str>) -> String {
    let next = next.map(|token| format!("&nextToken={}", encoded(token))).unwrap_or_default();
    format!("inference-profiles?maxResults=1000{next}")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Foundation {
    #[serde(default)]
    pub(crate) model_summaries: Vec<Summary>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    model_id: String,
    /// `TEXT`, `EMBEDDING`, `IMAGE`; a model that puts documents in order gives text by this list.
    #[serde(default)]
    output_modalities: Vec<String>,
    #[serde(default)]
    inference_types_supported: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Profiles {
    #[serde(default)]
    pub(crate) inference_profile_summaries: Vec<Profile>,
    #[serde(default)]
    pub(crate) next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Profile {
    inference_profile_id: String,
    inference_profile_arn: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    models: Vec<Member>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Member {
    #[serde(default)]
    model_arn: String,
}

/// # Errors
/// `Upstream` when the body is no such list.
pub(crate) fn read<T: DeserializeOwned>(provider: &str, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| {
        Error::upstream(format!("provider '{provider}' sent something that is not a list of models")).with_source(e)
    })
}

/// Whether a model can be asked here: one that writes text in a chat, one that embeds if its id tells how.
fn askable(model: &Summary) -> bool {
    let gives = |modality: &str| model.output_modalities.iter().any(|given| given == modality);
    gives("TEXT") || gives("EMBEDDING") && kind(&model.model_id) == ModelKind::Embedding
}

/// The names by which models can be asked.
pub(crate) fn names(models: &[Summary], profiles: &[Profile]) -> Vec<String> {
    let askable: HashSet<&str> = models.iter().filter(|model| askable(model)).map(|m| m.model_id.as_str()).collect();
    let on_demand = models.iter().filter(|m| {
        askable.contains(m.model_id.as_str()) && m.inference_types_supported.iter().any(|kind| kind == "ON_DEMAND")
    });
    let name = |profile: &Profile| match profile.kind.as_str() {
        // One that a customer made is known by its ARN alone.
        "APPLICATION" => profile.inference_profile_arn.clone(),
        _ => profile.inference_profile_id.clone(),
    };
    let over = |profile: &Profile| {
        let name = name(profile);
        let mut ids = profile.models.iter().filter_map(|m| m.model_arn.rsplit_once('/').map(|(_, id)| id));
        // How a model is asked is told by the name it is asked by, so that has to tell the same.
        ids.any(|id| askable.contains(id) && kind(id) == kind(&name)).then_some(name)
    };
    on_demand.map(|m| m.model_id.clone()).chain(profiles.iter().filter_map(over)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // Oracle: the answers of the API reference's pages "ListFoundationModels" and "ListInferenceProfiles"; that the
    // members are those of the service model is checked in tests/conformance.
    #[test]
    fn what_can_be_asked_is_offered_and_nothing_else() {
        let model = |id: &str, gives: &str, kinds: &[&str]| json!({ "modelId": id, "modelArn": "a", "outputModalities": [gives], "inferenceTypesSupported": kinds });
        let models = json!({ "modelSummaries": [
            model("amazon.nova-lite-v1:0", "TEXT", &["ON_DEMAND", "PROVISIONED"]),
            model("anthropic.claude-sonnet-4-5-20250929-v1:0", "TEXT", &["INFERENCE_PROFILE"]),
            model("amazon.titan-text:0:4k", "TEXT", &["PROVISIONED"]),
            model("amazon.titan-embed-text-v2:0", "EMBEDDING", &["ON_DEMAND"]),
            model("amazon.titan-embed-image-v1", "EMBEDDING", &["ON_DEMAND"]),
            model("cohere.embed-v4:0", "EMBEDDING", &["INFERENCE_PROFILE"]),
            model("cohere.rerank-v3-5:0", "TEXT", &["ON_DEMAND"]),
            model("stability.picture-v1:0", "IMAGE", &["ON_DEMAND"]),
        ] });
        let profile = |id: &str, kind: &str, model: &str| {
            json!({ "inferenceProfileId": id, "inferenceProfileArn": format!("arn:aws:bedrock:eu-central-1:1:inference-profile/{id}"),
                "type": kind, "models": [{ "modelArn": format!("arn:aws:bedrock:eu-west-1::foundation-model/{model}") }] })
        };
        let profiles = json!({ "nextToken": "a+b/c=", "inferenceProfileSummaries": [
            profile("eu.anthropic.claude", "SYSTEM_DEFINED", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
            profile("own1", "APPLICATION", "amazon.nova-lite-v1:0"),
            profile("eu.picture", "SYSTEM_DEFINED", "stability.picture-v1:0"),
            profile("eu.cohere.embed-v4:0", "SYSTEM_DEFINED", "cohere.embed-v4:0"),
            profile("own2", "APPLICATION", "cohere.embed-v4:0"),
        ] });
        let models: Foundation = read("b", models.to_string().as_bytes()).expect("a list");
        let page: Profiles = read("b", profiles.to_string().as_bytes()).expect("a list");
        let names = names(&models.model_summaries, &page.inference_profile_summaries);
        let want = [
            "amazon.nova-lite-v1:0",
            "amazon.titan-embed-text-v2:0",
            "cohere.rerank-v3-5:0",
            "eu.anthropic.claude",
            "arn:aws:bedrock:eu-central-1:1:inference-profile/own1",
            "eu.cohere.embed-v4:0",
        ];
        assert_eq!(names, want);
        assert_eq!(
            super::profiles(page.next_token.as_deref()),
            "inference-profiles?maxResults=1000&nextToken=a%2Bb%2Fc%3D"
        );
        assert!(read::<Profiles>("b", b"<html>").is_err());
    }
}
