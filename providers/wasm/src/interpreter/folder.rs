//! What an instance is given into its working folder, and under which names.
//!
//! An instance goes when a conversation rests, and with it what its code wrote: one that starts anew is given that again.
//! Invariants: of one name the newest file has it; what clients gave is there in any case; an instance is given nothing
//! twice, so changes that code makes stay.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use frontdesk_api::{Error, Kind, Result, code::File, tools::ToolHost};

use super::{CodeFile, Files, Given};

/// The most bytes of the files that clients give to a conversation's code.
const GIVEN: usize = 8 << 20;

/// The files of a conversation's code.
pub(super) struct Folder<'a> {
    host: &'a dyn ToolHost,
    /// The key by which the run is repeated.
    run: &'a str,
    /// Bytes of the files of code's own that an instance which starts anew is given.
    own: usize,
    left_out: Mutex<Vec<File>>,
}

impl<'a> Folder<'a> {
    pub(super) fn new(host: &'a dyn ToolHost, run: &'a str, own: usize) -> Self {
        Self { host, run, own, left_out: Mutex::default() }
    }

    /// What there was no room for.
    pub(super) fn left_out(self) -> Vec<File> {
        self.left_out.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Files for Folder<'_> {
    async fn lacking(&self, given: Option<&[Given]>) -> Result<Vec<(String, CodeFile)>> {
        let all = self.host.files(self.run).await?;
        let Plan { give, left_out } = plan(&all, given, self.own)?;
        *self.left_out.lock().unwrap_or_else(PoisonError::into_inner) = left_out.into_iter().cloned().collect();
        let mut files = vec![];
        for (file, name) in give {
            match self.host.file(&file.id).await {
                Ok((_, content)) => files.push((file.id.clone(), CodeFile { name, content: content.to_vec() })),
                // Deleted since it was listed.
                Err(error) if error.kind == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Plan<'a> {
    /// With the names they are given.
    give: Vec<(&'a File, String)>,
    left_out: Vec<&'a File>,
}

/// Of `all`, the oldest first, what an instance that has been `given` some lacks; None: it starts anew.
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
        } else if holder.is_none() && given.is_none() {
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
    use super::*;

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
    fn what_code_wrote_comes_to_an_instance_that_starts_anew_and_to_no_other() {
        let all = [
            file("u1", "a.csv", false),
            file("c1", "b.csv", true),
            file("c2", "a.csv", true),
            file("c3", "b.csv", true),
        ];
        let anew = owned(&[("c3", "b.csv"), ("c2", "a.csv"), ("u1", "u1-a.csv")]);
        assert_eq!(names(&all, None), anew);
        // Its own as it is, whether it was given the rest or wrote over it.
        for had in [&[("u1", "a.csv")][..], &[("c3", "b.csv"), ("c2", "a.csv"), ("u1", "u1-a.csv")]] {
            assert_eq!(names(&all, Some(&given(had))), []);
        }
        // A client's that is newer than what code wrote.
        let more = [&all[..], &[file("u2", "b.csv", false)]].concat();
        assert_eq!(names(&more, Some(&given(&[("u1", "a.csv")]))), owned(&[("u2", "b.csv")]));
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
