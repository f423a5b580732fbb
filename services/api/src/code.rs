//! Code that a model writes: the group that runs it, and the files it leaves behind.
//!
//! What a run wrote is kept by whoever has places for files, and told in the run's result by names and ids. Rows keep
//! what a tool said as its text, so what is cited of it is read from there, also by whoever goes on with a turn.
//! Invariant: an id in a result is the platform's own; the code and the model can name files, never ids.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};

/// The group that every tenant has where there is a provider of it, as Llama Stack names it.
pub const GROUP: &str = "builtin::code_interpreter";

/// The tool in it.
pub const TOOL: &str = "code_interpreter";

/// The working folder, as OpenAI's clients and models know it.
pub const FOLDER: &str = "/mnt/data/";

/// How long a container is kept after its last use, unless it is told.
pub const KEEP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The most files that a result says of why they were not kept, or not given; how many more there are is said, too.
const TOLD: usize = 50;

/// A file that a run wrote or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// In the working folder, without folders.
    pub name: String,
    pub content: Bytes,
}

/// A file that lies in the working folder of code, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub id: String,
    pub name: String,
    pub bytes: usize,
    /// Code wrote it; a client gave it otherwise.
    pub by_code: bool,
}

/// How much of what runs write is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of a file.
    pub file: usize,
    /// Bytes of all files of a run.
    pub run: usize,
    /// Files of a run.
    pub files: usize,
    /// Bytes of all files in a container.
    pub container: usize,
    /// How long a container is kept after its last use.
    pub keep: Duration,
}

/// What became of the files of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub container_id: String,
    /// In their order: the id of each, or why it was not kept.
    pub files: Vec<Result<String, String>>,
}

/// A file that a result names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub container_id: String,
    pub file_id: String,
    pub name: String,
}

/// Tells in a run's result, a JSON object, what it wrote and what became of that; `stored` None: it is kept nowhere.
pub fn tell(result: &mut serde_json::Map<String, Value>, written: &[(String, usize)], stored: Option<&Stored>) {
    let (mut kept, mut lost) = (vec![], vec![]);
    for (n, (name, bytes)) in written.iter().enumerate() {
        let mut told = json!({ "name": name, "bytes": bytes });
        match stored.and_then(|stored| stored.files.get(n)) {
            None => kept.push(told),
            Some(Ok(id)) => {
                told["file_id"] = json!(id);
                kept.push(told);
            }
            Some(Err(why)) => {
                told["why"] = json!(why);
                lost.push(told);
            }
        }
    }
    if let Some(stored) = stored.filter(|stored| stored.files.iter().any(Result::is_ok)) {
        result.insert("container_id".into(), json!(stored.container_id));
    }
    for (name, files) in [("files", kept), ("files_not_kept", some_of(lost))] {
        if !files.is_empty() {
            result.insert(name.into(), files.into());
        }
    }
}

/// Tells in a run's result which of the files that code wrote before its interpreter was not given, and why.
pub fn tell_left_out(result: &mut serde_json::Map<String, Value>, files: &[(File, String)]) {
    let told = files.iter().map(|(file, why)| json!({ "name": file.name, "bytes": file.bytes, "why": why }));
    if !files.is_empty() {
        result.insert("files_not_given".into(), some_of(told.collect()).into());
    }
}

fn some_of(mut told: Vec<Value>) -> Vec<Value> {
    let more = told.len().saturating_sub(TOLD);
    told.truncate(TOLD);
    told.extend((more > 0).then(|| json!({ "more": more })));
    told
}

/// The files that a result names with their ids, as [`tell`] wrote them; none where somebody made another text of it.
#[must_use]
pub fn named(said: &str) -> Vec<Named> {
    let Ok(result) = serde_json::from_str::<Value>(said) else { return vec![] };
    let Some(container_id) = result["container_id"].as_str() else { return vec![] };
    let files = result["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    let read = |file: &Value| {
        let (file_id, name) = (file["file_id"].as_str()?.to_owned(), file["name"].as_str()?.to_owned());
        Some(Named { container_id: container_id.to_owned(), file_id, name })
    };
    files.iter().filter_map(read).collect()
}

/// Where a text speaks of a file, in bytes: at every `sandbox:/mnt/data/NAME`, as OpenAI's models write links; without
/// one at the first place where the name stands by itself.
#[must_use]
pub fn mentions(text: &str, name: &str) -> Vec<Range<usize>> {
    let ends = |at: usize| {
        let mut rest = text[at..].chars();
        match rest.next() {
            // The end of a sentence, or another file's extension.
            Some('.') => !rest.next().is_some_and(char::is_alphanumeric),
            Some(c) => !(c.is_alphanumeric() || c == '_' || c == '-'),
            None => true,
        }
    };
    let find = |wanted: &str| -> Vec<Range<usize>> {
        let found = text.match_indices(wanted).map(|(at, _)| at..at + wanted.len());
        found.filter(|range| ends(range.end)).collect()
    };
    let escaped = name.replace(' ', "%20");
    let mut links = find(&format!("sandbox:{FOLDER}{name}"));
    if escaped != name {
        links.extend(find(&format!("sandbox:{FOLDER}{escaped}")));
        links.sort_by_key(|range| range.start);
    }
    if !links.is_empty() {
        return links;
    }
    let begins = |at: usize| {
        let before = &text[..at];
        let joins = |c: char| c.is_alphanumeric() || "_-./\\".contains(c);
        before.ends_with(FOLDER) || !before.chars().next_back().is_some_and(joins)
    };
    find(name).into_iter().find(|range| begins(range.start)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_files_is_told_by_name_and_read_back() {
        let written = [("a.csv".to_owned(), 3), ("b.bin".to_owned(), 9)];
        let files = vec![Ok("cfile_1".to_owned()), Err("too large".to_owned())];
        let stored = Stored { container_id: "cntr_1".into(), files };
        let mut result = serde_json::Map::new();
        tell(&mut result, &written, Some(&stored));
        let result = Value::Object(result);
        assert_eq!(
            result,
            json!({ "container_id": "cntr_1", "files": [{ "name": "a.csv", "bytes": 3, "file_id": "cfile_1" }],
                    "files_not_kept": [{ "name": "b.bin", "bytes": 9, "why": "too large" }] })
        );
        let file = Named { container_id: "cntr_1".into(), file_id: "cfile_1".into(), name: "a.csv".into() };
        assert_eq!(named(&result.to_string()), [file]);
        let mut nowhere = serde_json::Map::new();
        tell(&mut nowhere, &written[..1], None);
        let nowhere = Value::Object(nowhere).to_string();
        assert_eq!(nowhere, r#"{"files":[{"name":"a.csv","bytes":3}]}"#);
        for said in [nowhere.as_str(), "withheld", "[]", r#"{"files":[{"name":"a","file_id":"cfile_1"}]}"#] {
            assert_eq!(named(said), [], "{said}");
        }
    }

    #[test]
    fn a_file_is_spoken_of_by_its_link_or_by_its_name_alone() {
        let spoken = |text: &'static str, name: &str| {
            mentions(text, name).into_iter().map(|range| (range.start, &text[range])).collect::<Vec<_>>()
        };
        let link = "sandbox:/mnt/data/a.csv";
        assert_eq!(
            spoken("[a.csv](sandbox:/mnt/data/a.csv), sandbox:/mnt/data/a.csv.", "a.csv"),
            [(8, link), (34, link)]
        );
        assert_eq!(spoken("[t](sandbox:/mnt/data/my%20t.txt)", "my t.txt"), [(4, "sandbox:/mnt/data/my%20t.txt")]);
        assert_eq!(spoken("See a.csv. Again: a.csv", "a.csv"), [(4, "a.csv")]);
        assert_eq!(spoken("at /mnt/data/a.csv", "a.csv"), [(13, "a.csv")]);
        for text in ["data.csv", "a.csv.gz", "x/a.csv", "a.csvs", "sandbox:/mnt/data/a.csv2", "b.csv", "my-a.csv"] {
            assert_eq!(spoken(text, "a.csv"), [], "{text}");
        }
    }
}
