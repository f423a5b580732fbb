//! Knowledge that is being read when its server dies.

use frontdesk_tests::{Frontdesk, Lane, Options, PATIENCE};
use serde_json::json;

use crate::shop;

/// As much as a store takes of one file, near enough: a second of reading and more.
fn a_long_text() -> String {
    let journey = "from hall to hall through rain and snow and the long way round ".repeat(8);
    let pages: String = (0..2_400).map(|n| format!("Parcel {n} travels {journey}{}.\n\n", n % 97)).collect();
    format!("{pages}{LAST}\n")
}

const LAST: &str = "Lost parcels wait in the lighthouse behind the harbour.";

/// On SQLite, where a dead process's hold is known to be void; on Postgres its lease must pass first, which the
/// memory room's own suite shows without waiting.
#[tokio::test]
async fn a_file_that_is_being_read_when_the_server_is_killed_is_read_to_its_end_after_the_next_start() {
    let mut frontdesk = Frontdesk::start(Options::new().lane(Lane::Sqlite));
    let file = shop::upload(&frontdesk, "parcels.md", a_long_text().as_bytes()).await;
    let (status, store) = frontdesk.post("/v1/vector_stores", &json!({ "name": "parcels" })).await;
    assert_eq!(status, 200, "{store}");
    let path = format!("/v1/vector_stores/{}/files", store["id"].as_str().expect("an id"));
    let one = format!("{path}/{file}");
    let attach = frontdesk.request("POST", &path).json(&json!({ "file_id": file })).send();
    let attach = tokio::spawn(attach);

    let seen = async |frontdesk: &Frontdesk, wanted: &str| {
        let end = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (status, row) = frontdesk.get(&one).await;
            if status == 200 && row["status"] == wanted {
                return;
            }
            assert!(row["status"] != "failed" && tokio::time::Instant::now() < end, "not {wanted}: {status} {row}");
            tokio::task::yield_now().await;
        }
    };
    seen(&frontdesk, "in_progress").await;
    frontdesk.restart();
    assert!(attach.await.expect("the request's task").is_err(), "it was killed before it could answer");
    seen(&frontdesk, "completed").await;
    let search = format!("{}/search", path.trim_end_matches("/files"));
    let (_, found) = frontdesk.post(&search, &json!({ "query": "the lighthouse behind the harbour" })).await;
    assert!(found["data"][0]["content"].to_string().contains(LAST), "{found}");
}
