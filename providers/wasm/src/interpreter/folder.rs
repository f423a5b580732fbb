//! What an instance is given into its working folder, and under which names.
//!
//! An instance goes when a conversation rests, and with it what its code wrote: one that starts anew is given that again.
//! An instance that goes on is given what another one of the same container wrote since. Invariants: of one name the newest
//! file has it; what clients gave is there in any case, and what code wrote where it can be; an instance is given nothing
//! twice, nor what it wrote, so changes that code makes stay; none goes on with a file of its container that was deleted.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{
    Error, Kind, Result,
    code::{self, File},
    tools::ToolHost,
};
use serde_json::{Map, Value};
use tracing::Instrument as _;

use super::{CodeFile, Files, Given, Lacking};

/// The most bytes of the files that clients give to a conversation's code.
const GIVEN: usize = 8 << 20;

/// The files of a conversation's code.
pub(super) struct Folder<'a> {
    host: Arc<dyn ToolHost>,
    run: &'a str,
    bounds: code::Bounds,
    /// Bytes of the files of code's own that an instance is given at once.
    own: usize,
    told: Mutex<Told>,
}

/// What the run's result tells of files.
#[derive(Default)]
struct Told {
    written: Vec<(String, usize)>,
    stored: Option<code::Stored>,
    /// What was not given, and why.
    left_out: Vec<(File, String)>,
}

impl<'a> Folder<'a> {
    /// `memory`: what an interpreter has, in bytes.
    pub(super) fn new(host: Arc<dyn ToolHost>, run: &'a str, bounds: code::Bounds, memory: usize) -> Self {
        Self { host, run, bounds, own: bounds.run.min(memory / 8), told: Mutex::default() }
    }

    pub(super) fn tell(self, result: &mut Map<String, Value>) {
        let Told { written, stored, left_out } = self.told.into_inner().unwrap_or_else(PoisonError::into_inner);
        code::tell(result, &written, stored.as_ref());
        code::tell_left_out(result, &left_out);
    }

    /// Reads what is to be given; `why` what is left out is.
    async fn read(&self, Plan { give, left_out }: Plan<'_>, why: &str) -> Result<Lacking> {
        let (mut lacking, mut told) = (Lacking::default(), vec![]);
        for (file, name) in give {
            match self.host.file(&file.id).await {
                Ok((_, content)) => {
                    lacking.own |= file.by_code;
                    lacking.files.push((file.id.clone(), CodeFile { name, content: content.to_vec() }));
                }
                // Deleted since it was listed.
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) if file.by_code => {
                    tracing::warn!(file = file.id, error = %error, cause = ?error.source, "a file that code wrote could not be read");
                    told.push((file.clone(), "it could not be read now".to_owned()));
                }
                Err(error) => return Err(error),
            }
        }
        for file in left_out {
            lacking.without.push(Given { id: file.id.clone(), name: file.name.clone() });
            told.push((file.clone(), why.to_owned()));
        }
        self.told.lock().unwrap_or_else(PoisonError::into_inner).left_out = told;
        Ok(lacking)
    }

    fn no_room(&self) -> String {
        format!("of what code wrote before, {} bytes are in the working folder again, the newest files", self.own)
    }
}

#[async_trait]
impl Files for Folder<'_> {
    fn run(&self) -> &str {
        self.run
    }

    async fn all(&self, own: bool) -> Result<Lacking> {
        let all = self.host.files(self.run).await?;
        let (own, why) = match own {
            true => (self.own, self.no_room()),
            false => (0, "the interpreter met a limit when it was given what code wrote before".to_owned()),
        };
        self.read(plan(&all, None, own)?, &why).await
    }

    async fn lacking(&self, given: &[Given]) -> Result<Option<Lacking>> {
        let all = self.host.files(self.run).await?;
        let there: HashSet<&str> = all.iter().map(|file| file.id.as_str()).collect();
        // Of a container all are listed; an upload may be named by an earlier response alone.
        if given.iter().any(|had| had.id.starts_with("cfile_") && !there.contains(had.id.as_str())) {
            return Ok(None);
        }
        self.read(plan(&all, Some(given), self.own)?, &self.no_room()).await.map(Some)
    }

    async fn keep(&self, written: &mut Vec<CodeFile>) -> Result<Vec<Given>> {
        let written = std::mem::take(written);
        let names: Vec<(String, usize)> = written.iter().map(|file| (file.name.clone(), file.content.len())).collect();
        let files = written.into_iter();
        let files = files.map(|file| code::Written { name: file.name, content: Bytes::from(file.content) }).collect();
        // Of a run that wrote nothing too: what an earlier attempt of it left goes.
        let (host, run, bounds) = (Arc::clone(&self.host), self.run.to_owned(), self.bounds);
        // Not the caller's to cut off: its time is for the code, and that has run.
        let kept = tokio::spawn(async move { host.keep_written(&run, files, &bounds).await }.in_current_span());
        let stored = kept.await.map_err(|e| Error::internal("keeping what code wrote broke off", e))??;
        let ids = stored.iter().flat_map(|stored| &stored.files).zip(&names);
        let kept = ids.filter_map(|(id, (name, _))| Some(Given { id: id.clone().ok()?, name: name.clone() }));
        let kept = kept.collect();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        (told.written, told.stored) = (names, stored);
        Ok(kept)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Plan<'a> {
    /// With the names they are given.
    give: Vec<(&'a File, String)>,
    left_out: Vec<&'a File>,
}

/// Of `all`, the oldest first, what an instance that has had `given` lacks; None: it starts anew.
fn plan<'a>(all: &'a [File], given: Option<&[Given]>, mut own: usize) -> Result<Plan<'a>> {
    if all.iter().filter(|file| !file.by_code).fold(0, |sum: usize, file| sum.saturating_add(file.bytes)) > GIVEN {
        let message = format!("the files given to the code interpreter have more than {GIVEN} bytes together");
        return Err(Error::new(Kind::TooLarge, message));
    }
    let mut plan = Plan { give: vec![], left_out: vec![] };
    // Names, and whether it is code's own that has it.
    let mut taken = HashMap::<String, bool>::new();
    for file in all.iter().rev() {
        let plain = plain(&file.name);
        let holder = taken.get(&plain).copied();
        if holder.is_none() {
            taken.insert(plain.clone(), file.by_code);
        }
        if !file.by_code {
            // It stays where it was put, unless another client's takes its place.
            let stays = |had: &Given| had.id == file.id && (had.name != plain || holder != Some(false));
            if given.is_some_and(|given| given.iter().any(stays)) {
                continue;
            }
            let has_none = holder.is_some() || plain.is_empty() || plain.starts_with("..");
            plan.give.push((file, if has_none { format!("{}-{plain}", file.id) } else { plain }));
        } else if holder.is_none() && !given.is_some_and(|given| given.iter().any(|had| had.id == file.id)) {
            match own.checked_sub(file.bytes) {
                Some(left) => {
                    own = left;
                    plan.give.push((file, plain));
                }
                None => plan.left_out.push(file),
            }
        }
    }
    Ok(plan)
}

/// A name without folders.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c == '/' || c == '\\' || c.is_control() { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use tokio::sync::Semaphore;

    use super::*;

    /// Keeps once it is let.
    struct Slow {
        gate: Semaphore,
        kept: Semaphore,
    }

    #[async_trait]
    impl ToolHost for Slow {
        async fn kv_get(&self, _: &str) -> Result<Option<Vec<u8>>> {
            Ok(None)
        }
        async fn kv_set(&self, _: &str, _: Vec<u8>) -> Result<()> {
            Ok(())
        }
        async fn keep_written(
            &self,
            _: &str,
            files: Vec<code::Written>,
            _: &code::Bounds,
        ) -> Result<Option<code::Stored>> {
            self.gate.acquire().await.expect("a gate").forget();
            self.kept.add_permits(files.len());
            Ok(None)
        }
    }

    #[tokio::test]
    async fn what_code_wrote_is_kept_though_nobody_waits_for_it_any_more() {
        let host = Arc::new(Slow { gate: Semaphore::new(0), kept: Semaphore::new(0) });
        let folder = Folder::new(host.clone(), "k1", super::super::files(), 64 << 20);
        let mut written = vec![CodeFile { name: "a".into(), content: vec![1] }];
        let mut keeping = Box::pin(folder.keep(&mut written));
        assert!(poll_fn(|cx| Poll::Ready(keeping.as_mut().poll(cx).is_pending())).await);
        // The caller's time is up.
        drop(keeping);
        host.gate.add_permits(1);
        let kept = tokio::time::timeout(std::time::Duration::from_secs(60), host.kept.acquire()).await;
        kept.expect("it goes on").expect("kept").forget();
    }

    fn file(id: &str, name: &str, by_code: bool) -> File {
        File { id: id.into(), name: name.into(), bytes: 3, by_code }
    }

    /// What is given by these ids, under these names.
    fn names(all: &[File], given: Option<&[Given]>) -> Vec<(String, String)> {
        let plan = plan(all, given, 9).expect("room for a client's");
        plan.give.into_iter().map(|(file, name)| (file.id.clone(), name)).collect()
    }

    fn given(pairs: &[(&str, &str)]) -> Vec<Given> {
        pairs.iter().map(|&(id, name)| Given { id: id.into(), name: name.into() }).collect()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(id, name)| (id.into(), name.into())).collect()
    }

    #[test]
    fn the_newest_of_a_name_has_it_and_what_a_client_gave_stands_under_its_id() {
        let all = [file("u1", "a.csv", false), file("u2", "a.csv", false), file("u3", "x/..", false)];
        assert_eq!(names(&all, None), owned(&[("u3", "x_.."), ("u2", "a.csv"), ("u1", "u1-a.csv")]));
        assert_eq!(names(&[file("u1", "..", false)], None), owned(&[("u1", "u1-..")]));
        // One that came later takes the place in an instance too, and what stood there stands beside it, once.
        let had = given(&[("u1", "a.csv")]);
        assert_eq!(names(&all[..2], Some(&had)), owned(&[("u2", "a.csv"), ("u1", "u1-a.csv")]));
        let had = given(&[("u1", "a.csv"), ("u2", "a.csv"), ("u1", "u1-a.csv")]);
        assert_eq!(names(&all[..2], Some(&had)), []);
        // The newer one was deleted: what lies there is not touched.
        assert_eq!(names(&all[..1], Some(&had)), []);
    }

    #[test]
    fn what_code_wrote_comes_once_to_every_instance_that_did_not_write_it() {
        let all = [
            file("u1", "a.csv", false),
            file("c1", "b.csv", true),
            file("c2", "a.csv", true),
            file("c3", "b.csv", true),
        ];
        let anew = owned(&[("c3", "b.csv"), ("c2", "a.csv"), ("u1", "u1-a.csv")]);
        assert_eq!(names(&all, None), anew);
        // Its own as it is, whether it was given the rest or wrote it.
        let had = [("u1", "a.csv"), ("c3", "b.csv"), ("c2", "a.csv")];
        assert_eq!(names(&all, Some(&given(&had))), []);
        // Of what another instance wrote since, the newest.
        assert_eq!(names(&all, Some(&given(&[("u1", "a.csv"), ("c1", "b.csv"), ("c2", "a.csv")]))), anew[..1]);
        // A client's that is newer than what code wrote.
        let more = [&all[..], &[file("u2", "b.csv", false)]].concat();
        assert_eq!(names(&more, Some(&given(&had[..1]))), owned(&[("u2", "b.csv"), ("c2", "a.csv")]));
        assert_eq!(names(&more, None)[0], ("u2".to_owned(), "b.csv".to_owned()));
    }

    #[test]
    fn beyond_its_room_the_older_ones_of_code_are_left_out_and_a_clients_refuse_the_run() {
        let all = ["c1", "c2", "c3", "c4"].map(|id| file(id, id, true));
        let Plan { give, left_out } = plan(&all, None, 9).expect("no client's");
        assert_eq!(give.iter().map(|(file, _)| &*file.id).collect::<Vec<_>>(), ["c4", "c3", "c2"]);
        assert_eq!(left_out, [&all[0]]);
        let most = File { bytes: GIVEN, ..file("u1", "a", false) };
        assert_eq!(plan(std::slice::from_ref(&most), None, 0).expect("as much as may be").give.len(), 1);
        let refused = plan(&[most, file("u2", "b", false)], None, 0).expect_err("too much");
        assert_eq!(refused.kind, Kind::TooLarge);
    }
}
