//! `SamplingParams`: how the model picks its words.

use frontdesk_api::{Error, Result, agent::Sampling};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SamplingParams {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// 0 means no limit of our own, as Llama Stack's server reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Strategy {
    Greedy,
    TopP {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        temperature: Option<f64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        top_p: Option<f64>,
    },
    TopK {
        top_k: u32,
    },
}

impl SamplingParams {
    /// `repetition_penalty` 1.0 (the server's default) says nothing and is dropped.
    ///
    /// # Errors
    /// `Invalid` for what no OpenAI-compatible model takes: `top_k`, a repetition penalty.
    pub fn to_domain(&self, param: &str) -> Result<Sampling> {
        let (temperature, top_p) = match &self.strategy {
            None => (None, None),
            Some(Strategy::Greedy) => (Some(0.0), None),
            Some(Strategy::TopP { temperature, top_p }) => (*temperature, *top_p),
            Some(Strategy::TopK { .. }) => {
                let at = format!("{param}.strategy");
                return Err(Error::invalid(at, "the strategy 'top_k' is not supported; use 'greedy' or 'top_p'"));
            }
        };
        if self.repetition_penalty.is_some_and(|p| p != 1.0 && p != 0.0) {
            let at = format!("{param}.repetition_penalty");
            return Err(Error::invalid(at, "repetition_penalty is not supported; leave it out"));
        }
        Ok(Sampling {
            temperature,
            top_p,
            max_tokens: self.max_tokens.filter(|n| *n > 0),
            seed: None,
            stop: self.stop.clone().unwrap_or_default(),
        })
    }

    #[must_use]
    pub fn from_domain(sampling: &Sampling) -> Self {
        let strategy = match (sampling.temperature, sampling.top_p) {
            (None, None) => None,
            (Some(0.0), None) => Some(Strategy::Greedy),
            (temperature, top_p) => Some(Strategy::TopP { temperature, top_p }),
        };
        let stop = (!sampling.stop.is_empty()).then(|| sampling.stop.clone());
        Self { strategy, max_tokens: sampling.max_tokens, repetition_penalty: None, stop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_become_temperature_and_top_p_and_come_back() {
        for json in [
            r#"{"strategy":{"type":"greedy"},"max_tokens":64}"#,
            r#"{"strategy":{"type":"top_p","temperature":0.7,"top_p":0.9},"stop":["END"]}"#,
            "{}",
        ] {
            let wire: SamplingParams = serde_json::from_str(json).expect("params");
            let back = SamplingParams::from_domain(&wire.to_domain("sampling_params").expect("supported"));
            assert_eq!(back, wire, "{json}");
        }
    }

    #[test]
    fn top_k_is_refused_rather_than_ignored() {
        let wire: SamplingParams = serde_json::from_str(r#"{"strategy":{"type":"top_k","top_k":5}}"#).expect("params");
        let refused = wire.to_domain("agent_config.sampling_params").expect_err("no top_k");
        assert_eq!(refused.param.as_deref(), Some("agent_config.sampling_params.strategy"));
    }
}
