//! Answers to images, against the same computed here, plainly and in f64.
//!
//! The model has random weights in the shape of Gemma 3 with its image tower, written down below as the published model has
//! them (<https://huggingface.co/google/gemma-3-4b-it>, Transformers' `modeling_gemma3.py` and `modeling_siglip.py`): the
//! engine's way from pixels to the next token is checked, also where requests could be mixed up.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{Worker, demo_model, told};
use serde_json::{Value, json};

const HIDDEN: usize = 32;
const LAYERS: usize = 2;
const HEADS: usize = 2;
const HEAD: usize = 16;
const MLP: usize = 48;
/// The demo model's, whose tokenizer is used, and three words for images.
const VOCAB: usize = 1539;
const BEGIN: usize = 0;
const EOT: usize = 4;
const START: usize = 1536;
const SOFT: usize = 1537;
const END: usize = 1538;
const EPS: f64 = 1e-6;
/// Bases of the rotary positions: of layers that see all, and of those with a window.
const THETA: [f64; 2] = [1_000_000.0, 10_000.0];
/// The tower: patches of 7 × 7 pixels, 2 × 2 of them a token.
const WIDE: usize = 16;
const TOWER_MLP: usize = 24;
const PATCH: usize = 7;
const SIDE: usize = 4;
const PIXELS: usize = PATCH * SIDE;
const TOKENS: usize = 4;

/// By name: the shape, and the numbers in its order.
type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;
type Rows = Vec<Vec<f64>>;

/// Numbers that look random and are the same each time (Knuth's MMIX), below one.
fn random(mut seed: u64) -> impl FnMut() -> f32 {
    move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1 << 24) as f32
    }
}

fn weights() -> Weights {
    let (text, tower) = ("language_model.model", "vision_tower.vision_model");
    let mut shapes = vec![
        (format!("{text}.embed_tokens.weight"), vec![VOCAB, HIDDEN]),
        (format!("{text}.norm.weight"), vec![HIDDEN]),
        ("multi_modal_projector.mm_input_projection_weight".to_owned(), vec![WIDE, HIDDEN]),
        ("multi_modal_projector.mm_soft_emb_norm.weight".to_owned(), vec![WIDE]),
        (format!("{tower}.embeddings.patch_embedding.weight"), vec![WIDE, 3, PATCH, PATCH]),
        (format!("{tower}.embeddings.patch_embedding.bias"), vec![WIDE]),
        (format!("{tower}.embeddings.position_embedding.weight"), vec![SIDE * SIDE, WIDE]),
    ];
    for layer in 0..LAYERS {
        let at = format!("{text}.layers.{layer}");
        for (name, rows, columns) in [
            ("self_attn.q_proj", HEADS * HEAD, HIDDEN),
            ("self_attn.k_proj", HEAD, HIDDEN),
            ("self_attn.v_proj", HEAD, HIDDEN),
            ("self_attn.o_proj", HIDDEN, HEADS * HEAD),
            ("mlp.gate_proj", MLP, HIDDEN),
            ("mlp.up_proj", MLP, HIDDEN),
            ("mlp.down_proj", HIDDEN, MLP),
        ] {
            shapes.push((format!("{at}.{name}.weight"), vec![rows, columns]));
        }
        for (name, size) in [
            ("input_layernorm", HIDDEN),
            ("post_attention_layernorm", HIDDEN),
            ("pre_feedforward_layernorm", HIDDEN),
            ("post_feedforward_layernorm", HIDDEN),
            ("self_attn.q_norm", HEAD),
            ("self_attn.k_norm", HEAD),
        ] {
            shapes.push((format!("{at}.{name}.weight"), vec![size]));
        }
    }
    let mut with_bias = |at: &str, shape: Vec<usize>| {
        shapes.push((format!("{at}.bias"), vec![shape[0]]));
        shapes.push((format!("{at}.weight"), shape));
    };
    for layer in 0..LAYERS {
        let at = format!("{tower}.encoder.layers.{layer}");
        for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            with_bias(&format!("{at}.self_attn.{name}"), vec![WIDE, WIDE]);
        }
        with_bias(&format!("{at}.mlp.fc1"), vec![TOWER_MLP, WIDE]);
        with_bias(&format!("{at}.mlp.fc2"), vec![WIDE, TOWER_MLP]);
        with_bias(&format!("{at}.layer_norm1"), vec![WIDE]);
        with_bias(&format!("{at}.layer_norm2"), vec![WIDE]);
    }
    with_bias(&format!("{tower}.post_layernorm"), vec![WIDE]);
    let mut next = random(7);
    let made = |(name, shape): (String, Vec<usize>)| {
        let numbers = (0..shape.iter().product()).map(|_| (next() - 0.5) * 0.6).collect();
        (name, (shape, numbers))
    };
    shapes.into_iter().map(made).collect()
}

fn write(folder: &Path, weights: &Weights) {
    let (mut header, mut data) = (BTreeMap::new(), Vec::new());
    for (name, (shape, numbers)) in weights {
        let ends = [data.len(), data.len() + 4 * numbers.len()];
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": ends}));
        data.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    }
    let header = json!(header).to_string();
    let head = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    std::fs::write(folder.join("model.safetensors"), [head, data].concat()).unwrap();
    let write = |name: &str, document: Value| std::fs::write(folder.join(name), document.to_string()).unwrap();
    write(
        "config.json",
        json!({
            "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "boi_token_index": START,
            "eoi_token_index": END, "image_token_index": SOFT, "mm_tokens_per_image": TOKENS, "torch_dtype": "float32",
            "text_config": {
                "model_type": "gemma3_text", "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": MLP,
                "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": 1, "head_dim": HEAD,
                "query_pre_attn_scalar": HEAD, "rms_norm_eps": EPS, "rope_theta": THETA[0], "sliding_window": 512,
                "rope_local_base_freq": THETA[1], "sliding_window_pattern": 2, "max_position_embeddings": 1024,
                "hidden_activation": "gelu_pytorch_tanh", "attention_bias": false,
            },
            "vision_config": {
                "hidden_size": WIDE, "intermediate_size": TOWER_MLP, "num_hidden_layers": LAYERS, "num_channels": 3,
                "num_attention_heads": HEADS, "image_size": PIXELS, "patch_size": PATCH, "layer_norm_eps": EPS,
                "hidden_act": "gelu_pytorch_tanh",
            },
        }),
    );
    write(
        "preprocessor_config.json",
        json!({
            "do_resize": true, "do_rescale": true, "do_normalize": true, "resample": 2, "rescale_factor": 1.0 / 255.0,
            "size": {"height": PIXELS, "width": PIXELS}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
        }),
    );
    write("processor_config.json", json!({"image_seq_length": TOKENS}));
    let template = "{{ bos_token }}{% for message in messages %}{% if message.content is string %}{{ message.content }}\
                    {% else %}{% for part in message.content %}{% if part.type == 'image' %}<start_of_image>{% else %}\
                    {{ part.text }}{% endif %}{% endfor %}{% endif %}<|eot_id|>{% endfor %}";
    write("tokenizer_config.json", json!({"bos_token": "<|begin_of_text|>", "chat_template": template}));
    // No answer ends by itself.
    write("generation_config.json", json!({"eos_token_id": END, "do_sample": false}));
    let mut tokenizer = tokenizer();
    for (id, word) in [(START, "<start_of_image>"), (SOFT, "<image_soft_token>"), (END, "<end_of_image>")] {
        let mut added = tokenizer["added_tokens"][0].clone();
        (added["id"], added["content"]) = (json!(id), json!(word));
        tokenizer["added_tokens"].as_array_mut().unwrap().push(added);
    }
    write("tokenizer.json", tokenizer);
}

fn tokenizer() -> Value {
    serde_json::from_slice(&std::fs::read(demo_model().join("tokenizer.json")).unwrap()).unwrap()
}

/// A PNG of this many pixels a side, in RGB and without compression; `claimed`: the size that its header tells.
fn png(rgb: &[u8], claimed: usize) -> Vec<u8> {
    let crc = |bytes: &[u8]| {
        let step = |crc: u32, byte: &u8| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
        };
        !bytes.iter().fold(u32::MAX, step)
    };
    let chunk = |kind: &[u8], data: &[u8]| {
        let named = [kind, data].concat();
        [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], &named, &crc(&named).to_be_bytes()].concat()
    };
    let lines: Vec<u8> = rgb.chunks(3 * PIXELS).flat_map(|line| [&[0], line].concat()).collect();
    let (a, b) = lines.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    let length = u16::try_from(lines.len()).unwrap();
    let stored = [&[0x78, 0x01, 1], &length.to_le_bytes()[..], &(!length).to_le_bytes(), &lines].concat();
    let size = u32::try_from(claimed).unwrap().to_be_bytes();
    let head = [&size[..], &size, &[8, 2, 0, 0, 0]].concat();
    let data = [stored, (b << 16 | a).to_be_bytes().to_vec()].concat();
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &head), chunk(b"IDAT", &data), chunk(b"IEND", &[])].concat()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let four = |three: &[u8]| {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(*three.get(i).unwrap_or(&0)));
        let letter = |i: usize| LETTERS[(bits >> (18 - 6 * i)) as usize & 63] as char;
        (0..4).map(|i| if i > three.len() { '=' } else { letter(i) }).collect::<String>()
    };
    bytes.chunks(3).map(four).collect()
}

fn image_part(url: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": url}})
}

/// A piece of a message: a word that is one token, or an image by its number.
#[derive(Clone, Copy)]
enum Piece {
    Word(&'static str),
    Image(u64),
}
use Piece::{Image, Word};

/// Pixels of an image, line by line.
fn rgb(number: u64) -> Vec<u8> {
    let mut next = random(number);
    (0..3 * PIXELS * PIXELS).map(|_| (next() * 256.0) as u8).collect()
}

fn url(number: u64) -> String {
    format!("data:image/png;base64,{}", base64(&png(&rgb(number), PIXELS)))
}

fn content(pieces: &[Piece]) -> Value {
    let part = |piece: &Piece| match piece {
        Word(word) => json!({"type": "text", "text": word}),
        Image(number) => image_part(&url(*number)),
    };
    pieces.iter().map(part).collect()
}

/// A matrix times a row, and what is added to it.
fn times(weights: &Weights, name: &str, row: &[f64]) -> Vec<f64> {
    let numbers = &weights[&format!("{name}.weight")].1;
    let bias = weights.get(&format!("{name}.bias"));
    let dot = |(i, line): (usize, &[f32])| {
        let sum: f64 = line.iter().zip(row).map(|(a, b)| f64::from(*a) * b).sum();
        sum + bias.map_or(0.0, |(_, bias)| f64::from(bias[i]))
    };
    numbers.chunks(row.len()).enumerate().map(dot).collect()
}

/// Gemma's normalisation by the root of the mean square: a weight of nought leaves as it is.
fn normed(weights: &Weights, name: &str, row: &[f64]) -> Vec<f64> {
    let scale = 1.0 / (row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64 + EPS).sqrt();
    weights[&format!("{name}.weight")]
        .1
        .iter()
        .zip(row)
        .map(|(weight, x)| (1.0 + f64::from(*weight)) * x * scale)
        .collect()
}

/// The tower's normalisation.
fn evened(weights: &Weights, name: &str, row: &[f64]) -> Vec<f64> {
    let mean = row.iter().sum::<f64>() / row.len() as f64;
    let spread = (row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / row.len() as f64 + EPS).sqrt();
    let [weight, bias] = ["weight", "bias"].map(|part| &weights[&format!("{name}.{part}")].1);
    (0..row.len()).map(|i| (row[i] - mean) / spread * f64::from(weight[i]) + f64::from(bias[i])).collect()
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
}

fn add(row: &mut [f64], more: &[f64]) {
    row.iter_mut().zip(more).for_each(|(x, more)| *x += more);
}

/// For each row the mean of the values that it sees, by its heads' likeness to their keys.
fn attended(queries: &Rows, keys: &Rows, values: &Rows, head: usize, sees: impl Fn(usize, usize) -> bool) -> Rows {
    let one = |position: usize| {
        let mut mixed = vec![0.0; queries[position].len()];
        for (number, mixed) in mixed.chunks_mut(head).enumerate() {
            let (query, at) = (&queries[position][number * head..][..head], number * head % keys[0].len());
            let score = |other: &usize| {
                let dot: f64 = query.iter().zip(&keys[*other][at..]).map(|(a, b)| a * b).sum();
                (dot / (head as f64).sqrt()).exp()
            };
            let seen: Vec<usize> = (0..keys.len()).filter(|other| sees(position, *other)).collect();
            let sum: f64 = seen.iter().map(score).sum();
            for other in seen {
                let share = score(&other) / sum;
                mixed.iter_mut().zip(&values[other][at..]).for_each(|(x, value)| *x += share * value);
            }
        }
        mixed
    };
    (0..queries.len()).map(one).collect()
}

/// What the tower and the projection make of an image: a row for each of its tokens.
fn seen(weights: &Weights, rgb: &[u8]) -> Rows {
    let tower = "vision_tower.vision_model";
    let pixel = |channel: usize, y: usize, x: usize| f64::from(rgb[(y * PIXELS + x) * 3 + channel]) / 127.5 - 1.0;
    let patch = |number: usize| {
        let (top, left) = (number / SIDE * PATCH, number % SIDE * PATCH);
        let all = (0..3 * PATCH * PATCH).map(|i| pixel(i / (PATCH * PATCH), top + i / PATCH % PATCH, left + i % PATCH));
        let mut row = times(weights, &format!("{tower}.embeddings.patch_embedding"), &all.collect::<Vec<_>>());
        let place = &weights[&format!("{tower}.embeddings.position_embedding.weight")].1[number * WIDE..][..WIDE];
        row.iter_mut().zip(place).for_each(|(x, more)| *x += f64::from(*more));
        row
    };
    let mut rows: Rows = (0..SIDE * SIDE).map(patch).collect();
    for layer in 0..LAYERS {
        let at = format!("{tower}.encoder.layers.{layer}");
        let before: Rows = rows.iter().map(|row| evened(weights, &format!("{at}.layer_norm1"), row)).collect();
        let [q, k, v] = ["q", "k", "v"].map(|which| -> Rows {
            before.iter().map(|row| times(weights, &format!("{at}.self_attn.{which}_proj"), row)).collect()
        });
        for (row, mixed) in rows.iter_mut().zip(attended(&q, &k, &v, WIDE / HEADS, |_, _| true)) {
            add(row, &times(weights, &format!("{at}.self_attn.out_proj"), &mixed));
            let inner = times(weights, &format!("{at}.mlp.fc1"), &evened(weights, &format!("{at}.layer_norm2"), row));
            let inner: Vec<f64> = inner.into_iter().map(gelu).collect();
            add(row, &times(weights, &format!("{at}.mlp.fc2"), &inner));
        }
    }
    let rows: Rows = rows.iter().map(|row| evened(weights, &format!("{tower}.post_layernorm"), row)).collect();
    let token = |number: usize| {
        let corner = number / (SIDE / 2) * 2 * SIDE + number % (SIDE / 2) * 2;
        let four = [corner, corner + 1, corner + SIDE, corner + SIDE + 1];
        let mean: Vec<f64> = (0..WIDE).map(|i| four.iter().map(|one| rows[*one][i]).sum::<f64>() / 4.0).collect();
        let even = normed(weights, "multi_modal_projector.mm_soft_emb_norm", &mean);
        let matrix = &weights["multi_modal_projector.mm_input_projection_weight"].1;
        (0..HIDDEN).map(|to| (0..WIDE).map(|from| even[from] * f64::from(matrix[from * HIDDEN + to])).sum()).collect()
    };
    (0..TOKENS).map(token).collect()
}

/// Rotary positions over the halves of a head.
fn rotated(head: &[f64], position: usize, theta: f64) -> Vec<f64> {
    let half = HEAD / 2;
    let turned = |i: usize| {
        let pair = i % half;
        let (sin, cos) = (position as f64 / theta.powf(2.0 * pair as f64 / HEAD as f64)).sin_cos();
        if i < half { head[i] * cos - head[i + half] * sin } else { head[i] * cos + head[pair] * sin }
    };
    (0..HEAD).map(turned).collect()
}

/// Logarithms of the likelihood of each token after these.
fn next(weights: &Weights, tokens: &[usize], images: &[u64]) -> Vec<f64> {
    let text = "language_model.model";
    let embeddings = &weights[&format!("{text}.embed_tokens.weight")].1;
    let mut pictures = images.iter().flat_map(|number| seen(weights, &rgb(*number)));
    let embedded = |token: &usize| match *token {
        SOFT => pictures.next().unwrap(),
        token => {
            let row = &embeddings[token * HIDDEN..][..HIDDEN];
            row.iter().map(|x| f64::from(*x) * (HIDDEN as f64).sqrt()).collect()
        }
    };
    let mut rows: Rows = tokens.iter().map(embedded).collect();
    // Tokens of an image see one another; else each sees those before it and itself.
    let sees = |position: usize, other: usize| {
        other <= position || tokens[position..=other].iter().all(|token| *token == SOFT)
    };
    for layer in 0..LAYERS {
        let at = format!("{text}.layers.{layer}");
        let theta = THETA[(layer + 1) % 2];
        let before: Rows = rows.iter().map(|row| normed(weights, &format!("{at}.input_layernorm"), row)).collect();
        let [q, k] = ["q", "k"].map(|which| -> Rows {
            let one = |(position, row): (usize, &Vec<f64>)| {
                let all = times(weights, &format!("{at}.self_attn.{which}_proj"), row);
                let norm = format!("{at}.self_attn.{which}_norm");
                all.chunks(HEAD).flat_map(|head| rotated(&normed(weights, &norm, head), position, theta)).collect()
            };
            before.iter().enumerate().map(one).collect()
        });
        let v: Rows = before.iter().map(|row| times(weights, &format!("{at}.self_attn.v_proj"), row)).collect();
        for (row, mixed) in rows.iter_mut().zip(attended(&q, &k, &v, HEAD, sees)) {
            let out = times(weights, &format!("{at}.self_attn.o_proj"), &mixed);
            add(row, &normed(weights, &format!("{at}.post_attention_layernorm"), &out));
            let inner = normed(weights, &format!("{at}.pre_feedforward_layernorm"), row);
            let [gate, up] = ["gate", "up"].map(|which| times(weights, &format!("{at}.mlp.{which}_proj"), &inner));
            let through: Vec<f64> = gate.iter().zip(&up).map(|(g, u)| gelu(*g) * u).collect();
            let out = times(weights, &format!("{at}.mlp.down_proj"), &through);
            add(row, &normed(weights, &format!("{at}.post_feedforward_layernorm"), &out));
        }
    }
    let last = normed(weights, &format!("{text}.norm"), rows.last().unwrap());
    let logits = times(weights, &format!("{text}.embed_tokens"), &last);
    let most = logits.iter().copied().fold(f64::MIN, f64::max);
    let sum = most + logits.iter().map(|x| (x - most).exp()).sum::<f64>().ln();
    logits.iter().map(|x| x - sum).collect()
}

/// The tokens of messages, by the template and by what Gemma puts in the place of an image.
fn tokens(messages: &[&[Piece]]) -> Vec<usize> {
    let vocabulary = &tokenizer()["model"]["vocab"];
    let id = |word: &str| usize::try_from(vocabulary[word].as_u64().unwrap()).unwrap();
    let mut tokens = vec![BEGIN];
    for message in messages {
        for piece in *message {
            match piece {
                Word(word) => tokens.push(id(word)),
                Image(_) => {
                    let line = id("Ċ");
                    tokens.extend([line, line, START, SOFT, SOFT, SOFT, SOFT, END, line, line]);
                }
            }
        }
        tokens.push(EOT);
    }
    tokens
}

fn started() -> (Weights, tempfile::TempDir, Worker) {
    let folder = tempfile::tempdir().unwrap();
    let weights = weights();
    write(folder.path(), &weights);
    let worker = Worker::start(&["--model", &format!("eyes={}", folder.path().display())]);
    (weights, folder, worker)
}

#[test]
fn an_answer_to_images_is_the_one_that_the_models_layers_make_of_the_pixels() {
    let (weights, _folder, worker) = started();
    let turns: [&[&[Piece]]; 6] = [
        &[&[Image(1), Word("order")]],
        // The same image at another place, another at the same place, and none.
        &[&[Word("status"), Image(1), Word("order")]],
        &[&[Image(2), Word("order")]],
        &[&[Word("order")]],
        &[&[Image(2), Word("status"), Image(1), Word("name")]],
        &[&[Image(1), Word("order")], &[Word("status")], &[Word("name"), Image(2)]],
    ];
    for (number, turns) in turns.into_iter().enumerate() {
        let role = |index| if index % 2 == 0 { "user" } else { "assistant" };
        let message = |(index, pieces): (usize, &&[Piece])| json!({"role": role(index), "content": content(pieces)});
        let messages: Vec<Value> = turns.iter().enumerate().map(message).collect();
        let mut tokens = tokens(turns);
        let images = turns.iter().flat_map(|pieces| pieces.iter());
        let images: Vec<u64> =
            images.filter_map(|piece| if let Image(number) = piece { Some(*number) } else { None }).collect();
        let asked = json!({"model": "eyes", "messages": messages, "max_tokens": 8, "logprobs": true});
        let (status, answer) = worker.chat(asked.clone());
        assert_eq!((status, answer["usage"]["prompt_tokens"].as_u64()), (200, Some(tokens.len() as u64)), "{answer}");
        let (_, counted) = worker.post("/v1/chat/completions/count_tokens", &asked);
        assert_eq!(counted["input_tokens"].as_u64(), Some(tokens.len() as u64), "{counted}");
        let steps = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
        assert_eq!(steps.len(), 8);
        for (step, told) in steps.iter().enumerate() {
            let likely = next(&weights, &tokens, &images);
            let (first, most) = likely.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
            let got = told["logprob"].as_f64().unwrap();
            assert!((got - most).abs() < 1e-3, "request {number}, step {step}: {got}, not {most}");
            tokens.push(first);
        }
    }
}

#[test]
fn long_answers_to_an_image_come_to_their_end_and_are_the_same_again() {
    let (_weights, _folder, worker) = started();
    let ask = |image: u64| {
        let messages = json!([{"role": "user", "content": content(&[Image(image), Word("order")])}]);
        let chunks = worker.stream(json!({"model": "eyes", "messages": messages, "max_tokens": 48,
            "stream_options": {"include_usage": true}}));
        let chunks = chunks.chunks();
        let usage = chunks.iter().find_map(|chunk| chunk["usage"]["completion_tokens"].as_u64());
        let (text, _, reason) = told(&chunks);
        assert_eq!((usage, reason.as_str()), (Some(48), "length"));
        text
    };
    let first = ask(3);
    assert_ne!(ask(4), first, "another image");
    assert_eq!(ask(3), first, "the same image");
}

#[test]
fn images_that_cannot_be_read_are_refused_by_their_place_and_it_lives() {
    let (_weights, _folder, worker) = started();
    let whole = png(&rgb(1), PIXELS);
    let part = |bytes: &[u8]| image_part(&format!("data:image/png;base64,{}", base64(bytes)));
    let word = json!({"type": "text", "text": "order"});
    let ask = |model: &str, role: &str, content: Value| {
        worker.chat(json!({"model": model, "max_tokens": 1, "messages": [{"role": role, "content": content}]}))
    };
    for (model, role, wrong, says) in [
        ("eyes", "user", part(&whole[..whole.len() / 2]), "the image cannot be read"),
        ("eyes", "user", part(&png(&rgb(1), 60_000)), "60000 × 60000 pixels"),
        ("eyes", "user", part(b"<svg/>"), "none of PNG, JPEG and WebP"),
        ("eyes", "user", image_part("data:image/png;base64,!"), "not Base64"),
        ("eyes", "user", image_part("data:image/png,abc"), "no data: URL in Base64"),
        ("eyes", "user", image_part("http://127.0.0.1/a.png"), "this engine reaches no network"),
        ("eyes", "user", json!({"type": "image_url"}), "no 'image_url.url'"),
        ("eyes", "user", json!({"type": "input_audio"}), "'input_audio'"),
        ("eyes", "system", part(&whole), "'system' hold no images"),
        ("tiny", "user", part(&whole), "cannot read images: it is a model of text alone"),
    ] {
        let (status, problem) = ask(model, role, json!([word, wrong]));
        let error = &problem["error"];
        assert_eq!((status, &error["param"]), (400, &json!("messages[0].content[1]")), "{problem}");
        assert!(error["message"].as_str().unwrap().contains(says), "{problem}");
    }
    let many = ask("eyes", "user", json!(vec![part(&whole); 17]));
    assert_eq!((many.0, &many.1["error"]["param"]), (400, &json!("messages[0].content[16]")), "{}", many.1);
    let marked = json!([{"type": "text", "text": "<start_of_image>"}, part(&whole)]);
    let (status, problem) = ask("eyes", "user", marked);
    assert_eq!((status, &problem["error"]["param"]), (400, &json!("messages")), "{problem}");
    let (status, answer) = ask("eyes", "user", json!([word, part(&whole)]));
    assert_eq!(status, 200, "{answer}");
    let restarts = worker.get("/metrics").1;
    let restarts: Vec<&str> =
        restarts.lines().filter(|line| line.starts_with("frontdesk_engine_restarts_total{")).collect();
    assert!(restarts.len() == 2 && restarts.iter().all(|line| line.ends_with(" 0")), "{restarts:?}");
}
