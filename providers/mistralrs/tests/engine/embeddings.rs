//! Vectors of a model for embeddings: against the same computed here, plainly and in f64.
//!
//! The model has random weights in the shape of Qwen3-Embedding; its layers are written down below as the published model
//! has them (<https://huggingface.co/Qwen/Qwen3-Embedding-0.6B>), so the engine's way to a vector is checked from the
//! tokens on.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{Worker, demo_model};
use serde_json::{Value, json};

const HIDDEN: usize = 64;
const LAYERS: usize = 2;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD: usize = 16;
const MLP: usize = 96;
/// The demo model's, whose tokenizer is used.
const VOCAB: usize = 1536;
const EPS: f64 = 1e-6;
const THETA: f64 = 10_000.0;

/// By name: rows and columns, row after row; a norm is one row.
type Weights = BTreeMap<String, (usize, usize, Vec<f32>)>;

fn weights() -> Weights {
    let mut seed = 7_u64;
    // Numbers that look random and are the same each time (Knuth's MMIX).
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.4
    };
    let mut shapes = vec![("embed_tokens".to_owned(), VOCAB, HIDDEN), ("norm".to_owned(), 1, HIDDEN)];
    for layer in 0..LAYERS {
        let parts = [
            ("self_attn.q_proj", HEADS * HEAD, HIDDEN),
            ("self_attn.k_proj", KV_HEADS * HEAD, HIDDEN),
            ("self_attn.v_proj", KV_HEADS * HEAD, HIDDEN),
            ("self_attn.o_proj", HIDDEN, HEADS * HEAD),
            ("self_attn.q_norm", 1, HEAD),
            ("self_attn.k_norm", 1, HEAD),
            ("mlp.gate_proj", MLP, HIDDEN),
            ("mlp.up_proj", MLP, HIDDEN),
            ("mlp.down_proj", HIDDEN, MLP),
            ("input_layernorm", 1, HIDDEN),
            ("post_attention_layernorm", 1, HIDDEN),
        ];
        shapes.extend(parts.map(|(name, rows, columns)| (format!("layers.{layer}.{name}"), rows, columns)));
    }
    let made = |(name, rows, columns): (String, usize, usize)| {
        let around = if rows == 1 { 1.0 } else { 0.0 };
        let numbers = (0..rows * columns).map(|_| around + next()).collect();
        (name, (rows, columns, numbers))
    };
    shapes.into_iter().map(made).collect()
}

fn write(folder: &Path, weights: &Weights) {
    let (mut header, mut data) = (BTreeMap::new(), Vec::new());
    for (name, (rows, columns, numbers)) in weights {
        let shape = if *rows == 1 { vec![*columns] } else { vec![*rows, *columns] };
        let ends = [data.len(), data.len() + 4 * numbers.len()];
        header.insert(format!("{name}.weight"), json!({"dtype": "F32", "shape": shape, "data_offsets": ends}));
        data.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }
    let header = json!(header).to_string();
    let head = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    std::fs::write(folder.join("model.safetensors"), [head, data].concat()).unwrap();
    let write = |name: &str, document: Value| std::fs::write(folder.join(name), document.to_string()).unwrap();
    write(
        "config.json",
        json!({
            "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "vocab_size": VOCAB,
            "hidden_size": HIDDEN, "intermediate_size": MLP, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS, "head_dim": HEAD, "max_position_embeddings": 256, "rms_norm_eps": EPS,
            "rope_theta": THETA, "sliding_window": null, "use_sliding_window": false, "max_window_layers": LAYERS,
            "tie_word_embeddings": true, "attention_bias": false, "torch_dtype": "float32",
        }),
    );
    let module = |number: usize, path: &str, kind: &str| {
        let kind = format!("sentence_transformers.models.{kind}");
        json!({"idx": number, "name": number.to_string(), "path": path, "type": kind})
    };
    write(
        "modules.json",
        json!([module(0, "", "Transformer"), module(1, "1_Pooling", "Pooling"), module(2, "2_Normalize", "Normalize")]),
    );
    std::fs::create_dir(folder.join("1_Pooling")).unwrap();
    write(
        "1_Pooling/config.json",
        json!({
            "word_embedding_dimension": HIDDEN, "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": false,
            "pooling_mode_max_tokens": false, "pooling_mode_mean_sqrt_len_tokens": false,
            "pooling_mode_weightedmean_tokens": false, "pooling_mode_lasttoken": true, "include_prompt": true,
        }),
    );
    write("tokenizer_config.json", json!({}));
    std::fs::copy(demo_model().join("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
}

/// A matrix times a row.
fn times(weights: &Weights, name: &str, row: &[f64]) -> Vec<f64> {
    let (_, columns, numbers) = &weights[name];
    let dot = |line: &[f32]| line.iter().zip(row).map(|(a, b)| f64::from(*a) * b).sum();
    numbers.chunks(*columns).map(dot).collect()
}

/// Root mean square normalisation, times the weights of that name.
fn normed(weights: &Weights, name: &str, row: &[f64]) -> Vec<f64> {
    let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
    let scale = 1.0 / (mean + EPS).sqrt();
    weights[name].2.iter().zip(row).map(|(weight, x)| f64::from(*weight) * x * scale).collect()
}

/// Rotary positions over the halves of a head.
fn rotated(head: &[f64], position: usize) -> Vec<f64> {
    let half = HEAD / 2;
    let turned = |i: usize| {
        let pair = i % half;
        let angle = position as f64 / THETA.powf(2.0 * pair as f64 / HEAD as f64);
        let (sin, cos) = angle.sin_cos();
        if i < half { head[i] * cos - head[i + half] * sin } else { head[i] * cos + head[pair] * sin }
    };
    (0..HEAD).map(turned).collect()
}

/// The heads of a projection, each normed and rotated.
fn heads(weights: &Weights, at: &str, which: &str, row: &[f64], position: usize) -> Vec<Vec<f64>> {
    let all = times(weights, &format!("{at}.self_attn.{which}_proj"), row);
    let one = |head: &[f64]| rotated(&normed(weights, &format!("{at}.self_attn.{which}_norm"), head), position);
    all.chunks(HEAD).map(one).collect()
}

fn vector(weights: &Weights, tokens: &[usize]) -> Vec<f64> {
    let embedded = |token: &usize| weights["embed_tokens"].2[token * HIDDEN..][..HIDDEN].iter().map(|x| f64::from(*x));
    let mut rows: Vec<Vec<f64>> = tokens.iter().map(|token| embedded(token).collect()).collect();
    for layer in 0..LAYERS {
        let at = format!("layers.{layer}");
        let before: Vec<Vec<f64>> =
            rows.iter().map(|row| normed(weights, &format!("{at}.input_layernorm"), row)).collect();
        let along = |which: &str| -> Vec<Vec<Vec<f64>>> {
            before.iter().enumerate().map(|(position, row)| heads(weights, &at, which, row, position)).collect()
        };
        let (queries, keys) = (along("q"), along("k"));
        let values: Vec<Vec<f64>> =
            before.iter().map(|row| times(weights, &format!("{at}.self_attn.v_proj"), row)).collect();
        for (position, row) in rows.iter_mut().enumerate() {
            let mut mixed = vec![0.0; HEADS * HEAD];
            for head in 0..HEADS {
                let kv = head / (HEADS / KV_HEADS);
                // Each token sees those before it and itself.
                let score = |other: usize| {
                    let dot: f64 = queries[position][head].iter().zip(&keys[other][kv]).map(|(a, b)| a * b).sum();
                    (dot / (HEAD as f64).sqrt()).exp()
                };
                let scores: Vec<f64> = (0..=position).map(score).collect();
                let sum: f64 = scores.iter().sum();
                for (other, score) in scores.iter().enumerate() {
                    for i in 0..HEAD {
                        mixed[head * HEAD + i] += score / sum * values[other][kv * HEAD + i];
                    }
                }
            }
            let out = times(weights, &format!("{at}.self_attn.o_proj"), &mixed);
            row.iter_mut().zip(out).for_each(|(x, more)| *x += more);
            let inner = normed(weights, &format!("{at}.post_attention_layernorm"), row);
            let gate = times(weights, &format!("{at}.mlp.gate_proj"), &inner);
            let up = times(weights, &format!("{at}.mlp.up_proj"), &inner);
            let through: Vec<f64> = gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            let out = times(weights, &format!("{at}.mlp.down_proj"), &through);
            row.iter_mut().zip(out).for_each(|(x, more)| *x += more);
        }
    }
    let last = normed(weights, "norm", rows.last().unwrap());
    let length = last.iter().map(|x| x * x).sum::<f64>().sqrt();
    last.iter().map(|x| x / length).collect()
}

fn told(answer: &Value, index: usize) -> Vec<f64> {
    assert_eq!(answer["data"][index]["index"], index, "{answer}");
    answer["data"][index]["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn a_vector_is_the_one_that_the_models_layers_make_of_the_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let weights = weights();
    write(folder.path(), &weights);
    let model = format!("vectors={}", folder.path().display());
    let worker = Worker::start(&["--model", &model]);
    let inputs: [&[usize]; 3] = [&[5, 17, 300, 42, 1023], &[9, 8], &[700, 600, 500, 400, 300, 200, 100]];
    let (status, answer) = worker.post("/v1/embeddings", &json!({"model": "vectors", "input": inputs}));
    assert_eq!((status, answer["usage"]["prompt_tokens"].as_u64()), (200, Some(14)), "{answer}");
    for (index, tokens) in inputs.iter().enumerate() {
        let (got, want) = (told(&answer, index), vector(&weights, tokens));
        assert_eq!(got.len(), HIDDEN);
        let far = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far < 1e-4, "input {index} is off by {far}");
    }

    let texts = json!({"model": "vectors", "input": ["red green", "blue river", "red green"]});
    let (_, answer) = worker.post("/v1/embeddings", &texts);
    assert_eq!(told(&answer, 0), told(&answer, 2));
    assert_ne!(told(&answer, 0), told(&answer, 1));
    let base64 = json!({"model": "vectors", "input": "red green", "encoding_format": "base64"});
    assert_eq!(worker.post("/v1/embeddings", &base64).1["data"][0]["embedding"].as_str().unwrap().len(), 344);

    let listed: Value = serde_json::from_str(&worker.get("/v1/models").1).unwrap();
    let kinds: Vec<&Value> = listed["data"].as_array().unwrap().iter().map(|model| &model["type"]).collect();
    assert_eq!(kinds, ["llm", "embedding"]);
}

#[test]
fn what_a_model_for_embeddings_cannot_do_is_refused_by_name_and_it_lives() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &weights());
    let worker = Worker::run(&["--model", &format!("vectors={}", folder.path().display())]);
    assert_eq!(worker.line["ready"], true, "{}", worker.line);
    for (input, param, code) in [
        (json!([[5, 6], [7]]), "input[1]", Value::Null),
        (json!([[5, 6], [7, VOCAB]]), "input[1]", Value::Null),
        (json!([u32::MAX, 6]), "input[0]", Value::Null),
        (json!(["ok then", "word ".repeat(300)]), "input[1]", json!("context_length_exceeded")),
    ] {
        let (status, problem) = worker.post("/v1/embeddings", &json!({"model": "vectors", "input": input}));
        assert_eq!(
            (status, &problem["error"]["param"], &problem["error"]["code"]),
            (400, &json!(param), &code),
            "{problem}"
        );
    }
    let (status, problem) = worker.chat(json!({"model": "vectors", "say": "hello"}));
    assert_eq!((status, &problem["error"]["param"]), (400, &json!("model")), "{problem}");
    let (status, _) = worker.post("/v1/embeddings", &json!({"model": "vectors", "input": "red green"}));
    assert_eq!(status, 200);
    assert_eq!(worker.metric("frontdesk_engine_restarts_total"), 0.0);
}
