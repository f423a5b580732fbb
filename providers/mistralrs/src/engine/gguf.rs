//! The head of a GGUF file, read before the engine loads it.
//!
//! Tells what the file is (architecture, template, positions) and whether all of it is here, so that a cut download or an
//! unknown architecture is a sentence and not a panic. Layout: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use super::folder::{check_template, says};

/// What mistral.rs 0.8.1 can run out of a GGUF file.
const ARCHITECTURES: &[&str] = &["llama", "phi2", "phi3", "starcoder2", "qwen2", "qwen3", "qwen3moe", "mistral3"];

/// No name, key or template is longer; a larger number means a broken file.
const LONGEST_TEXT: u64 = 64 * 1024 * 1024;

/// A GGUF file that is whole.
#[derive(Debug, Clone)]
pub(crate) struct Gguf {
    pub(crate) path: PathBuf,
    /// The chat template as written (Jinja).
    pub(crate) template: String,
    /// Positions the model was made for, where the file says so.
    pub(crate) positions: Option<usize>,
    /// Elements of an attention head, where the file says so.
    pub(crate) head_size: Option<usize>,
}

#[derive(Default)]
struct Head {
    architecture: Option<String>,
    template: Option<String>,
    alignment: Option<u64>,
    positions: Option<u64>,
    key_length: Option<u64>,
    width: Option<u64>,
    heads: Option<u64>,
    has_tokens: bool,
}

impl Head {
    fn head_size(&self) -> Option<usize> {
        let size = self.key_length.or_else(|| self.width?.checked_div(self.heads?));
        size.and_then(|n| usize::try_from(n).ok())
    }
}

impl Gguf {
    /// Reads the head of the file.
    ///
    /// # Errors
    /// One sentence naming the file and what is wrong with it.
    pub(crate) fn open(path: &Path, template_file: Option<&Path>) -> Result<Self, String> {
        let file = File::open(path).map_err(|cause| says(path, &cause))?;
        let length = file.metadata().map_err(|cause| says(path, &cause))?.len();
        let mut reader = Reader { inner: BufReader::new(file) };
        let (head, promised) =
            reader.head().map_err(|what| format!("{} is not a readable GGUF file: {what}", path.display()))?;
        if length < promised {
            return Err(format!("{} is incomplete: {length} of at least {promised} bytes", path.display()));
        }
        let head_size = head.head_size();
        let architecture = head.architecture.unwrap_or_default();
        if !ARCHITECTURES.contains(&architecture.as_str()) {
            return Err(format!(
                "{} has the architecture '{architecture}'; this engine runs {}",
                path.display(),
                ARCHITECTURES.join(", ")
            ));
        }
        if !head.has_tokens {
            return Err(format!("{} carries no tokenizer", path.display()));
        }
        let template = match template_file {
            Some(file) => std::fs::read_to_string(file).map_err(|cause| says(file, &cause))?,
            None => head
                .template
                .ok_or_else(|| format!("{} carries no chat template; give one with 'chat_template'", path.display()))?,
        };
        check_template(&template)?;
        let positions = head.positions.and_then(|n| usize::try_from(n).ok());
        Ok(Self { path: path.to_owned(), template, positions, head_size })
    }
}

struct Reader<R> {
    inner: BufReader<R>,
}

impl<R: Read + Seek> Reader<R> {
    /// The head, and how many bytes the file must have at least.
    fn head(&mut self) -> Result<(Head, u64), String> {
        if &self.bytes::<4>()? != b"GGUF" {
            return Err("it does not begin with 'GGUF'".into());
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(format!("its version is {version}, known are 2 and 3"));
        }
        let tensors = self.u64()?;
        let entries = self.u64()?;
        let mut head = Head::default();
        for _ in 0..entries {
            let key = self.text()?;
            let kind = self.u32()?;
            match (key.as_str(), kind) {
                ("general.architecture", 8) => head.architecture = Some(self.text()?),
                ("general.alignment", 4) => head.alignment = Some(self.u32()?.into()),
                ("tokenizer.chat_template", 8) => head.template = Some(self.text()?),
                (key, 4) if key.ends_with(".context_length") => head.positions = Some(self.u32()?.into()),
                (key, 4) if key.ends_with(".attention.key_length") => head.key_length = Some(self.u32()?.into()),
                (key, 4) if key.ends_with(".embedding_length") => head.width = Some(self.u32()?.into()),
                (key, 4) if key.ends_with(".attention.head_count") => head.heads = Some(self.u32()?.into()),
                (key, kind) => {
                    head.has_tokens |= key == "tokenizer.ggml.tokens";
                    self.skip(kind)?;
                }
            }
        }
        let mut end = 0;
        for _ in 0..tensors {
            self.text()?;
            let dimensions = self.u32()?;
            let mut elements = 1_u64;
            for _ in 0..dimensions.min(8) {
                elements = elements.saturating_mul(self.u64()?);
            }
            let kind = self.u32()?;
            let offset = self.u64()?;
            end = end.max(offset.saturating_add(size_at_least(kind, elements)));
        }
        let here = self.inner.stream_position().map_err(|cause| cause.to_string())?;
        let alignment = head.alignment.unwrap_or(32).max(1);
        let data = here.div_ceil(alignment).saturating_mul(alignment);
        Ok((head, data.saturating_add(end)))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).map_err(|_| "it ends within its head".to_owned())?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.u64()?;
        if length > LONGEST_TEXT {
            return Err("a text in its head is too long".into());
        }
        let mut bytes = Vec::new();
        self.inner.by_ref().take(length).read_to_end(&mut bytes).map_err(|cause| cause.to_string())?;
        if bytes.len() as u64 != length {
            return Err("it ends within its head".into());
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn skip(&mut self, kind: u32) -> Result<(), String> {
        match kind {
            0 | 1 | 7 => self.leap(1),
            2 | 3 => self.leap(2),
            4..=6 => self.leap(4),
            10..=12 => self.leap(8),
            8 => self.text().map(drop),
            9 => {
                let inner = self.u32()?;
                let count = self.u64()?;
                if inner == 9 {
                    return Err("a list of lists in its head".into());
                }
                (0..count).try_for_each(|_| self.skip(inner))
            }
            other => Err(format!("an entry of the unknown type {other} in its head")),
        }
    }

    fn leap(&mut self, bytes: i64) -> Result<(), String> {
        self.inner.seek_relative(bytes).map_err(|cause| cause.to_string())
    }
}

/// Bytes of a tensor; 0 for types not listed, so that the check is a lower bound.
fn size_at_least(kind: u32, elements: u64) -> u64 {
    let (block, bytes) = match kind {
        0 => (1, 4),
        1 | 30 => (1, 2),
        2 => (32, 18),
        3 => (32, 20),
        6 => (32, 22),
        7 => (32, 24),
        8 => (32, 34),
        10 => (256, 84),
        11 => (256, 110),
        12 => (256, 144),
        13 => (256, 176),
        14 => (256, 210),
        _ => return 0,
    };
    (elements / block).saturating_mul(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend_from_slice(&(text.len() as u64).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }

    fn text_entry(out: &mut Vec<u8>, key: &str, value: &str) {
        text(out, key);
        out.extend_from_slice(&8_u32.to_le_bytes());
        text(out, value);
    }

    fn number_entry(out: &mut Vec<u8>, key: &str, value: u32) {
        text(out, key);
        out.extend_from_slice(&4_u32.to_le_bytes());
        out.extend_from_slice(&value.to_le_bytes());
    }

    /// A file with one tensor of eight f32.
    fn file(architecture: &str) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend_from_slice(&3_u32.to_le_bytes());
        out.extend_from_slice(&1_u64.to_le_bytes());
        out.extend_from_slice(&6_u64.to_le_bytes());
        text_entry(&mut out, "general.architecture", architecture);
        text_entry(&mut out, "tokenizer.chat_template", "{{ messages }}");
        number_entry(&mut out, "llama.context_length", 128);
        number_entry(&mut out, "llama.embedding_length", 256);
        number_entry(&mut out, "llama.attention.head_count", 4);
        text(&mut out, "tokenizer.ggml.tokens");
        out.extend_from_slice(&9_u32.to_le_bytes());
        out.extend_from_slice(&8_u32.to_le_bytes());
        out.extend_from_slice(&2_u64.to_le_bytes());
        text(&mut out, "a");
        text(&mut out, "b");
        text(&mut out, "weight");
        out.extend_from_slice(&1_u32.to_le_bytes());
        out.extend_from_slice(&8_u64.to_le_bytes());
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&0_u64.to_le_bytes());
        let data = out.len().div_ceil(32) * 32;
        out.resize(data + 32, 0);
        out
    }

    fn open(bytes: &[u8]) -> Result<Gguf, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, bytes).unwrap();
        Gguf::open(&path, None)
    }

    #[test]
    fn a_whole_file_tells_template_positions_and_the_size_of_a_head() {
        let gguf = open(&file("llama")).unwrap();
        assert_eq!((gguf.template.as_str(), gguf.positions), ("{{ messages }}", Some(128)));
        assert_eq!(gguf.head_size, Some(64));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let whole = file("llama");
        for length in [0, 3, 10, 60, 150, whole.len() - 33, whole.len() - 1] {
            let message = open(&whole[..length]).unwrap_err();
            assert!(message.contains("m.gguf is "), "{length}: {message}");
        }
        assert!(open(&whole[..whole.len() - 1]).unwrap_err().contains("incomplete"));
    }

    #[test]
    fn an_unknown_architecture_is_named_with_the_known_ones() {
        let message = open(&file("mamba")).unwrap_err();
        assert!(message.contains("'mamba'") && message.contains("qwen3"), "{message}");
    }
}
