//! Files of containers: what runs of code wrote, and what a client put beside it.
//!
//! A run's files are kept before its result names them. Invariants: what is not kept is told by name and why; a run that
//! is repeated under its key leaves one set of files, the last; a file that is written again as it was stays the same file;
//! only the worker that has the turn changes what its runs left.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use bytes::Bytes;
use frontdesk_api::{
    Contents as _, Cx, Error, Kind, Result,
    blobs::{Kept, Opened, Pieces, whole},
    code::{self, Bounds, Stored, Written},
    cx::CancellationToken,
};
use frontdesk_store::containers::{self, ASSISTANT, ContainerFile, USER};
use futures::StreamExt as _;

use crate::{Knowledge, StoredFile, files::check_name};

/// The most files of a container.
const MOST: usize = 1_000;

/// The most bytes that clients put into one: code is given no more.
pub const GIVEN: usize = 8 << 20;

/// Longest that all of what one run wrote may take to be kept.
const KEEPING: Duration = Duration::from_secs(60);

/// What becomes of a file of a run.
enum Fate {
    /// It is there already, under this id.
    Is(String),
    /// It will be, under this id.
    Will(Box<ContainerFile>, Kept),
    /// Why it is not kept.
    Not(String),
}

impl Knowledge {
    /// Keeps what the code of `cx` wrote in its container; None where it runs in none ([`containers::claim`]). `run`: the
    /// key by which the run is repeated: what an earlier attempt under it wrote goes.
    ///
    /// # Errors
    /// As the database's; `Conflict` where another worker has the turn, `NotFound` where that or the container is gone: nothing
    /// is changed then. A content that could not be kept is told beside its file.
    pub async fn keep_written(
        &self,
        cx: &Cx,
        run: &str,
        files: Vec<Written>,
        bounds: &Bounds,
    ) -> Result<Option<Stored>> {
        // The code has run: that its caller's time is over, or that they left, cuts nothing off.
        let own = Cx { deadline: Some(Instant::now() + KEEPING), cancel: CancellationToken::new(), ..cx.clone() };
        let cx = &own;
        if files.is_empty() && !containers::is_of_run(&mut self.store.tenant(cx).read().await?, cx, run).await? {
            return Ok(None);
        }
        let keep = Some(containers::minutes(bounds.keep));
        let mut tx = self.store.tenant(cx).write().await?;
        let claimed = containers::claim(&mut tx, cx, &self.ids.next("cntr"), keep, self.clock.now()).await?;
        let Some(container_id) = claimed else { return Ok(None) };
        let before = containers::files(&mut tx, &container_id).await?;
        tx.commit().await?;
        let mut fates = vec![];
        // What an earlier attempt wrote goes, most likely.
        let mut room = Room::of(bounds, before.iter().filter(|file| file.run.as_deref() != Some(run)));
        for file in files {
            fates.push(self.fate(cx, &container_id, run, &before, &mut room, file).await);
        }
        let mut tx = self.store.tenant(cx).write().await?;
        let mut late = vec![];
        let written = async {
            containers::hold(&mut tx, cx, &container_id).await?;
            let stay: Vec<String> = fates
                .iter()
                .filter_map(|fate| match fate {
                    Fate::Is(id) => Some(id.clone()),
                    _ => None,
                })
                .collect();
            containers::delete_of_run(&mut tx, &container_id, run, &stay).await?;
            // Another run may have written meanwhile, and somebody deleted.
            let left = containers::files(&mut tx, &container_id).await?;
            let mut room = Room::of(bounds, left.iter());
            for fate in &mut fates {
                match fate {
                    Fate::Is(id) if left.iter().all(|file| file.id != *id) => {
                        *fate = Fate::Not("the same file was there, and was deleted meanwhile".into());
                    }
                    Fate::Will(file, kept) => match room.hold(usize::try_from(file.bytes).unwrap_or(usize::MAX)) {
                        Ok(()) => containers::write_file(&mut tx, file, &kept.place).await?,
                        Err(why) => late.push(std::mem::replace(fate, Fate::Not(why))),
                    },
                    _ => {}
                }
            }
            tx.commit().await
        };
        let written = written.await;
        let lost = if written.is_err() { fates.drain(..).chain(late).collect() } else { late };
        for fate in lost {
            if let Fate::Will(_, kept) = fate {
                self.shelf.discard(cx, kept).await;
            }
        }
        written?;
        self.shelf.nudge();
        let files = fates.into_iter().map(|fate| match fate {
            Fate::Is(id) => Ok(id),
            Fate::Will(file, _) => Ok(file.id),
            Fate::Not(why) => Err(why),
        });
        Ok(Some(Stored { container_id, files: files.collect() }))
    }

    async fn fate(
        &self,
        cx: &Cx,
        container_id: &str,
        run: &str,
        before: &[ContainerFile],
        room: &mut Room<'_>,
        file: Written,
    ) -> Fate {
        // The guest says it, and a client may save by it.
        if check_name(&file.name).is_err() || plain(&file.name) != file.name {
            return Fate::Not("its name is none: too long, empty, with a folder or with control characters".into());
        }
        if let Err(why) = room.see() {
            return Fate::Not(why);
        }
        let hash = blake3::hash(&file.content);
        // The newest of the name.
        let same = before.iter().find(|known| known.name == file.name);
        if let Some(same) = same.filter(|known| known.hash == hash.as_bytes()[..]) {
            return room.count().map_or_else(Fate::Not, |()| Fate::Is(same.id.clone()));
        }
        if let Err(why) = room.take(file.content.len()) {
            return Fate::Not(why);
        }
        let kept = match self.shelf.put(cx, whole(file.content)).await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(container = container_id, error = %error, cause = ?error.source, "a file that code wrote could not be kept");
                return Fate::Not("it could not be stored now".into());
            }
        };
        let row = ContainerFile {
            id: self.ids.next("cfile"),
            container_id: container_id.to_owned(),
            name: file.name,
            source: ASSISTANT.to_owned(),
            turn_id: cx.turn.clone(),
            run: Some(run.to_owned()),
            bytes: kept.bytes,
            hash: kept.hash.clone(),
            created_at: self.clock.now(),
        };
        Fate::Will(Box::new(row), kept)
    }

    /// Takes in a content for a container as it comes, no more of it than may be in one.
    ///
    /// # Errors
    /// `TooLarge` where it is more; as [`Knowledge::receive`].
    pub async fn receive_for_container(&self, cx: &Cx, filename: &str, content: Pieces<'_>) -> Result<Kept> {
        let mut left = GIVEN;
        let bounded = content.map(|piece| {
            let piece = piece?;
            left = left.checked_sub(piece.len()).ok_or_else(too_much)?;
            Ok(piece)
        });
        self.receive(cx, filename, bounded.boxed()).await
    }

    /// Makes a content that was received a file of a container; code finds it there under a plain name from then on.
    ///
    /// # Errors
    /// `TooLarge` where clients put more into the container than its code can be given; `NotFound`, `Unavailable`. The content
    /// goes then.
    pub async fn put_into_container(
        &self,
        cx: &Cx,
        container_id: &str,
        filename: &str,
        kept: Kept,
    ) -> Result<ContainerFile> {
        let file = ContainerFile {
            id: self.ids.next("cfile"),
            container_id: container_id.to_owned(),
            name: plain(filename),
            source: USER.to_owned(),
            turn_id: None,
            run: None,
            bytes: kept.bytes,
            hash: kept.hash.clone(),
            created_at: self.clock.now(),
        };
        let put = async {
            let mut tx = self.store.tenant(cx).write().await?;
            containers::hold(&mut tx, cx, container_id).await?;
            let before = containers::files(&mut tx, container_id).await?;
            let given: i64 = before.iter().filter(|file| file.source == USER).map(|file| file.bytes).sum();
            if is_too_much(given.saturating_add(file.bytes)) {
                return Err(too_much());
            }
            if before.len() >= MOST {
                return Err(Error::new(Kind::TooLarge, format!("a container holds {MOST} files")).with_param("file"));
            }
            containers::write_file(&mut tx, &file, &kept.place).await?;
            tx.commit().await
        };
        match put.await {
            Ok(()) => Ok(file),
            Err(error) => {
                self.shelf.discard(cx, kept).await;
                Err(error)
            }
        }
    }

    /// Copies an uploaded file into a container.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such file; as reading it, and as [`Knowledge::put_into_container`].
    pub async fn copy_into_container(&self, cx: &Cx, container_id: &str, file_id: &str) -> Result<ContainerFile> {
        let file = self.load_file(cx, file_id).await?;
        if is_too_much(file.bytes) {
            return Err(too_much());
        }
        let opened = self.open_content(cx, file_id, None).await?;
        let kept = self.shelf.put(cx, opened.pieces).await?;
        self.put_into_container(cx, container_id, &file.filename, kept).await
    }

    /// What lies in the working folder of `cx`'s code, the oldest first: the uploaded files that were named for it, and
    /// those of its container but for what an earlier attempt of `run` left. What was deleted meanwhile is not among them;
    /// who may read it is not asked here.
    ///
    /// # Errors
    /// As any query.
    pub async fn code_files(&self, cx: &Cx, run: &str) -> Result<Vec<code::File>> {
        let Some(workspace) = &cx.workspace else { return Ok(vec![]) };
        let bytes = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut found = vec![];
        for id in &workspace.files {
            match self.load_file(cx, id).await {
                Ok(StoredFile { id, filename: name, bytes: size, created_at, .. }) => {
                    found.push((created_at, code::File { id, name, bytes: bytes(size), by_code: false }));
                }
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(container) = &workspace.container {
            let newest_first = containers::files(&mut self.store.tenant(cx).read().await?, container).await?;
            let others = newest_first.into_iter().rev().filter(|file| file.run.as_deref() != Some(run));
            found.extend(others.map(|file| {
                let by_code = file.source == ASSISTANT;
                (file.created_at, code::File { id: file.id, name: file.name, bytes: bytes(file.bytes), by_code })
            }));
        }
        found.sort_by_key(|(at, _)| *at);
        Ok(found.into_iter().map(|(_, file)| file).collect())
    }

    /// Name and bytes of a container's file. Who may read it is not asked here.
    ///
    /// # Errors
    /// As [`frontdesk_api::Contents::open`].
    pub async fn load_container_file(&self, cx: &Cx, container_id: &str, id: &str) -> Result<(String, Bytes)> {
        let mut tx = self.store.tenant(cx).read().await?;
        let name = containers::load_file(&mut tx, container_id, id).await?.name;
        drop(tx);
        Ok((name, self.open_container_file(cx, id, None).await?.whole().await?))
    }

    /// The bytes of a container's file, or the bytes `range` of it, as they come. Who may read it is not asked here.
    ///
    /// # Errors
    /// As [`frontdesk_api::Contents::open`].
    pub async fn open_container_file(&self, cx: &Cx, id: &str, range: Option<Range<u64>>) -> Result<Opened> {
        let placed = self.store.tenant(cx).find_container_content(id).await?;
        self.shelf.open_at(cx, id, placed, range).await
    }

    /// Deletes the containers of all tenants whose time is over; how many.
    ///
    /// # Errors
    /// As the database's.
    pub async fn expire_containers(&self) -> Result<u64> {
        let gone = self.store.system().delete_expired_containers(self.clock.now()).await?;
        if gone > 0 {
            self.shelf.nudge();
        }
        Ok(gone)
    }
}

fn is_too_much(bytes: i64) -> bool {
    usize::try_from(bytes).is_ok_and(|bytes| bytes > GIVEN)
}

/// The error for a file with which clients put more into a container than [`GIVEN`].
#[must_use]
pub fn too_much() -> Error {
    let message = format!("the files that clients put into a container have at most {GIVEN} bytes together");
    Error::new(Kind::TooLarge, message).with_param("file").with_code("file_too_large")
}

/// A name without folders.
fn plain(filename: &str) -> String {
    let plain: String =
        filename.chars().map(|c| if c == '/' || c == '\\' || c.is_control() { '_' } else { c }).collect();
    if plain.is_empty() || plain == "." || plain.starts_with("..") { format!("_{plain}") } else { plain }
}

/// What of the bounds is left.
struct Room<'a> {
    bounds: &'a Bounds,
    run: usize,
    files: usize,
    seen: usize,
    held: usize,
    many: usize,
}

impl<'a> Room<'a> {
    /// In a container that holds these.
    fn of<'f>(bounds: &'a Bounds, files: impl Iterator<Item = &'f ContainerFile>) -> Self {
        let mut room = Self { bounds, run: 0, files: 0, seen: 0, held: 0, many: 0 };
        for file in files {
            room.held = room.held.saturating_add(usize::try_from(file.bytes).unwrap_or(usize::MAX));
            room.many += 1;
        }
        room
    }

    /// A further file, or why it is not looked at.
    fn see(&mut self) -> std::result::Result<(), String> {
        self.seen += 1;
        if self.seen > MOST { Err(format!("{MOST} files of a run are looked at")) } else { Ok(()) }
    }

    /// One more of those that are told with an id, or why it is not.
    fn count(&mut self) -> std::result::Result<(), String> {
        if self.files >= self.bounds.files {
            return Err(format!("{} files of a run are kept", self.bounds.files));
        }
        self.files += 1;
        Ok(())
    }

    /// Room for a file of so many bytes, or why there is none.
    fn take(&mut self, bytes: usize) -> std::result::Result<(), String> {
        let Bounds { file, run, .. } = *self.bounds;
        if bytes > file {
            return Err(format!("a file may have {file} bytes"));
        }
        if self.run.saturating_add(bytes) > run {
            return Err(format!("the files of a run may have {run} bytes together"));
        }
        self.hold(bytes)?;
        self.count()?;
        self.run += bytes;
        Ok(())
    }

    /// Room in the container for a file of so many bytes, or why there is none.
    fn hold(&mut self, bytes: usize) -> std::result::Result<(), String> {
        let container = self.bounds.container;
        if self.held.saturating_add(bytes) > container {
            return Err(format!("the files of a container may have {container} bytes together"));
        }
        if self.many >= MOST {
            return Err(format!("a container holds {MOST} files"));
        }
        self.held += bytes;
        self.many += 1;
        Ok(())
    }
}
