//! Contents of files outside the database, end to end: where they are, and what a killed server leaves.

use std::{
    io::Write as _,
    net::TcpStream,
    path::{Path, PathBuf},
};

use frontdesk_tests::{
    Frontdesk, Lane, Options, PATIENCE,
    frontdesk::{ADMIN_KEY, answer},
};
use serde_json::json;

use crate::shop;

/// Every file below the folder but for its mark.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with(".frontdesk") {
            found.push(path);
        }
    }
    found
}

/// Looks again and again until the folder has so many files.
async fn until(folder: &Path, many: usize) -> Vec<PathBuf> {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = files(folder);
        if found.len() == many {
            return found;
        }
        assert!(tokio::time::Instant::now() < end, "not {many} files: {found:?}");
        tokio::task::yield_now().await;
    }
}

fn at(folder: &Path) -> Options {
    let place = json!([{ "id": "disk", "type": "disk", "config": { "path": folder } }]);
    Options::new().config(&format!("providers: {{ files: {place} }}"))
}

#[tokio::test]
async fn files_on_a_disk_are_read_searched_and_gone_when_they_are_deleted() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("files");
    let mut frontdesk = Frontdesk::start(at(&folder));
    let text = "# Parcels\n\nLost parcels wait in the lighthouse behind the harbour.\n";
    let file = shop::upload(&frontdesk, "parcels.md", text.as_bytes()).await;
    let lying = until(&folder, 1).await;
    assert_eq!(std::fs::read(&lying[0]).expect("readable"), text.as_bytes());
    frontdesk.restart();
    let content = frontdesk.request("GET", &format!("/v1/files/{file}/content")).send().await.expect("an answer");
    assert_eq!(content.text().await.expect("text"), text);
    let (_, store) = frontdesk.post("/v1/vector_stores", &json!({ "name": "parcels", "file_ids": [file] })).await;
    let path = format!("/v1/vector_stores/{}", store["id"].as_str().expect("an id"));
    let (_, found) = frontdesk.post(&format!("{path}/search"), &json!({ "query": "lost parcels" })).await;
    assert!(found["data"][0]["content"].to_string().contains("lighthouse"), "{found}");
    let (_, providers) = frontdesk.get("/v1/providers/disk").await;
    assert_eq!((&providers["api"], &providers["health"]["status"]), (&json!("files"), &json!("OK")), "{providers}");
    let (status, gone) = answer("delete", frontdesk.request("DELETE", &format!("/v1/files/{file}"))).await;
    assert_eq!((status, &gone["deleted"]), (200, &json!(true)));
    until(&folder, 0).await;
}

/// The form of an upload up to where its last part would come.
fn unfinished_form(frontdesk: &Frontdesk, content: &str) -> TcpStream {
    let address = frontdesk.url().trim_start_matches("http://").to_owned();
    let mut socket = TcpStream::connect(address).expect("a connection");
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: frontdesk\r\nauthorization: Bearer {ADMIN_KEY}\r\n\
         content-type: multipart/form-data; boundary=xx\r\ncontent-length: 100000\r\n\r\n"
    );
    let part = "--xx\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n";
    socket.write_all(format!("{head}{part}{content}").as_bytes()).expect("sent");
    socket
}

/// On SQLite, where a dead process's hold is known to be void; on Postgres its lease must pass first, which the memory
/// room's own suite shows without waiting.
#[tokio::test]
async fn what_a_killed_server_had_written_and_not_named_is_cleared_by_the_next() {
    let home = tempfile::tempdir().expect("a folder");
    let folder = home.path().join("files");
    let mut frontdesk = Frontdesk::start(at(&folder).lane(Lane::Sqlite));
    // One is whole and lacks its row, since the form goes on; of the other the end is missing.
    let whole =
        unfinished_form(&frontdesk, "whole\r\n--xx\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n");
    let half = unfinished_form(&frontdesk, "half");
    let lying = until(&folder, 2).await;
    let finished = |path: &&PathBuf| path.extension().is_none();
    let end = tokio::time::Instant::now() + PATIENCE;
    while files(&folder).iter().filter(finished).count() != 1 {
        assert!(tokio::time::Instant::now() < end, "none is whole: {lying:?}");
        tokio::task::yield_now().await;
    }
    let kept = shop::upload(&frontdesk, "kept.txt", b"named").await;
    frontdesk.restart();
    drop((whole, half));
    let left = until(&folder, 1).await;
    assert_eq!(std::fs::read(&left[0]).expect("readable"), b"named");
    let (_, list) = frontdesk.get("/v1/files").await;
    assert_eq!((&list["data"][0]["id"], list["data"].as_array().map(Vec::len)), (&json!(kept), Some(1)));
}
