//! `POST /v1/batches`.

use axum::{Json, extract::State};
use frontdesk_agents::sent;
use frontdesk_api::Error;
use frontdesk_batches::{Endpoint, NewBatch, Once};
use frontdesk_wire::openai::peek;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{BatchInfo, WINDOW};
use crate::{
    app::App,
    auth::Caller,
    http::{extract, files::expiry::ExpiresAfter},
    problem::Problem,
};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBatch {
    /// An uploaded file of the purpose `batch`: one request a line.
    input_file_id: String,
    /// `/v1/chat/completions`, `/v1/completions` or `/v1/embeddings`; what every line asks.
    endpoint: String,
    /// `24h`.
    completion_window: String,
    /// Up to 16 texts by names of your own.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
    /// How long the output and error files are kept from their creation; absent: until they are deleted.
    #[serde(default)]
    output_expires_after: Option<ExpiresAfter>,
    /// The same request with the same key within a day gets the batch that the first one made. As the header `Idempotency-Key`.
    #[serde(default)]
    idempotency_key: Option<String>,
}

/// Create a batch
///
/// Each line of the input file is `{"custom_id", "method": "POST", "url", "body"}`. What is wrong inside the file is
/// told by the batch itself, which then has the status `failed`. A line is asked as if it had come by itself, and
/// answered once, whatever becomes of the process that began it.
#[utoipa::path(
    post, path = "/v1/batches", tag = "inference",
    params(("Idempotency-Key" = Option<String>, Header, description = "As `idempotency_key`")),
    request_body = CreateBatch, responses((status = 200, body = BatchInfo))
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    extract::Key(key): extract::Key,
    extract::Raw(bytes): extract::Raw,
) -> Result<Json<BatchInfo>, Problem> {
    let body: CreateBatch = extract::parse(&bytes)?;
    let endpoint = Endpoint::OF_FILES.into_iter().find(|endpoint| endpoint.path() == body.endpoint);
    let endpoint = endpoint.ok_or_else(|| {
        let known = Endpoint::OF_FILES.map(Endpoint::path).join("', '");
        Error::invalid("endpoint", format!("endpoint must be one of '{known}', found '{}'", body.endpoint))
    })?;
    if body.completion_window != WINDOW {
        let message = format!("completion_window must be '{WINDOW}', found '{}'", body.completion_window);
        return Err(Error::invalid("completion_window", message).into());
    }
    let metadata = peek::metadata(body.metadata.as_deref().map(RawValue::get))?;
    let metadata = metadata.into_iter().map(|(name, text)| (name, text.into())).collect();
    let output_expires_after = body.output_expires_after.map(|after| after.read("output_expires_after")).transpose()?;
    let new = NewBatch::OfFile { endpoint, input: body.input_file_id, metadata, output_expires_after };
    let batch = match body.idempotency_key.or(key) {
        Some(key) => app.batches.create_once(&cx, new, Once { key, sent: sent("batches", &bytes) }).await?,
        None => app.batches.create(&cx, new).await?,
    };
    Ok(Json(batch.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::testing::{Frames, TestGateway};

    async fn file(gateway: &TestGateway, purpose: &str, content: &str) -> String {
        let cx = frontdesk_api::Cx::internal("default", "test");
        gateway.app.knowledge.create_file(&cx, "in.jsonl", purpose, None, content.as_bytes()).await.expect("a file").id
    }

    fn line(id: &str, model: &str, more: &str) -> String {
        format!(
            r#"{{"custom_id":"{id}","method":"POST","url":"/v1/chat/completions","body":{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]{more}}}}}"#
        ) + "\n"
    }

    fn asked(file: &str) -> Value {
        json!({ "input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": { "for": "tests" } })
    }

    /// Works on every batch to its end.
    async fn work(gateway: &TestGateway) {
        gateway.app.batches.recover().await.expect("begun");
        let ended = |b: &Value| ["completed", "failed", "cancelled"].contains(&b["status"].as_str().expect("a status"));
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        while !gateway.get("/v1/batches").await.json()["data"].as_array().expect("a list").iter().all(ended) {
            assert!(tokio::time::Instant::now() < end, "they do not end");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn lines_are_answered_into_files_that_the_batch_names() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let input =
            [line("a", "up/echo", ""), line("b", "nobody", ""), line("c", "up/echo", r#","stream":true"#)].concat();
        let input = file(&gateway, "batch", &input).await;
        let made = gateway.post("/v1/batches", &asked(&input)).await;
        insta::assert_snapshot!(made.shown(), @r#"
        200
        {
          "id": "batch_00000000000000000000000006",
          "object": "batch",
          "endpoint": "/v1/chat/completions",
          "errors": null,
          "input_file_id": "file_00000000000000000000000002",
          "completion_window": "24h",
          "status": "validating",
          "output_file_id": null,
          "error_file_id": null,
          "created_at": 1795492101,
          "in_progress_at": null,
          "expires_at": 1795578501,
          "finalizing_at": null,
          "completed_at": null,
          "failed_at": null,
          "expired_at": null,
          "cancelling_at": null,
          "cancelled_at": null,
          "request_counts": {
            "total": 0,
            "completed": 0,
            "failed": 0
          },
          "metadata": {
            "for": "tests"
          }
        }
        "#);
        work(&gateway).await;
        let id = made.json()["id"].as_str().expect("an id").to_owned();
        let batch = gateway.get(&format!("/v1/batches/{id}")).await.json();
        assert_eq!(batch["status"], "completed", "{batch}");
        assert_eq!(batch["request_counts"], json!({ "total": 3, "completed": 1, "failed": 2 }));
        assert!(batch["in_progress_at"].is_i64() && batch["finalizing_at"].is_i64() && batch["completed_at"].is_i64());
        let read = async |member: &str| -> Vec<Value> {
            let file = batch[member].as_str().expect("a file");
            assert_eq!(gateway.get(&format!("/v1/files/{file}")).await.json()["purpose"], "batch_output");
            let text = gateway.get(&format!("/v1/files/{file}/content")).await;
            text.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
        };
        let (output, errors) = (read("output_file_id").await, read("error_file_id").await);
        let answer = json!({ "id": "c1", "choices": [], "x_vendor": { "kept": true } });
        let response = json!({ "status_code": 200, "request_id": format!("{id}-0"), "body": answer });
        assert_eq!(output.len(), 1);
        assert_eq!(
            (&output[0]["custom_id"], &output[0]["response"], &output[0]["error"]),
            (&json!("a"), &response, &Value::Null)
        );
        let failed: Vec<_> = errors
            .iter()
            .map(|line| {
                (&line["custom_id"], &line["response"]["status_code"], &line["response"]["body"]["error"]["param"])
            })
            .collect();
        assert_eq!(failed, [(&json!("b"), &json!(404), &json!("model")), (&json!("c"), &json!(400), &json!("stream"))]);
    }

    #[tokio::test]
    async fn what_is_wrong_with_the_file_is_told_with_its_line() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let input = file(&gateway, "batch", &(line("a", "up/echo", "") + "oops\n")).await;
        let made = gateway.post("/v1/batches", &asked(&input)).await.json();
        work(&gateway).await;
        let batch = gateway.get(&format!("/v1/batches/{}", made["id"].as_str().expect("an id"))).await.json();
        assert_eq!((&batch["status"], &batch["output_file_id"]), (&json!("failed"), &Value::Null));
        let fault = &batch["errors"]["data"][0];
        assert_eq!((&fault["line"], &fault["code"]), (&json!(2), &json!("invalid_json_line")), "{batch}");
        assert!(batch["failed_at"].is_i64());
    }

    #[tokio::test]
    async fn files_of_a_batch_expire_when_it_was_asked_for() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let input = file(&gateway, "batch", &[line("a", "up/echo", ""), line("b", "nobody", "")].concat()).await;
        let mut body = asked(&input);
        body["output_expires_after"] = json!({ "anchor": "created_at", "seconds": 3600 });
        let made = gateway.post("/v1/batches", &body).await;
        assert_eq!(made.status, 200, "{}", made.text());
        work(&gateway).await;
        let batch = gateway.get(&format!("/v1/batches/{}", made.json()["id"].as_str().expect("an id"))).await.json();
        for member in ["output_file_id", "error_file_id"] {
            let id = batch[member].as_str().expect("a file");
            let file = gateway.get(&format!("/v1/files/{id}")).await.json();
            assert_eq!(file["expires_at"].as_i64(), file["created_at"].as_i64().map(|at| at + 3600), "{file}");
        }
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_names_its_member() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let (input, page) = (file(&gateway, "batch", "x").await, file(&gateway, "assistants", "x").await);
        let long: serde_json::Map<String, Value> = (0..17).map(|n| (n.to_string(), json!("x"))).collect();
        for (member, value, status) in [
            ("input_file_id", json!("file_none"), 404),
            ("input_file_id", json!(page), 400),
            ("endpoint", json!("/v1/responses"), 400),
            ("completion_window", json!("1h"), 400),
            ("metadata", json!({ "n": 1 }), 400),
            ("metadata", json!(long), 400),
            ("output_expires_after", json!({}), 400),
            ("output_expires_after", json!({ "anchor": "created_at", "seconds": 60 }), 400),
        ] {
            let mut body = asked(&input);
            body[member] = value;
            let refused = gateway.post("/v1/batches", &body).await;
            assert_eq!(
                (refused.status.as_u16(), &refused.json()["error"]["param"]),
                (status, &json!(member)),
                "{}",
                refused.text()
            );
        }
        assert_eq!(gateway.get("/v1/batches").await.json()["data"], json!([]));
        assert_eq!(gateway.get("/v1/batches/batch_none").await.status, 404);
    }

    #[tokio::test]
    async fn a_batch_that_nobody_works_on_yet_is_cancelled_and_then_never_again() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let input = file(&gateway, "batch", &line("a", "up/echo", "")).await;
        let id = gateway.post("/v1/batches", &asked(&input)).await.json()["id"].as_str().expect("an id").to_owned();
        let cancel = format!("/v1/batches/{id}/cancel");
        let cancelling = gateway.post(&cancel, &json!({})).await.json();
        assert!(cancelling["status"] == "cancelling" && cancelling["cancelling_at"].is_i64(), "{cancelling}");
        work(&gateway).await;
        let batch = gateway.get(&format!("/v1/batches/{id}")).await.json();
        assert_eq!((&batch["status"], &batch["output_file_id"]), (&json!("cancelled"), &Value::Null));
        let errors = batch["error_file_id"].as_str().expect("a file");
        let text = gateway.get(&format!("/v1/files/{errors}/content")).await;
        assert!(text.text().contains("batch_cancelled"), "{}", text.text());
        let refused = gateway.post(&cancel, &json!({})).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (409, &json!("batch_ended")));
    }
}
