//! The encoder of the BERT family: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", with the
//! names that transformers gives its weights.
//!
//! Invariant: what stands behind a text's end changes nothing about it, so a text's vector does not depend on its batch.

use candle_core::{D, Device, Module, Result, Tensor};
use candle_nn::{Embedding, LayerNorm, Linear, VarBuilder, embedding, layer_norm, linear, ops::softmax_last_dim};

use crate::{encoder::Tokens, folder::Architecture};

/// Attention scores that are in memory at once: 64 MiB. Longer texts are attended to in several steps.
const MOST_SCORES: usize = 16 << 20;

/// Texts of one length, the shorter ones filled up at the end.
pub(super) struct Padded {
    /// `[batch][tokens]`.
    ids: Tensor,
    types: Tensor,
    /// 1 for a token, 0 for filling; as numbers to compute with.
    pub(super) mask: Tensor,
    /// Whether there is filling at all.
    pub(super) filled: bool,
}

impl Padded {
    pub(super) fn new(batch: &[&Tokens], pad: u32) -> Result<Self> {
        let longest = batch.iter().map(|tokens| tokens.ids.len()).max().unwrap_or(0).max(1);
        let (mut ids, mut types, mut mask) = (vec![], vec![], vec![]);
        for tokens in batch {
            let rest = longest - tokens.ids.len();
            ids.extend(tokens.ids.iter().copied().chain(std::iter::repeat_n(pad, rest)));
            types.extend(tokens.types.iter().copied().chain(std::iter::repeat_n(0, rest)));
            mask.extend(std::iter::repeat_n(1f32, tokens.ids.len()).chain(std::iter::repeat_n(0f32, rest)));
        }
        let (shape, device) = ((batch.len(), longest), &Device::Cpu);
        let filled = mask.contains(&0.0);
        Ok(Self {
            ids: Tensor::from_vec(ids, shape, device)?,
            types: Tensor::from_vec(types, shape, device)?,
            mask: Tensor::from_vec(mask, shape, device)?,
            filled,
        })
    }
}

pub(super) struct Transformer {
    words: Embedding,
    positions: Embedding,
    types: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
    /// The position of a text's first token.
    first: u32,
    pad_id: u32,
    /// A model with one type knows no second text.
    one_type: bool,
}

struct Layer {
    heads: usize,
    query: Linear,
    key: Linear,
    value: Linear,
    attended: Linear,
    attended_norm: LayerNorm,
    inner: Linear,
    activation: Activation,
    outer: Linear,
    outer_norm: LayerNorm,
}

#[derive(Clone, Copy)]
enum Activation {
    Gelu,
    GeluNew,
    Relu,
}

impl Transformer {
    pub(super) fn new(of: &Architecture, weights: &VarBuilder<'_>) -> Result<Self> {
        let (hidden, at) = (of.hidden_size, weights.pp("embeddings"));
        let layer = |i: usize| Layer::new(of, &weights.pp(format!("encoder.layer.{i}")));
        Ok(Self {
            words: embedding(of.vocabulary, hidden, at.pp("word_embeddings"))?,
            positions: embedding(of.positions, hidden, at.pp("position_embeddings"))?,
            types: embedding(of.types, hidden, at.pp("token_type_embeddings"))?,
            norm: layer_norm(hidden, of.layer_norm_eps, at.pp("LayerNorm"))?,
            layers: (0..of.layers).map(layer).collect::<Result<_>>()?,
            first: u32::try_from(of.first_position()).map_err(candle_core::Error::wrap)?,
            pad_id: of.pad_id,
            one_type: of.types == 1,
        })
    }

    pub(super) fn pad_id(&self) -> u32 {
        self.pad_id
    }

    /// The last layer's vectors: `[batch][tokens][hidden]`.
    pub(super) fn forward(&self, batch: &Padded) -> Result<Tensor> {
        let (_, length) = batch.ids.dims2()?;
        let end = self.first + u32::try_from(length).map_err(candle_core::Error::wrap)?;
        // Filling stands at the end, where its own positions matter to nobody.
        let places = Tensor::arange(self.first, end, &Device::Cpu)?;
        let types = if self.one_type { batch.types.zeros_like()? } else { batch.types.clone() };
        let words = self.words.forward(&batch.ids)?;
        let embedded = (words + self.types.forward(&types)?)?.broadcast_add(&self.positions.forward(&places)?)?;
        let mut hidden = self.norm.forward(&embedded)?;
        let hide = if batch.filled { Some(hidden_from(&batch.mask)?) } else { None };
        for layer in &self.layers {
            hidden = layer.forward(&hidden, hide.as_ref())?;
        }
        Ok(hidden)
    }
}

/// What is added to the scores of filling, so that nobody attends to it: `[batch][1][1][tokens]`.
fn hidden_from(mask: &Tensor) -> Result<Tensor> {
    // 0 for a token, the least number for filling.
    mask.affine(-f64::from(f32::MIN), f64::from(f32::MIN))?.unsqueeze(1)?.unsqueeze(1)
}

impl Layer {
    fn new(of: &Architecture, at: &VarBuilder<'_>) -> Result<Self> {
        let (hidden, inner, eps) = (of.hidden_size, of.intermediate_size, of.layer_norm_eps);
        Ok(Self {
            heads: of.heads,
            query: linear(hidden, hidden, at.pp("attention.self.query"))?,
            key: linear(hidden, hidden, at.pp("attention.self.key"))?,
            value: linear(hidden, hidden, at.pp("attention.self.value"))?,
            attended: linear(hidden, hidden, at.pp("attention.output.dense"))?,
            attended_norm: layer_norm(hidden, eps, at.pp("attention.output.LayerNorm"))?,
            inner: linear(hidden, inner, at.pp("intermediate.dense"))?,
            activation: match of.activation.as_str() {
                "gelu_new" => Activation::GeluNew,
                "relu" => Activation::Relu,
                _ => Activation::Gelu,
            },
            outer: linear(inner, hidden, at.pp("output.dense"))?,
            outer_norm: layer_norm(hidden, eps, at.pp("output.LayerNorm"))?,
        })
    }

    fn forward(&self, hidden: &Tensor, hide: Option<&Tensor>) -> Result<Tensor> {
        let attended = self.attended.forward(&self.attend(hidden, hide)?)?;
        let hidden = self.attended_norm.forward(&(attended + hidden)?)?;
        let inner = self.inner.forward(&hidden)?;
        let inner = match self.activation {
            Activation::Gelu => inner.gelu_erf()?,
            Activation::GeluNew => inner.gelu()?,
            Activation::Relu => inner.relu()?,
        };
        self.outer_norm.forward(&(self.outer.forward(&inner)? + &hidden)?)
    }

    fn attend(&self, hidden: &Tensor, hide: Option<&Tensor>) -> Result<Tensor> {
        let (batch, length, width) = hidden.dims3()?;
        let by_head = |made: Tensor| made.reshape((batch, length, self.heads, width / self.heads))?.transpose(1, 2);
        #[allow(clippy::cast_precision_loss)] // a width of at most some thousands
        let scale = 1.0 / ((width / self.heads) as f64).sqrt();
        let query = by_head(self.query.forward(hidden)?.affine(scale, 0.0)?)?.contiguous()?;
        let key = by_head(self.key.forward(hidden)?)?.transpose(D::Minus1, D::Minus2)?.contiguous()?;
        let value = by_head(self.value.forward(hidden)?)?.contiguous()?;
        let step = (MOST_SCORES / (batch * self.heads * length).max(1)).clamp(1, length.max(1));
        let mut parts = vec![];
        for from in (0..length).step_by(step) {
            let scores = query.narrow(2, from, step.min(length - from))?.contiguous()?.matmul(&key)?;
            let scores = match hide {
                Some(hide) => scores.broadcast_add(hide)?,
                None => scores,
            };
            parts.push(softmax_last_dim(&scores)?.matmul(&value)?);
        }
        Tensor::cat(&parts, 2)?.transpose(1, 2)?.reshape((batch, length, width))
    }
}
