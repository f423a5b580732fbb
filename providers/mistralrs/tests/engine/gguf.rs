//! A GGUF file is loaded and answers like the folder it was made from.
//!
//! The file is written here from the demo model's own files (llama architecture, gpt2 tokenizer, f32), so that no second copy of
//! the weights has to be kept. Layout: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{Worker, demo_model, tool};
use serde_json::{Value, json};

/// Writes the pieces of a GGUF head.
#[derive(Default)]
struct Head {
    bytes: Vec<u8>,
    entries: u64,
}

impl Head {
    fn text(&mut self, text: &str) {
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn entry(&mut self, key: &str, kind: u32) {
        self.entries += 1;
        self.text(key);
        self.bytes.extend(kind.to_le_bytes());
    }

    fn number(&mut self, key: &str, value: u32) {
        self.entry(key, 4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn float(&mut self, key: &str, value: f64) {
        self.entry(key, 6);
        self.bytes.extend((value as f32).to_le_bytes());
    }

    fn word(&mut self, key: &str, value: &str) {
        self.entry(key, 8);
        self.text(value);
    }

    fn words(&mut self, key: &str, values: &[String]) {
        self.entry(key, 9);
        self.bytes.extend(8_u32.to_le_bytes());
        self.bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| self.text(value));
    }

    fn numbers(&mut self, key: &str, values: &[i32]) {
        self.entry(key, 9);
        self.bytes.extend(5_u32.to_le_bytes());
        self.bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| self.bytes.extend(value.to_le_bytes()));
    }
}

/// Name, shape as in safetensors, f32 values.
type Tensor = (String, Vec<usize>, Vec<u8>);

pub fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let file = std::fs::read(path).unwrap();
    let length = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
    let head: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let data = &file[8 + length..];
    let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let tensor = |(name, entry): (&String, &Value)| {
        assert_eq!(entry["dtype"], "F32");
        let shape = entry["shape"].as_array().unwrap().iter().map(number).collect();
        let (begin, end) = (number(&entry["data_offsets"][0]), number(&entry["data_offsets"][1]));
        (name.clone(), (shape, data[begin..end].to_vec()))
    };
    head.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__").map(tensor).collect()
}

/// Rows of queries and keys from Hugging Face's halves to GGUF's pairs.
fn interleaved(values: &[u8], rows: usize, heads: usize) -> Vec<u8> {
    let (row, half) = (values.len() / rows, rows / heads / 2);
    let at = |head: usize, side: usize, pair: usize| (head * 2 * half + side * half + pair) * row;
    let order = (0..heads).flat_map(|head| (0..half).flat_map(move |pair| (0..2).map(move |side| (head, side, pair))));
    order.flat_map(|(head, side, pair)| values[at(head, side, pair)..][..row].to_vec()).collect()
}

fn write(model: &Path, out: &Path) {
    let json = |name: &str| -> Value { serde_json::from_slice(&std::fs::read(model.join(name)).unwrap()).unwrap() };
    let (config, tokenizer, words) = (json("config.json"), json("tokenizer.json"), json("tokenizer_config.json"));
    let size = |key: &str| u32::try_from(config[key].as_u64().unwrap()).unwrap();
    let mut head = Head::default();
    head.word("general.architecture", "llama");
    head.number("llama.context_length", size("max_position_embeddings"));
    head.number("llama.embedding_length", size("hidden_size"));
    head.number("llama.block_count", size("num_hidden_layers"));
    head.number("llama.feed_forward_length", size("intermediate_size"));
    head.number("llama.attention.head_count", size("num_attention_heads"));
    head.number("llama.attention.head_count_kv", size("num_key_value_heads"));
    head.float("llama.attention.layer_norm_rms_epsilon", config["rms_norm_eps"].as_f64().unwrap());
    head.float("llama.rope.freq_base", config["rope_theta"].as_f64().unwrap());
    head.number("llama.rope.dimension_count", size("head_dim"));
    let mut by_id = BTreeMap::new();
    for (token, id) in tokenizer["model"]["vocab"].as_object().unwrap() {
        by_id.insert(id.as_u64().unwrap(), (token.clone(), 1));
    }
    for token in tokenizer["added_tokens"].as_array().unwrap() {
        by_id.insert(token["id"].as_u64().unwrap(), (token["content"].as_str().unwrap().to_owned(), 3));
    }
    let merges = tokenizer["model"]["merges"].as_array().unwrap().iter().map(|merge| match merge {
        Value::String(merge) => merge.clone(),
        pair => format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
    });
    head.word("tokenizer.ggml.model", "gpt2");
    head.word("tokenizer.ggml.pre", "llama-bpe");
    head.words("tokenizer.ggml.tokens", &by_id.values().map(|(token, _)| token.clone()).collect::<Vec<_>>());
    head.numbers("tokenizer.ggml.token_type", &by_id.values().map(|(_, kind)| *kind).collect::<Vec<_>>());
    head.words("tokenizer.ggml.merges", &merges.collect::<Vec<_>>());
    head.number("tokenizer.ggml.bos_token_id", 0);
    head.number("tokenizer.ggml.eos_token_id", 4);
    head.number("tokenizer.ggml.unknown_token_id", 7);
    head.word("tokenizer.chat_template", words["chat_template"].as_str().unwrap());

    let source = tensors(&model.join("model.safetensors"));
    let take = |name: &str, into: &str| -> Tensor {
        let (shape, values) = source[name].clone();
        (into.to_owned(), shape, values)
    };
    let mut list = vec![
        take("model.embed_tokens.weight", "token_embd.weight"),
        take("model.norm.weight", "output_norm.weight"),
        take("model.embed_tokens.weight", "output.weight"),
    ];
    for layer in 0..size("num_hidden_layers") {
        for (name, into) in [
            ("self_attn.q_proj", "attn_q"),
            ("self_attn.k_proj", "attn_k"),
            ("self_attn.v_proj", "attn_v"),
            ("self_attn.o_proj", "attn_output"),
            ("mlp.gate_proj", "ffn_gate"),
            ("mlp.up_proj", "ffn_up"),
            ("mlp.down_proj", "ffn_down"),
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
        ] {
            let mut tensor =
                take(&format!("model.layers.{layer}.{name}.weight"), &format!("blk.{layer}.{into}.weight"));
            let heads = match into {
                "attn_q" => size("num_attention_heads"),
                "attn_k" => size("num_key_value_heads"),
                _ => 0,
            };
            if heads > 0 {
                tensor.2 = interleaved(&tensor.2, tensor.1[0], heads as usize);
            }
            list.push(tensor);
        }
    }
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    file.extend((list.len() as u64).to_le_bytes());
    file.extend(head.entries.to_le_bytes());
    let mut offset = 0_u64;
    for (name, shape, values) in &list {
        head.text(name);
        head.bytes.extend(u32::try_from(shape.len()).unwrap().to_le_bytes());
        shape.iter().rev().for_each(|size| head.bytes.extend((*size as u64).to_le_bytes()));
        head.bytes.extend(0_u32.to_le_bytes());
        head.bytes.extend(offset.to_le_bytes());
        offset += (values.len() as u64).next_multiple_of(32);
    }
    file.extend(&head.bytes);
    for (_, _, values) in &list {
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(values);
    }
    std::fs::write(out, file).unwrap();
}

#[test]
fn a_gguf_file_answers_like_the_folder_it_was_made_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tiny.gguf");
    write(&demo_model(), &file);
    let model = json!({"id": "gguf", "path": file});
    let worker = Worker::start(&["--model", &model.to_string()]);
    for asked in [
        json!({"say": "Say \"red green blue\""}),
        json!({"say": "hello"}),
        json!({"say": "Where is my order 48213?", "tools": [tool("lookup_order", "order_id")]}),
    ] {
        let answers = ["tiny", "gguf"].map(|model| {
            let mut asked = asked.clone();
            asked["model"] = json!(model);
            let (status, mut answer) = worker.chat(asked);
            assert_eq!(status, 200, "{answer}");
            // Ids of calls are drawn at random.
            let id = answer.pointer_mut("/choices/0/message/tool_calls/0/id");
            id.map(Value::take);
            (answer["choices"].take(), answer["usage"].take())
        });
        assert_eq!(answers[0], answers[1], "{asked}");
    }
}
