//! Texts to the tokens that a model reads, by its own `tokenizer.json`.
//!
//! Invariant: no more tokens than the model takes, whatever the file says about cutting and padding.

use frontdesk_api::{Error, Kind, Result, embed::Input};
use tokenizers::{Encoding, Token, Tokenizer, TruncationParams};

use super::unusable;
use crate::{
    encoder::{Ask, Tokens},
    folder::Folder,
};

pub(super) struct Reader {
    tokenizer: Tokenizer,
    /// Tokens that the model has.
    vocabulary: usize,
    lower_case: bool,
    prompt: String,
}

impl Reader {
    pub(super) fn open(folder: &Folder) -> Result<Self> {
        let file = folder.path.join("tokenizer.json");
        let mut tokenizer = Tokenizer::from_file(&file).map_err(|e| unusable(&file, e))?;
        // Cut from the right, of a pair the longer text first, as sentence-transformers does it.
        let cut = TruncationParams { max_length: folder.max_tokens, ..TruncationParams::default() };
        tokenizer.with_padding(None).with_truncation(Some(cut)).map_err(|e| unusable(&file, e))?;
        let (lower_case, prompt) = (folder.lower_case, folder.prompt.clone());
        Ok(Self { tokenizer, vocabulary: folder.architecture.vocabulary, lower_case, prompt })
    }

    pub(super) fn tokens(&self, ask: Ask<'_>) -> Result<Tokens> {
        let read = match ask {
            Ask::One(Input::Text(text)) if self.lower_case || !self.prompt.is_empty() => {
                let text = format!("{}{text}", self.prompt);
                self.tokenizer.encode_fast(if self.lower_case { text.to_lowercase() } else { text }, true)
            }
            Ask::One(Input::Text(text)) => self.tokenizer.encode_fast(text.as_str(), true),
            Ask::One(Input::Tokens(ids)) => self.tokenizer.post_process(self.given(ids)?, None, true),
            Ask::Pair(query, document) => self.tokenizer.encode_fast((query, document), true),
        };
        let read = read.map_err(|e| Error::new(Kind::Internal, "reading a text into tokens").with_source(e))?;
        let cut = !read.get_overflowing().is_empty();
        Ok(Tokens { ids: read.get_ids().to_vec(), types: read.get_type_ids().to_vec(), cut })
    }

    /// Tokens that a client has made itself, without those that begin and end a text.
    fn given(&self, ids: &[u32]) -> Result<Encoding> {
        let known = |id: &u32| usize::try_from(*id).is_ok_and(|id| id < self.vocabulary);
        if let Some(odd) = ids.iter().find(|id| !known(id)) {
            return Err(Error::new(Kind::Invalid, format!("the model has no token {odd}: it has {}", self.vocabulary)));
        }
        Ok(Encoding::from_tokens(ids.iter().map(|id| Token::new(*id, String::new(), (0, 0))).collect(), 0))
    }
}
