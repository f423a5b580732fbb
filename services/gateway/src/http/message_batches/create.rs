//! `POST /v1/messages/batches`.

use axum::{
    Json,
    extract::{Request, State},
};
use frontdesk_agents::sent;
use frontdesk_api::Error;
use frontdesk_batches::{NewBatch, NewLine, Once};
use frontdesk_wire::anthropic::batch;

use super::MessageBatch;
use crate::{
    app::App,
    auth::Caller,
    http::{extract, files::create::size},
    problem::Problem,
};

/// How often a batch lies in memory at its most: as the request's body, as its lines, and as the database's copy.
const COPIES: usize = 3;

/// The request's members.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // describes the wire; the codec reads it
pub struct CreateMessageBatch {
    requests: Vec<MessageBatchRequest>,
}

/// A request of a batch.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // describes the wire; the codec reads it
pub struct MessageBatchRequest {
    /// 1 to 64 letters, digits, `_` and `-`; each its own.
    custom_id: String,
    /// The body of `POST /v1/messages`.
    #[schema(value_type = Object)]
    params: serde_json::Value,
}

/// Create a message batch
///
/// Each request is answered as by `POST /v1/messages`, in the background and once, whatever becomes of the process
/// that began it. The body may be as large as an uploaded file, and waits for room as one.
#[utoipa::path(
    post, path = "/v1/messages/batches", tag = "inference",
    params(("Idempotency-Key" = Option<String>, Header, description = "The same request with the same key within a day gets the batch that the first one made")),
    request_body = CreateMessageBatch, responses((status = 200, body = MessageBatch))
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    extract::Key(key): extract::Key,
    request: Request,
) -> Result<Json<MessageBatch>, Problem> {
    let limits = &app.config.limits;
    let _room = app.uploads.take(size(&request, limits.max_upload_mb).saturating_mul(COPIES)).await?;
    let body =
        extract::read(request, limits.max_upload_mb, "limits.max_upload_mb", limits.body_timeout_s, None).await?;
    // Up to 64 MiB of JSON: nobody else on this lane waits for it to be read.
    let read = tokio::task::spawn_blocking(move || {
        let line = |r: batch::Request| NewLine { custom_id: r.custom_id, request: r.params };
        let lines: Vec<NewLine> = batch::requests(&body)?.into_iter().map(line).collect();
        Ok::<_, Error>((lines, key.map(|key| Once { key, sent: sent("message_batches", &body) })))
    });
    let (lines, once) = read.await.map_err(|e| Error::internal("could not read the requests of a batch", e))??;
    let new = NewBatch::OfMessages(lines);
    let batch = match once {
        Some(once) => app.batches.create_once(&cx, new, once).await?,
        None => app.batches.create(&cx, new).await?,
    };
    Ok(Json(batch.into()))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::StreamExt;
    use serde_json::{Value, json};

    use crate::testing::{Frames, TestGateway};

    fn batch(ids: &[&str]) -> Value {
        let item = |id: &&str| {
            let model = if *id == "lost" { "nobody" } else { "up/echo" };
            json!({ "custom_id": id, "params": { "model": model, "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] } })
        };
        json!({ "requests": ids.iter().map(item).collect::<Vec<_>>() })
    }

    fn native() -> crate::http::messages::create::native::Native {
        crate::http::messages::create::native::Native(Frames::whole())
    }

    async fn made(gateway: &TestGateway, ids: &[&str]) -> String {
        let made = gateway.post("/v1/messages/batches", &batch(ids)).await;
        assert_eq!(made.status, 200, "{}", made.text());
        made.json()["id"].as_str().expect("an id").to_owned()
    }

    async fn ended(gateway: &TestGateway, id: &str) -> Value {
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let batch = gateway.get(&format!("/v1/messages/batches/{id}")).await.json();
            if batch["processing_status"] == "ended" {
                return batch;
            }
            assert!(tokio::time::Instant::now() < end, "it does not end: {batch}");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn requests_are_answered_and_their_results_read_until_the_batch_is_deleted() {
        let gateway = TestGateway::start(native()).await;
        let made = gateway.post("/v1/messages/batches", &batch(&["a", "lost"])).await;
        // How often the clock was looked at before is nobody's business here.
        let at = made.json()["created_at"].as_str().expect("a time").to_owned();
        insta::assert_snapshot!(made.shown().replace(&at[19..], "Z"), @r#"
        200
        {
          "id": "msgbatch_00000000000000000000000003",
          "type": "message_batch",
          "processing_status": "in_progress",
          "request_counts": {
            "processing": 2,
            "succeeded": 0,
            "errored": 0,
            "canceled": 0,
            "expired": 0
          },
          "created_at": "2026-11-24T03:48:21Z",
          "expires_at": "2026-11-25T03:48:21Z",
          "ended_at": null,
          "cancel_initiated_at": null,
          "archived_at": null,
          "results_url": null
        }
        "#);
        let path = format!("/v1/messages/batches/{}", made.json()["id"].as_str().expect("an id"));
        let early = gateway.get(&format!("{path}/results")).await;
        assert_eq!((early.status.as_u16(), &early.json()["error"]["type"]), (409, &json!("conflict_error")));
        let delete =
            async || gateway.send(gateway.request("DELETE", &path).body(Body::empty()).expect("a request")).await;
        assert_eq!(delete().await.status, 409, "it is being worked on");
        gateway.app.batches.recover().await.expect("begun");
        let batch = ended(&gateway, made.json()["id"].as_str().expect("an id")).await;
        let counts = json!({ "processing": 0, "succeeded": 1, "errored": 1, "canceled": 0, "expired": 0 });
        assert_eq!((&batch["request_counts"], &batch["results_url"]), (&counts, &json!(format!("{path}/results"))));
        let results = gateway.get(&format!("{path}/results")).await;
        assert_eq!(results.headers["content-type"], "application/x-jsonl");
        let lines: Vec<Value> = results.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let message = json!({ "id": "c1", "choices": [], "x_vendor": { "kept": true } });
        assert_eq!(lines[0], json!({ "custom_id": "a", "result": { "type": "succeeded", "message": message } }));
        let error = &lines[1]["result"]["error"];
        assert_eq!(
            (&lines[1]["result"]["type"], &error["error"]["type"]),
            (&json!("errored"), &json!("not_found_error"))
        );
        assert_eq!(lines.len(), 2);
        assert_eq!(delete().await.json(), json!({ "id": batch["id"], "type": "message_batch_deleted" }));
        assert_eq!(gateway.get(&path).await.status, 404);
    }

    #[tokio::test]
    async fn a_request_that_comes_again_with_its_key_makes_no_second_batch() {
        let gateway = TestGateway::start(native()).await;
        let made = async |ids: &[&str]| {
            let request = gateway.request("POST", "/v1/messages/batches").header("idempotency-key", "k");
            let request = request.header("content-type", "application/json");
            gateway.send(request.body(batch(ids).to_string().into()).expect("a request")).await
        };
        let first = made(&["a"]).await.json();
        assert_eq!(made(&["a"]).await.json()["id"], first["id"]);
        assert_eq!(made(&["b"]).await.status, 409);
        let listed = gateway.get("/v1/messages/batches").await.json();
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(1));
    }

    #[tokio::test]
    async fn results_that_are_deleted_while_they_are_read_break_off() {
        let gateway = TestGateway::start(native()).await;
        let ids: Vec<String> = (0..150).map(|n| format!("m{n}")).collect();
        let id = made(&gateway, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        gateway.app.batches.recover().await.expect("begun");
        ended(&gateway, &id).await;
        let path = format!("/v1/messages/batches/{id}");
        let read = async || {
            let request = gateway.request("GET", &format!("{path}/results")).body(Body::empty()).expect("a request");
            gateway.begin(request).await.into_body().into_data_stream()
        };
        let whole: Vec<_> = read().await.collect().await;
        assert_eq!((whole.len(), whole.iter().all(Result::is_ok)), (2, true));
        let mut results = read().await;
        assert!(results.next().await.expect("the first hundred").is_ok());
        let delete = gateway.request("DELETE", &path).body(Body::empty()).expect("a request");
        assert_eq!(gateway.send(delete).await.status, 200);
        assert!(results.next().await.expect("no end").is_err(), "it must not look like a whole list");
    }

    #[tokio::test]
    async fn a_batch_that_nobody_works_on_yet_is_cancelled() {
        let gateway = TestGateway::start(native()).await;
        let id = made(&gateway, &["a", "b"]).await;
        let canceling = gateway.post(&format!("/v1/messages/batches/{id}/cancel"), &json!({})).await.json();
        assert_eq!((&canceling["processing_status"], &canceling["results_url"]), (&json!("canceling"), &Value::Null));
        gateway.app.batches.recover().await.expect("begun");
        assert_eq!(ended(&gateway, &id).await["request_counts"]["canceled"], 2);
        let results = gateway.get(&format!("/v1/messages/batches/{id}/results")).await;
        let want = |id: &str| format!("{{\"custom_id\":\"{id}\",\"result\":{{\"type\":\"canceled\"}}}}\n");
        assert_eq!(results.text(), want("a") + &want("b"));
    }

    #[tokio::test]
    async fn batches_are_listed_to_both_sides_of_one() {
        let gateway = TestGateway::start(native()).await;
        let mut ids = vec![];
        for _ in 0..4 {
            ids.push(made(&gateway, &["a"]).await);
        }
        let list = async |query: &str| {
            let page = gateway.get(&format!("/v1/messages/batches?{query}")).await.json();
            let place = |b: &Value| ids.iter().position(|id| b["id"] == *id).expect("one of them");
            let places: Vec<usize> = page["data"].as_array().expect("a list").iter().map(place).collect();
            assert_eq!(page["first_id"], places.first().map_or(Value::Null, |n| json!(ids[*n])));
            assert_eq!(page["last_id"], places.last().map_or(Value::Null, |n| json!(ids[*n])));
            (places, page["has_more"] == true)
        };
        assert_eq!(list("limit=2").await, (vec![3, 2], true));
        assert_eq!(list(&format!("limit=2&after_id={}", ids[2])).await, (vec![1, 0], false));
        assert_eq!(list(&format!("limit=2&before_id={}", ids[0])).await, (vec![2, 1], true));
        assert_eq!(list(&format!("before_id={}", ids[2])).await, (vec![3], false));
        let refused = gateway.get("/v1/messages/batches?limit=0").await;
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]["details"]["param"]), (400, &json!("limit")));
        assert_eq!(gateway.get("/v1/batches").await.json()["data"], json!([]), "those are another kind");
    }
}
