//! A folder of contents: whole or not there, by tenant, in part, and what a broken-off write leaves.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use frontdesk_api::{
    Blobs, Cx, Error, Kind,
    blobs::{Pieces, whole},
    clock::SystemClock,
    id::RandomIds,
    provider::{Setting, Status},
};
use frontdesk_blobs::Disk;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

async fn disk(data_dir: &Path, config: Value) -> Disk {
    let disk = unprepared(data_dir, config);
    disk.prepare(false).await.expect("made");
    disk
}

fn unprepared(data_dir: &Path, config: Value) -> Disk {
    let setting = Setting {
        id: "here".into(),
        data_dir: data_dir.into(),
        runtime_dir: data_dir.into(),
        program: "frontdesk".into(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
    };
    Disk::of(&setting, config).expect("a good configuration")
}

async fn read(pieces: Pieces<'_>) -> Vec<u8> {
    pieces.try_collect::<Vec<_>>().await.expect("read").concat()
}

/// Every file under the folder, by its path from there.
fn files(folder: &Path) -> Vec<String> {
    let mut found = vec![];
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false if path.ends_with(".frontdesk") => {}
            false => found.push(path.display().to_string()),
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_content_comes_back_whole_and_in_part_to_its_tenant_alone() {
    let home = tempfile::tempdir().expect("a folder");
    let disk = disk(home.path(), Value::Null).await;
    let (cx, other) = (Cx::internal("a", "r"), Cx::internal("b", "r"));
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| u8::try_from(n % 251).expect("small")).collect();
    let pieces = content.chunks(70_001).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>();
    disk.put(&cx, "blob_1", stream::iter(pieces).boxed()).await.expect("kept");
    disk.put(&cx, "blob_2", whole("")).await.expect("kept");
    assert_eq!(read(disk.get(&cx, "blob_1", None).await.expect("there")).await, content);
    assert_eq!(
        read(disk.get(&cx, "blob_1", Some(300_000..900_001)).await.expect("there")).await,
        content[300_000..900_001]
    );
    assert_eq!(read(disk.get(&cx, "blob_2", None).await.expect("there")).await, b"");
    assert_eq!(disk.get(&other, "blob_1", None).await.err().expect("another's").kind, Kind::NotFound);
    disk.delete(&other, "blob_1").await.expect("nothing there");
    disk.delete(&cx, "blob_1").await.expect("deleted");
    assert_eq!(disk.get(&cx, "blob_1", None).await.err().expect("gone").kind, Kind::NotFound);
    assert_eq!(files(&home.path().join("files")).len(), 1);
}

#[tokio::test]
async fn a_content_that_breaks_off_has_no_name_and_is_cleared() {
    let home = tempfile::tempdir().expect("a folder");
    let disk = disk(home.path(), json!({ "path": home.path().join("elsewhere") })).await;
    let cx = Cx::internal("a", "r");
    let broken = || stream::iter([Ok(Bytes::from("half")), Err(Error::cancelled())]);
    let refused = disk.put(&cx, "blob_1", broken().boxed()).await.expect_err("it broke off");
    assert_eq!(refused.kind, Kind::Cancelled);
    assert_eq!(files(home.path()), Vec::<String>::new());
    // Whoever dies meanwhile leaves the half.
    let stuck = stream::iter([Ok(Bytes::from("half"))]).chain(stream::pending());
    let mut dying = Box::pin(disk.put(&cx, "blob_1", stuck.boxed()));
    while files(home.path()).is_empty() {
        assert!(futures::poll!(&mut dying).is_pending());
        tokio::task::yield_now().await;
    }
    drop(dying);
    assert_eq!(disk.get(&cx, "blob_1", None).await.err().expect("not whole").kind, Kind::NotFound);
    disk.delete(&cx, "blob_1").await.expect("cleared");
    assert_eq!(files(home.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_key_or_a_tenant_is_never_a_way_out_of_the_folder() {
    let home = tempfile::tempdir().expect("a folder");
    let disk = disk(home.path(), Value::Null).await;
    let cx = Cx::internal("../../x", "r");
    disk.put(&cx, "../../y", whole("z")).await.expect("kept");
    let all = files(home.path());
    assert!(all.len() == 1 && Path::new(&all[0]).starts_with(home.path().join("files")), "{all:?}");
    assert_eq!(read(disk.get(&cx, "../../y", None).await.expect("there")).await, b"z");
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named_to_the_operator_and_not_to_clients() {
    let home = tempfile::tempdir().expect("a folder");
    std::fs::write(home.path().join("files"), "a file stands where the folder should").expect("written");
    let disk = unprepared(home.path(), Value::Null);
    let unmade = disk.prepare(false).await.expect_err("no folder");
    assert_eq!(unmade.kind, Kind::Unavailable);
    let health = disk.health().await;
    assert_eq!(health.status, Status::Error);
    let place = home.path().display().to_string();
    assert!(health.message.expect("a message").contains(&place));
    let refused = disk.put(&Cx::internal("a", "r"), "k", whole("x")).await.expect_err("no folder");
    assert_eq!(refused.kind, Kind::Unavailable);
    assert!(refused.message.contains("'here'") && !refused.message.contains(&place), "{refused}");
}

#[tokio::test]
async fn a_folder_that_is_not_mounted_is_out_of_reach_and_its_contents_are_never_gone() {
    let home = tempfile::tempdir().expect("a folder");
    let (folder, aside) = (home.path().join("files"), home.path().join("aside"));
    let disk = disk(home.path(), Value::Null).await;
    let cx = Cx::internal("a", "r");
    disk.put(&cx, "blob_1", whole("x")).await.expect("kept");
    // Not there at all, and the empty folder that a volume is mounted on, as file systems make it.
    for mountpoint in [None, Some(folder.join("lost+found"))] {
        std::fs::rename(&folder, &aside).expect("unmounted");
        if let Some(mountpoint) = &mountpoint {
            std::fs::create_dir_all(mountpoint).expect("made");
        }
        let restarted = unprepared(home.path(), Value::Null);
        assert_eq!(restarted.health().await.status, Status::Unknown, "nobody wants it yet");
        assert_eq!(restarted.prepare(true).await.expect_err("not mounted").kind, Kind::Unavailable);
        for disk in [&disk, &restarted] {
            let answers = [
                disk.get(&cx, "blob_1", None).await.err(),
                disk.delete(&cx, "blob_1").await.err(),
                disk.put(&cx, "blob_2", whole("y")).await.err(),
            ];
            for error in answers {
                let error = error.expect("not mounted");
                assert_eq!((error.kind, error.retry_after.is_some()), (Kind::Unavailable, true), "{error}");
                assert!(error.message.contains("mounted"), "{error}");
            }
            assert_eq!(disk.health().await.status, Status::Error);
        }
        assert_eq!(files(&folder), Vec::<String>::new(), "nothing is made in its place");
        assert_eq!(folder.exists(), mountpoint.is_some());
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::rename(&aside, &folder).expect("mounted");
        assert_eq!(read(disk.get(&cx, "blob_1", None).await.expect("there")).await, b"x");
        assert_eq!(disk.health().await.status, Status::Ok);
    }
}

#[tokio::test]
async fn a_folder_that_an_earlier_version_filled_is_taken_over() {
    let home = tempfile::tempdir().expect("a folder");
    let tenant = home.path().join("files/a");
    std::fs::create_dir_all(&tenant).expect("made");
    std::fs::write(tenant.join("blob_1"), "x").expect("written");
    let disk = unprepared(home.path(), Value::Null);
    disk.prepare(true).await.expect("there");
    assert_eq!(read(disk.get(&Cx::internal("a", "r"), "blob_1", None).await.expect("there")).await, b"x");
    assert!(home.path().join("files/.frontdesk").exists());
}
