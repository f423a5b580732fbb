//! Models computed by candle, on the CPU, in single precision.
//!
//! `tokens.rs` makes tokens of texts, `transformer.rs` is the encoder of the BERT family, `head.rs` what comes after it.

mod head;
mod tokens;
mod transformer;

use std::{path::Path, sync::Arc};

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use frontdesk_api::{Error, Kind, Result};

use crate::{
    encoder::{Ask, Encoder, Tokens},
    folder::Folder,
};
use head::Head;
use tokens::Reader;
use transformer::{Padded, Transformer};

/// Reads tokenizer and weights.
///
/// # Errors
/// As [`crate::Load`].
pub(crate) fn load(folder: &Folder) -> Result<Arc<dyn Encoder>> {
    let reader = Reader::open(folder)?;
    let file = folder.path.join("model.safetensors");
    // Read and not mapped: a file that is changed under a map is undefined behaviour.
    let weights = std::fs::read(&file).map_err(|e| unusable(&file, e))?;
    let model = Model::new(reader, folder, weights).map_err(|e| unusable(&file, e))?;
    Ok(Arc::new(model))
}

struct Model {
    reader: Reader,
    transformer: Transformer,
    head: Head,
}

impl Model {
    fn new(reader: Reader, folder: &Folder, weights: Vec<u8>) -> candle_core::Result<Self> {
        let all = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        // A model with a head has its transformer under a name of its own.
        let inside = ["bert", "roberta"]
            .into_iter()
            .find(|name| all.contains_tensor(&format!("{name}.embeddings.word_embeddings.weight")));
        let below = inside.map_or_else(|| all.clone(), |name| all.pp(name));
        let transformer = Transformer::new(&folder.architecture, &below)?;
        let head = Head::new(folder, &all, &below)?;
        Ok(Self { reader, transformer, head })
    }
}

impl Encoder for Model {
    fn tokens(&self, ask: Ask<'_>) -> Result<Tokens> {
        self.reader.tokens(ask)
    }

    fn run(&self, batch: &[&Tokens]) -> Result<Vec<Vec<f32>>> {
        let made = || {
            let padded = Padded::new(batch, self.transformer.pad_id())?;
            let hidden = self.transformer.forward(&padded)?;
            self.head.forward(&hidden, &padded)?.to_vec2::<f32>()
        };
        made().map_err(|e| Error::new(Kind::Internal, "computing embeddings").with_source(e))
    }
}

/// A file that cannot be used as a part of a model.
fn unusable(file: &Path, e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let e = e.into();
    Error::unavailable(format!("{}: {e}", file.display())).with_code("model_not_loaded").with_source(e)
}
