//! What becomes of the vectors of a text's tokens: one vector (sentence-transformers' Pooling and Normalize), or a score
//! (the heads of transformers' `…ForSequenceClassification`).

use candle_core::{D, Module, Result, Tensor};
use candle_nn::{Linear, VarBuilder, linear, ops::sigmoid};

use super::transformer::Padded;
use crate::folder::{Activation, Family, Folder, Pooling, Task};

pub(super) enum Head {
    Embed { pooling: Pooling, normalise: bool },
    Score { dense: Linear, out: Linear, activation: Activation },
}

impl Head {
    /// `all`: the file's weights; `inside`: those of the transformer.
    pub(super) fn new(folder: &Folder, all: &VarBuilder<'_>, inside: &VarBuilder<'_>) -> Result<Self> {
        let hidden = folder.architecture.hidden_size;
        let activation = match folder.task {
            Task::Embed { pooling, normalise } => return Ok(Self::Embed { pooling, normalise }),
            Task::Score { activation } => activation,
        };
        // BERT's first layer of the head counts as part of the model, RoBERTa's as part of the classifier.
        let (dense, out) = match folder.architecture.family {
            Family::Bert => (inside.pp("pooler.dense"), all.pp("classifier")),
            Family::Roberta => (all.pp("classifier.dense"), all.pp("classifier.out_proj")),
        };
        Ok(Self::Score { dense: linear(hidden, hidden, dense)?, out: linear(hidden, 1, out)?, activation })
    }

    /// `[batch][dims]` of the last layer's `[batch][tokens][hidden]`.
    pub(super) fn forward(&self, hidden: &Tensor, batch: &Padded) -> Result<Tensor> {
        let first = || hidden.narrow(1, 0, 1)?.squeeze(1)?.contiguous();
        match self {
            Self::Score { dense, out, activation } => {
                let score = out.forward(&dense.forward(&first()?)?.tanh()?)?;
                match activation {
                    Activation::Sigmoid => sigmoid(&score),
                    Activation::None => Ok(score),
                }
            }
            Self::Embed { pooling, normalise } => {
                let mask = batch.mask.unsqueeze(2)?;
                let pooled = match pooling {
                    Pooling::Cls => first()?,
                    Pooling::Mean => {
                        let sum = hidden.broadcast_mul(&mask)?.sum(1)?;
                        // At least one, for a tokenizer that makes nothing of an empty text.
                        sum.broadcast_div(&mask.sum(1)?.maximum(1.0)?)?
                    }
                    // Less than anything that a model says.
                    Pooling::Max => hidden.broadcast_add(&mask.affine(1e9, -1e9)?)?.max(1)?,
                };
                if !normalise {
                    return Ok(pooled);
                }
                let length = pooled.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
                pooled.broadcast_div(&length.maximum(1e-12)?)
            }
        }
    }
}
