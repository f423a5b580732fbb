//! `GET /v1/usage`.
//!
//! The shape of OpenAI's organization usage: a page of buckets with results, and their names where they mean the same.
//! Costs are exact: whole nano-USD, and beside them the same as a decimal text in USD.

use axum::{Json, extract::State};
use frontdesk_accounts::Accounts;
use frontdesk_api::{
    Error, Kind, Micros, Result,
    clock::{day, unix_seconds},
};
use frontdesk_ledger::{By, Nano, Report, UsageGroup, UsageQuery};
use serde::{Deserialize, Serialize};

use crate::{app::App, auth::Caller, http::extract::Query, problem::Problem};

/// Microseconds in a day.
const DAY: Micros = 86_400_000_000;

/// Days that are shown when nobody says which, today included.
const DAYS: i64 = 30;

/// The most results of one answer.
const MOST: i64 = 10_000;

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageParams {
    /// First moment: a day (`2026-11-24`, UTC) or unix seconds. Left out: 29 days ago.
    from: Option<String>,
    /// Last day, or the unix second before which. Left out: now.
    to: Option<String>,
    /// Some of `day`, `key`, `agent`, `model`, `provider`, with commas between. Left out: all in one.
    group_by: Option<String>,
    /// Only calls with this key, by its id.
    key: Option<String>,
    /// Only calls of this agent, by its id.
    agent: Option<String>,
    /// Only calls of this model, as it was asked for or as `provider/model`.
    model: Option<String>,
    /// Only calls of this provider.
    provider: Option<String>,
    /// Another tenant than the caller's own; only for the operator's admins.
    tenant: Option<String>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UsagePage {
    #[schema(example = "page")]
    object: &'static str,
    /// One bucket a day with `group_by=day`, else one in all.
    data: Vec<UsageBucket>,
    /// All of it.
    total: UsageResult,
    outstanding: UsageOutstanding,
    /// Always false: an answer holds everything, or is refused as too large.
    has_more: bool,
    /// Always null.
    next_page: Option<String>,
}

/// Times are unix seconds.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UsageBucket {
    #[schema(example = "bucket")]
    object: &'static str,
    start_time: i64,
    end_time: i64,
    results: Vec<UsageResult>,
}

/// Calls put together. Cached and written tokens are parts of the input, reasoning tokens of the output.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UsageResult {
    #[schema(example = "usage.result")]
    object: &'static str,
    num_model_requests: i64,
    /// Calls that did not end well: errors, cancelled, clients that left.
    num_failed: i64,
    /// Calls whose answer was kept, or shared with an equal call (docs/routing.md): no tokens, no cost.
    num_reused: i64,
    /// Calls whose tokens the provider did not count to the end.
    num_estimated: i64,
    /// Calls whose model has no price; their cost is in no sum here.
    num_unpriced: i64,
    input_tokens: i64,
    input_cached_tokens: i64,
    input_cache_write_tokens: i64,
    output_tokens: i64,
    output_reasoning_tokens: i64,
    /// Billionths of a dollar, exact. null: no call has a price.
    cost_nano_usd: Option<Nano>,
    /// The same in dollars.
    #[schema(example = "0.004125000")]
    cost_usd: Option<String>,
    /// With `group_by=key`.
    api_key_id: Option<String>,
    /// With `group_by=agent`; null there: calls of no agent.
    agent_id: Option<String>,
    /// With `group_by=model`: `provider/model`, or the name that was asked for where nobody answered.
    model: Option<String>,
    /// With `group_by=provider`.
    provider: Option<String>,
}

/// Money set aside for calls under way, as of now and in all.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct UsageOutstanding {
    /// By servers that run: given back when they do not need it.
    reserved_nano_usd: Nano,
    /// By servers that died: counts as spent, since nobody can say what of it was.
    lost_nano_usd: Nano,
}

/// What was used and what it cost
///
/// For admins of the tenant. Calls that have just ended are in it. Prices are the vendors' list prices, the operator's
/// own (`prices` in the configuration) before them; a model without a price is counted, and its cost is null.
#[utoipa::path(get, path = "/v1/usage", tag = "platform", params(UsageParams), responses((status = 200, body = UsagePage)))]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(params): Query<UsageParams>,
) -> Result<Json<UsagePage>, Problem> {
    let tenant = params.tenant.clone().unwrap_or_else(|| cx.tenant.clone());
    Accounts::may_manage(&cx, &tenant)?;
    let query = params.query(app.clock.now())?;
    let report = app.ledger.report(&tenant, &query).await?;
    if i64::try_from(report.groups.len()).is_ok_and(|groups| groups > MOST) {
        let message = format!("the answer would have more than {MOST} results: ask for fewer days or group by less");
        return Err(Error::new(Kind::TooLarge, message).with_param("group_by").into());
    }
    Ok(Json(UsagePage::of(report, &query)))
}

impl UsageParams {
    fn query(&self, now: Micros) -> Result<UsageQuery<'_>> {
        let from = match &self.from {
            Some(text) => moment("from", text)?,
            None => (now.div_euclid(DAY) + 1 - DAYS) * DAY,
        };
        let to = match &self.to {
            // The whole of the day.
            Some(text) if day(text).is_some() => moment("to", text)? + DAY,
            Some(text) => moment("to", text)?,
            None => now + 1,
        };
        if from >= to {
            return Err(Error::invalid("from", "from must lie before to"));
        }
        let by = by(self.group_by.as_deref().unwrap_or_default())?;
        Ok(UsageQuery {
            from,
            to,
            by,
            key_id: self.key.as_deref(),
            agent_id: self.agent.as_deref(),
            model: self.model.as_deref(),
            provider: self.provider.as_deref(),
            limit: MOST + 1,
        })
    }
}

/// A day's beginning, or unix seconds.
fn moment(param: &str, text: &str) -> Result<Micros> {
    let seconds = || text.parse::<i64>().ok().and_then(|s| s.checked_mul(1_000_000));
    // A century before and after is room enough, and no sum overflows.
    let sane = |t: &Micros| t.unsigned_abs() < 100 * 366 * DAY.unsigned_abs();
    day(text).map(|days| days * DAY).or_else(seconds).filter(sane).ok_or_else(|| {
        Error::invalid(param, format!("{param} must be a day (2026-11-24) or unix seconds, found '{text}'"))
    })
}

fn by(names: &str) -> Result<By> {
    let mut by = By::default();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match name {
            "day" => by.day = true,
            "key" => by.key = true,
            "agent" => by.agent = true,
            "model" => by.model = true,
            "provider" => by.provider = true,
            other => {
                let message = format!("group_by takes day, key, agent, model and provider, found '{other}'");
                return Err(Error::invalid("group_by", message));
            }
        }
    }
    Ok(by)
}

impl UsagePage {
    fn of(report: Report, query: &UsageQuery<'_>) -> Self {
        let mut data: Vec<UsageBucket> = vec![];
        for group in report.groups {
            // Groups come in the order of their days.
            let (from, to) = match group.day {
                Some(day) => ((day * DAY).max(query.from), ((day + 1) * DAY).min(query.to)),
                None => (query.from, query.to),
            };
            let (start_time, end_time) = (unix_seconds(from), unix_seconds(to));
            match data.last_mut().filter(|bucket| bucket.start_time == start_time) {
                Some(bucket) => bucket.results.push(group.into()),
                None => data.push(UsageBucket { object: "bucket", start_time, end_time, results: vec![group.into()] }),
            }
        }
        let outstanding =
            UsageOutstanding { reserved_nano_usd: report.outstanding.reserved, lost_nano_usd: report.outstanding.lost };
        Self { object: "page", data, total: report.total.into(), outstanding, has_more: false, next_page: None }
    }
}

impl From<UsageGroup> for UsageResult {
    fn from(group: UsageGroup) -> Self {
        Self {
            object: "usage.result",
            num_model_requests: group.requests,
            num_failed: group.failed,
            num_reused: group.reused,
            num_estimated: group.estimated,
            num_unpriced: group.unpriced,
            input_tokens: group.input_tokens,
            input_cached_tokens: group.cached_input_tokens,
            input_cache_write_tokens: group.cache_write_tokens,
            output_tokens: group.output_tokens,
            output_reasoning_tokens: group.reasoning_tokens,
            cost_nano_usd: group.cost,
            cost_usd: group.cost.map(dollars),
            api_key_id: group.key_id,
            agent_id: group.agent_id,
            model: group.model,
            provider: group.provider,
        }
    }
}

/// Nano-USD as a decimal text in USD, exact.
fn dollars(nano: Nano) -> String {
    format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use frontdesk_api::{
        ChatEvent, ChatReply, ChatRequest, Cx, Effort, Frame, Inference,
        chat::{Dialect, ReplyHead, Usage},
        inference::Model,
    };
    use futures::StreamExt as _;
    use serde_json::json;

    use super::*;
    use crate::testing::{Frames, TestGateway, frame};

    /// Answers in one word and counts it.
    struct Counts;

    #[async_trait]
    impl Inference for Counts {
        async fn chat(&self, _: &Cx, request: ChatRequest) -> Result<ChatReply> {
            let (provider, streaming) = ("up".into(), request.stream);
            let head = ReplyHead {
                provider,
                model: request.model,
                dialect: Dialect::OpenaiChat,
                streaming,
                upstream_request: None,
                effort: Effort::default(),
                reuse: None,
            };
            let usage = Usage {
                input_tokens: 1_000,
                cached_input_tokens: 600,
                output_tokens: 50,
                reasoning_tokens: 20,
                ..Usage::default()
            };
            let said = Frame { events: vec![ChatEvent::Usage(usage)], ..frame("{}") };
            Ok(ChatReply { head, frames: futures::stream::iter([Ok(said)]).boxed() })
        }

        async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
            Ok(vec![])
        }
    }

    const CONFIG: &str = "
providers: { inference: [ { id: up, type: openai, config: { base_url: 'http://127.0.0.1:9/v1' } } ] }
models: [ { id: fast, targets: [ { model: up/priced } ] } ]
prices: [ { model: up/priced, price: { input: 2000000, output: 8000000, cached_input: 500000 } } ]
";

    async fn ask(gateway: &TestGateway, model: &str) {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }] });
        assert_eq!(gateway.post("/v1/chat/completions", &body).await.status, 200);
    }

    #[tokio::test]
    async fn usage_comes_by_day_and_model_with_exact_costs() {
        let gateway = TestGateway::configured(CONFIG, Counts).await;
        ask(&gateway, "fast").await;
        ask(&gateway, "up/priced").await;
        ask(&gateway, "up/other").await;
        // 400 × 2 + 600 × 0.5 + 50 × 8 = 1500 millionths of a dollar a call.
        let page = gateway.get("/v1/usage?group_by=day,model&to=2026-11-24").await.json();
        insta::assert_snapshot!(serde_json::to_string_pretty(&page["data"]).expect("JSON"), @r#"
        [
          {
            "object": "bucket",
            "start_time": 1795478400,
            "end_time": 1795564800,
            "results": [
              {
                "object": "usage.result",
                "num_model_requests": 1,
                "num_failed": 0,
                "num_reused": 0,
                "num_estimated": 0,
                "num_unpriced": 1,
                "input_tokens": 1000,
                "input_cached_tokens": 600,
                "input_cache_write_tokens": 0,
                "output_tokens": 50,
                "output_reasoning_tokens": 20,
                "cost_nano_usd": null,
                "cost_usd": null,
                "api_key_id": null,
                "agent_id": null,
                "model": "up/other",
                "provider": null
              },
              {
                "object": "usage.result",
                "num_model_requests": 2,
                "num_failed": 0,
                "num_reused": 0,
                "num_estimated": 0,
                "num_unpriced": 0,
                "input_tokens": 2000,
                "input_cached_tokens": 1200,
                "input_cache_write_tokens": 0,
                "output_tokens": 100,
                "output_reasoning_tokens": 40,
                "cost_nano_usd": 3000000,
                "cost_usd": "0.003000000",
                "api_key_id": null,
                "agent_id": null,
                "model": "up/priced",
                "provider": null
              }
            ]
          }
        ]
        "#);
        let total = &page["total"];
        assert_eq!((&total["num_model_requests"], &total["num_unpriced"]), (&json!(3), &json!(1)));
        assert_eq!((&total["cost_nano_usd"], &total["cost_usd"]), (&json!(3_000_000), &json!("0.003000000")));
    }

    #[tokio::test]
    async fn an_admin_sees_its_own_tenant_and_the_operator_every_one() {
        let gateway = TestGateway::start(Frames::whole()).await;
        gateway.post("/v1/tenants", &json!({ "id": "shop", "name": "Shop" })).await;
        let key = json!({ "name": "k", "scopes": ["admin"], "tenant": "shop" });
        let made = gateway.post("/v1/keys", &key).await.json();
        let made = made["key"].as_str().expect("a key");
        ask(&gateway, "up/echo").await;
        let as_shop = async |path: &str| {
            let request = http::Request::get(path).header("x-api-key", made);
            gateway.send(request.body(axum::body::Body::empty()).expect("a request")).await
        };
        assert_eq!(as_shop("/v1/usage").await.json()["total"]["num_model_requests"], 0);
        assert_eq!(as_shop("/v1/usage?tenant=default").await.status, 404);
        assert_eq!(gateway.get("/v1/usage").await.json()["total"]["num_model_requests"], 1);
        assert_eq!(gateway.get("/v1/usage?tenant=shop").await.json()["total"]["num_model_requests"], 0);
        assert_eq!(gateway.get("/v1/usage?key=other").await.json()["total"]["num_model_requests"], 0);
    }

    #[tokio::test]
    async fn a_query_that_makes_no_sense_names_its_parameter() {
        let gateway = TestGateway::start(Frames::whole()).await;
        for (query, param) in [
            ("from=yesterday", "from"),
            ("to=2026-02-30", "to"),
            ("group_by=colour", "group_by"),
            ("from=2026-11-25", "from"),
            ("from=99999999999999999", "from"),
        ] {
            let answer = gateway.get(&format!("/v1/usage?{query}")).await;
            assert_eq!((answer.status.as_u16(), &answer.json()["error"]["param"]), (400, &json!(param)), "{query}");
        }
        assert_eq!(gateway.get("/v1/usage?grupo=day").await.status, 400);
    }

    #[test]
    fn dollars_have_nine_places() {
        assert_eq!(dollars(0), "0.000000000");
        assert_eq!(dollars(1_500_000), "0.001500000");
        assert_eq!(dollars(12_000_000_001), "12.000000001");
    }
}
