//! A shop's folder: what it is called, what it sells by, what its tools know.
//!
//! The sample shop is in this program; `--sample DIR` names another folder of the same shape:
//!
//! ```text
//! shop.yaml      name, greeting, instructions, tools, questions; every key has a default
//! orders.json    {"<number>": {…}, …}: what the order tool knows
//! pages/         *.md, *.html, *.txt: what the agent may quote
//! rules.yaml     the `config` of a `rules` shield
//! ```
//!
//! Invariant: a shop is read whole or not at all; what is wrong is said with the file and the key.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use frontdesk_api::{Error, Result};
use frontdesk_memory::Upload;
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::config;

static SAMPLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/demo/shop");
static SHOP_TOOLS: &[u8] = include_bytes!("../../../demo/tools/shop-tools.wasm");

/// Largest file of a shop that is read.
const LARGEST: u64 = 32 << 20;

/// A shop as the demo moves it in.
#[derive(Debug, Clone, PartialEq)]
pub struct Shop {
    pub name: String,
    /// Language of its pages, a two-letter code.
    pub language: String,
    pub greeting: String,
    pub instructions: String,
    /// What the customer reads when a person takes over.
    pub hand_off: String,
    /// Model id or alias.
    pub model: String,
    pub tools: Vec<ShopTool>,
    pub pages: Vec<Upload>,
    /// The `config` of a `rules` shield; an empty object where the shop has none.
    pub rules: Value,
    /// What to ask, and what each question must lead to.
    pub questions: Vec<Question>,
}

/// A tool component with what it knows.
#[derive(Debug, Clone, PartialEq)]
pub struct ShopTool {
    pub filename: String,
    /// The component.
    pub bytes: Vec<u8>,
    pub grants: Vec<String>,
    pub data: Vec<DataSet>,
}

/// Entries of a tool's key-value data, all under one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSet {
    /// `order/`
    pub prefix: String,
    /// Whole key (prefix included) and compact JSON.
    pub entries: Vec<(String, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub ask: String,
    pub expect: Expect,
}

/// What a question must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// A tool call.
    Tool,
    /// An answer with a source.
    Page,
    /// A person, without a source.
    HandOff,
    /// A shield's no.
    Blocked,
}

/// `shop.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sheet {
    name: Option<String>,
    language: String,
    greeting: String,
    instructions: String,
    hand_off: String,
    model: String,
    tools: Vec<ToolEntry>,
    pages: String,
    rules: String,
    questions: Vec<Question>,
}

impl Default for Sheet {
    fn default() -> Self {
        let orders = DataEntry { file: "orders.json".into(), prefix: "order/".into() };
        Self {
            name: None,
            language: "en".into(),
            greeting: "Hello! How can I help you?".into(),
            instructions: "You are the assistant of a small shop. Use the tools. Answer from the sources.".into(),
            hand_off: "I am passing this to a colleague.".into(),
            model: "default".into(),
            tools: vec![ToolEntry {
                builtin: Some("shop-tools".into()),
                component: None,
                grants: vec!["kv".into()],
                data: vec![orders],
            }],
            pages: "pages".into(),
            rules: "rules.yaml".into(),
            questions: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolEntry {
    /// A component of this program (`shop-tools`) …
    #[serde(default)]
    builtin: Option<String>,
    /// … or a file, relative to the folder.
    #[serde(default)]
    component: Option<String>,
    #[serde(default)]
    grants: Vec<String>,
    #[serde(default)]
    data: Vec<DataEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DataEntry {
    file: String,
    prefix: String,
}

impl Shop {
    /// The shop in `folder`, or the sample shop in this program.
    ///
    /// # Errors
    /// `Invalid`; the message begins with the file's name and `param` names the key.
    pub fn load(folder: Option<&Path>) -> Result<Self> {
        match folder {
            Some(folder) => Source::folder(folder)?.shop(),
            None => Source::Sample.shop(),
        }
    }
}

/// Where a shop's files come from.
enum Source {
    Sample,
    Folder(PathBuf),
}

impl Source {
    fn folder(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::invalid("--sample", format!("{} is not a folder", folder.display())));
        }
        if !["shop.yaml", "orders.json", "pages"].iter().any(|name| folder.join(name).exists()) {
            let message = format!(
                "{} is no shop: it has neither shop.yaml nor orders.json nor a folder 'pages'",
                folder.display()
            );
            return Err(Error::invalid("--sample", message));
        }
        Ok(Self::Folder(folder.to_path_buf()))
    }

    fn shop(&self) -> Result<Shop> {
        let sheet: Sheet = match self.find("shop.yaml")? {
            Some(bytes) => typed("shop.yaml", yaml("shop.yaml", &bytes)?)?,
            None => Sheet::default(),
        };
        let tools = sheet.tools.iter().enumerate().map(|(i, t)| self.tool(i, t)).collect::<Result<Vec<_>>>()?;
        let rules = match self.find(&sheet.rules)? {
            Some(bytes) => yaml(&sheet.rules, &bytes)?,
            None => Value::Object(Map::new()),
        };
        let mut shop = Shop {
            name: sheet.name.unwrap_or_else(|| self.name()),
            language: sheet.language,
            greeting: sheet.greeting,
            instructions: sheet.instructions,
            hand_off: sheet.hand_off,
            model: sheet.model,
            tools,
            pages: self.pages(&sheet.pages)?,
            rules,
            questions: sheet.questions,
        };
        if shop.questions.is_empty() {
            shop.questions = usual_questions(&shop);
        }
        Ok(shop)
    }

    fn name(&self) -> String {
        match self {
            Self::Sample => "sample shop".into(),
            Self::Folder(folder) => {
                folder.file_name().map_or_else(|| "shop".into(), |n| n.to_string_lossy().into_owned())
            }
        }
    }

    fn tool(&self, i: usize, entry: &ToolEntry) -> Result<ShopTool> {
        let key = format!("tools[{i}]");
        let (filename, bytes) = match (&entry.builtin, &entry.component) {
            (Some(name), None) if name == "shop-tools" => ("shop-tools.wasm".to_owned(), SHOP_TOOLS.to_vec()),
            (Some(name), None) => {
                let message =
                    format!("shop.yaml: {key}.builtin: this program has no tool '{name}'; it has: shop-tools");
                return Err(Error::invalid(format!("{key}.builtin"), message));
            }
            (None, Some(path)) => (base_name(path), self.load(path, &format!("{key}.component"))?),
            _ => {
                return Err(Error::invalid(
                    key.clone(),
                    format!("shop.yaml: {key}: needs either 'builtin' or 'component'"),
                ));
            }
        };
        let data = entry
            .data
            .iter()
            .enumerate()
            .map(|(j, d)| self.data(&format!("{key}.data[{j}]"), d))
            .collect::<Result<_>>()?;
        Ok(ShopTool { filename, bytes, grants: entry.grants.clone(), data })
    }

    fn data(&self, key: &str, entry: &DataEntry) -> Result<DataSet> {
        let bytes = self.load(&entry.file, &format!("{key}.file"))?;
        let read: BTreeMap<String, Value> = serde_json::from_slice(&bytes).map_err(|e| {
            Error::invalid(
                format!("{key}.file"),
                format!("{}: needs to be a JSON object of entries by number: {e}", entry.file),
            )
        })?;
        for (number, value) in &read {
            if !value.is_object() {
                return Err(Error::invalid(
                    number.clone(),
                    format!("{}: {number}: needs to be a JSON object", entry.file),
                ));
            }
        }
        let entries = read
            .into_iter()
            .map(|(number, value)| (format!("{}{number}", entry.prefix), value.to_string().into_bytes()))
            .collect();
        Ok(DataSet { prefix: entry.prefix.clone(), entries })
    }

    /// The files of the folder that can be pages, in the order of their names.
    fn pages(&self, folder: &str) -> Result<Vec<Upload>> {
        let mut pages = Vec::new();
        for path in self.list(folder)? {
            let filename = base_name(&path);
            if filename.starts_with('.') {
                continue;
            }
            pages.push(Upload { filename, media_type: None, url: None, content: self.load(&path, "pages")? });
        }
        pages.sort_by(|a, b| a.filename.cmp(&b.filename));
        Ok(pages)
    }

    fn load(&self, path: &str, key: &str) -> Result<Vec<u8>> {
        self.find(path)?
            .ok_or_else(|| Error::invalid(key, format!("{}: there is no such file ({key})", self.place(path))))
    }

    /// A file's bytes; None where there is no such file.
    fn find(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Self::Folder(folder) = self else {
            return Ok(SAMPLE.get_file(path).map(|f| f.contents().to_vec()));
        };
        let full = folder.join(path);
        let unreadable = |e: std::io::Error| Error::invalid(path, format!("{}: cannot be read: {e}", self.place(path)));
        let size = match std::fs::metadata(&full) {
            Ok(found) => found.len(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(unreadable(e)),
        };
        if size > LARGEST {
            return Err(Error::invalid(
                path,
                format!("{}: has {size} bytes, the limit is {LARGEST}", self.place(path)),
            ));
        }
        std::fs::read(&full).map(Some).map_err(unreadable)
    }

    /// The files right in a folder; none where there is no such folder.
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let Self::Folder(root) = self else {
            let files = SAMPLE.get_dir(folder).into_iter().flat_map(Dir::files);
            return Ok(files.map(|f| f.path().to_string_lossy().into_owned()).collect());
        };
        let entries = match std::fs::read_dir(root.join(folder)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::invalid("pages", format!("{}: cannot be read: {e}", self.place(folder)))),
        };
        let files = entries.filter_map(|e| e.ok()).filter(|e| e.path().is_file());
        Ok(files.map(|e| format!("{folder}/{}", e.file_name().to_string_lossy())).collect())
    }

    fn place(&self, path: &str) -> String {
        match self {
            Self::Sample => path.to_owned(),
            Self::Folder(folder) => folder.join(path).display().to_string(),
        }
    }
}

/// Questions for a shop that brings none: its first order, its first page, something nobody sells, its
/// first forbidden phrase.
fn usual_questions(shop: &Shop) -> Vec<Question> {
    let mut out = Vec::new();
    let mut add = |ask: String, expect| out.push(Question { ask, expect });
    let order = shop
        .tools
        .iter()
        .flat_map(|t| &t.data)
        .find_map(|d| d.entries.first().map(|(key, _)| key[d.prefix.len()..].to_owned()));
    if let Some(number) = order {
        add(format!("Where is my order {number}?"), Expect::Tool);
    }
    if let Some(page) = shop.pages.first()
        && let Ok(document) = frontdesk_memory::document::read(&page.filename, None, &page.content)
    {
        add(format!("Tell me about the {}.", document.title.to_lowercase()), Expect::Page);
    }
    add("Do you sell submarines?".into(), Expect::HandOff);
    let phrase = shop.rules.pointer("/topics/0/phrases/0").and_then(Value::as_str);
    if let Some(phrase) = phrase {
        add(format!("Tell me this: {}", phrase.replace('*', "")), Expect::Blocked);
    }
    out
}

fn base_name(path: &str) -> String {
    match Path::new(path).components().next_back() {
        Some(Component::Normal(name)) => name.to_string_lossy().into_owned(),
        _ => path.to_owned(),
    }
}

fn yaml(file: &str, bytes: &[u8]) -> Result<Value> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::invalid(file, format!("{file}: is not UTF-8 text")))?;
    config::yaml(text).map_err(|e| Error::invalid(file, format!("{file}: {e}")))
}

fn typed<T: DeserializeOwned>(file: &str, value: Value) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        let path = e.path().to_string();
        let message = format!("{file}: {path}: {}", config::plain(&e.inner().to_string()));
        Error::invalid(path, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
    }

    fn refused(files: &[(&str, &str)]) -> Error {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), files);
        Shop::load(Some(folder.path())).expect_err("no shop")
    }

    #[test]
    fn the_sample_shop_is_whole() {
        let shop = Shop::load(None).expect("the sample shop");
        assert_eq!(shop.name, "Lamp Lane");
        assert!(shop.pages.len() >= 6 && shop.pages.iter().any(|p| p.filename == "returns.md"));
        let orders = &shop.tools[0].data[0];
        assert!(orders.entries.len() >= 6 && orders.entries.iter().all(|(key, _)| key.starts_with("order/")));
        let expects: Vec<Expect> = shop.questions.iter().map(|q| q.expect).collect();
        assert_eq!(expects, [Expect::Tool, Expect::Page, Expect::HandOff, Expect::Blocked]);
        for page in &shop.pages {
            let document = frontdesk_memory::document::read(&page.filename, None, &page.content).expect("a page");
            for piece in frontdesk_memory::chunk::cut(&document, frontdesk_memory::Chunking::default()) {
                assert!(
                    !piece.text.contains('"') && piece.text.split_whitespace().count() <= 60,
                    "{}: {}",
                    page.filename,
                    piece.text
                );
            }
        }
    }

    #[test]
    fn a_folder_of_the_sample_s_shape_is_read_like_the_sample() {
        let folder = tempfile::tempdir().expect("a folder");
        SAMPLE.extract(folder.path()).expect("written");
        assert_eq!(Shop::load(Some(folder.path())).expect("a shop"), Shop::load(None).expect("the sample shop"));
    }

    #[test]
    fn a_bare_folder_has_defaults_and_usual_questions() {
        let folder = tempfile::tempdir().expect("a folder");
        write(
            folder.path(),
            &[
                ("orders.json", r#"{"7": {"status": "new"}}"#),
                ("pages/hours.md", "# Opening hours\n\nTen to six.\n"),
                ("pages/.hidden", "x"),
            ],
        );
        let shop = Shop::load(Some(folder.path())).expect("a shop");
        assert_eq!(shop.tools[0].data[0].entries, [("order/7".to_owned(), br#"{"status":"new"}"#.to_vec())]);
        assert_eq!(shop.pages.len(), 1);
        let asks: Vec<&str> = shop.questions.iter().map(|q| q.ask.as_str()).collect();
        assert_eq!(asks, ["Where is my order 7?", "Tell me about the opening hours.", "Do you sell submarines?"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_key() {
        let missing = Shop::load(Some(Path::new("no/such/folder"))).expect_err("no folder");
        assert!(missing.message.contains("no/such/folder"), "{missing}");
        assert!(refused(&[("readme.txt", "x")]).message.contains("shop.yaml"));
        let orders = ("orders.json", "{}");
        for (files, words) in [
            (vec![("shop.yaml", "nmae: X\n"), orders], vec!["shop.yaml", "nmae"]),
            (vec![("shop.yaml", "name: [\n"), orders], vec!["shop.yaml", "YAML"]),
            (
                vec![("shop.yaml", "questions: [{ask: a, expect: joy}]\n"), orders],
                vec!["shop.yaml", "questions[0].expect", "joy"],
            ),
            (vec![("shop.yaml", "tools: [{component: mine.wasm}]\n")], vec!["mine.wasm", "tools[0].component"]),
            (vec![("shop.yaml", "tools: [{builtin: magic}]\n")], vec!["tools[0].builtin", "magic", "shop-tools"]),
            (vec![("shop.yaml", "tools: [{grants: [kv]}]\n")], vec!["tools[0]", "builtin", "component"]),
            (vec![("pages/a.md", "x")], vec!["orders.json", "tools[0].data[0].file"]),
            (vec![("orders.json", "[1]")], vec!["orders.json", "object"]),
            (vec![("orders.json", r#"{"7": 1}"#)], vec!["orders.json", "7", "object"]),
            (vec![("rules.yaml", "topics: ["), orders], vec!["rules.yaml", "YAML"]),
        ] {
            let error = refused(&files);
            for word in words {
                assert!(error.message.contains(word), "{word} missing in: {}", error.message);
            }
        }
    }
}
