//! What Bedrock's control plane lists: foundation models, and the inference profiles over them.
//!
//! A model is asked by its own id only where its region serves it on demand; newer ones are asked through a profile,
//! which may spread over regions. Source: `ListFoundationModels` and `ListInferenceProfiles` of the service model
//! `bedrock`.

use std::collections::HashSet;

use frontdesk_api::{Error, Result};
use serde::{Deserialize, de::DeserializeOwned};

use crate::sign::encoded;

/// Models that write text.
pub(crate) const FOUNDATION: &str = "foundation-models?byOutputModality=TEXT";

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

/// The names by which chats can be asked for.
pub(crate) fn names(models: &[Summary], profiles: &[Profile]) -> Vec<String> {
    let text: HashSet<&str> = models.iter().map(|model| model.model_id.as_str()).collect();
    let on_demand = models.iter().filter(|m| m.inference_types_supported.iter().any(|kind| kind == "ON_DEMAND"));
    let over_text = |profile: &&Profile| {
        let mut ids = profile.models.iter().filter_map(|m| m.model_arn.rsplit_once('/').map(|(_, id)| id));
        ids.any(|id| text.contains(id))
    };
    let name = |profile: &Profile| match profile.kind.as_str() {
        // One that a customer made is known by its ARN alone.
        "APPLICATION" => profile.inference_profile_arn.clone(),
        _ => profile.inference_profile_id.clone(),
    };
    on_demand.map(|m| m.model_id.clone()).chain(profiles.iter().filter(over_text).map(name)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // Oracle: the answers of the API reference's pages "ListFoundationModels" and "ListInferenceProfiles"; that the
    // members are those of the service model is checked in tests/conformance.
    #[test]
    fn what_can_be_asked_is_offered_and_nothing_else() {
        let model =
            |id: &str, kinds: &[&str]| json!({ "modelId": id, "modelArn": "a", "inferenceTypesSupported": kinds });
        let models = json!({ "modelSummaries": [
            model("amazon.nova-lite-v1:0", &["ON_DEMAND", "PROVISIONED"]),
            model("anthropic.claude-sonnet-4-5-20250929-v1:0", &["INFERENCE_PROFILE"]),
            model("amazon.titan-text:0:4k", &["PROVISIONED"]),
        ] });
        let profile = |id: &str, kind: &str, model: &str| {
            json!({ "inferenceProfileId": id, "inferenceProfileArn": format!("arn:aws:bedrock:eu-central-1:1:inference-profile/{id}"),
                "type": kind, "models": [{ "modelArn": format!("arn:aws:bedrock:eu-west-1::foundation-model/{model}") }] })
        };
        let profiles = json!({ "nextToken": "a+b/c=", "inferenceProfileSummaries": [
            profile("eu.anthropic.claude", "SYSTEM_DEFINED", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
            profile("own1", "APPLICATION", "amazon.nova-lite-v1:0"),
            profile("eu.picture", "SYSTEM_DEFINED", "stability.picture-v1:0"),
        ] });
        let models: Foundation = read("b", models.to_string().as_bytes()).expect("a list");
        let page: Profiles = read("b", profiles.to_string().as_bytes()).expect("a list");
        let names = names(&models.model_summaries, &page.inference_profile_summaries);
        let want =
            ["amazon.nova-lite-v1:0", "eu.anthropic.claude", "arn:aws:bedrock:eu-central-1:1:inference-profile/own1"];
        assert_eq!(names, want);
        assert_eq!(
            super::profiles(page.next_token.as_deref()),
            "inference-profiles?maxResults=1000&nextToken=a%2Bb%2Fc%3D"
        );
        assert!(read::<Profiles>("b", b"<html>").is_err());
    }
}
