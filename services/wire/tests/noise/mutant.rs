//! Documents made wrong: a good one with a few things changed, in its structure and in its bytes.

use serde_json::{Value, json};

use super::Noise;

/// Pieces of text that parsers trip over.
const TOKENS: [&str; 20] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ",",
    ":",
    "null",
    "-",
    "1e999",
    "\\u",
    "\\ud800",
    "\u{0}",
    "\u{feff}",
    "\r",
    "\n\n",
    "data: ",
    "event: ",
    "\u{1f600}",
];

impl Noise {
    /// The document with up to three of its values replaced, then perhaps unknown members.
    pub fn mutant(&mut self, document: &Value) -> String {
        let mut document = document.clone();
        for _ in 0..self.below(4) {
            let mut places = vec![];
            places_of(&document, String::new(), &mut places);
            let from = places[self.below(places.len())].clone();
            let at = places[self.below(places.len())].clone();
            let new = match self.below(4) {
                // Something that is right elsewhere.
                0 => document.pointer(&from).cloned().unwrap_or_default(),
                _ => self.odd(),
            };
            match (self.below(6), document.pointer_mut(&at)) {
                (0, Some(Value::Array(list))) => list.push(new),
                (1, Some(Value::Array(list))) => list.clear(),
                (2, Some(Value::Object(members))) => {
                    let names: Vec<String> = members.keys().cloned().collect();
                    if !names.is_empty() {
                        members.remove(&names[self.below(names.len())]);
                    }
                }
                (_, Some(value)) => *value = new,
                (_, None) => {}
            }
        }
        if self.once_in(3) { self.with_unknown(&document) } else { document.to_string() }
    }

    fn odd(&mut self) -> Value {
        match self.below(16) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(-1),
            3 => json!(u64::MAX),
            4 => json!(1e308),
            5 => json!(0.5),
            6 => json!(""),
            7 => json!("a word of tomorrow"),
            8 => json!([]),
            9 => json!({}),
            10 => json!([[[null]]]),
            11 => json!({ "type": "unheard_of", "text": 7 }),
            12 => json!("\u{0}\u{feff}\u{1f600}\u{2028}\\\""),
            13 => json!("{\"a\":[1,2"),
            14 => json!("data:image/png;base64,aGk="),
            _ => json!("x".repeat(2000)),
        }
    }

    /// Bytes with up to three changes.
    pub fn wrong_bytes(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..1 + self.below(3) {
            if bytes.is_empty() {
                return bytes;
            }
            let at = self.below(bytes.len());
            let to = (at + 1 + self.below(40)).min(bytes.len());
            match self.below(6) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => drop(bytes.drain(at..to)),
                2 => {
                    let again = bytes[at..to].to_vec();
                    bytes.splice(at..at, again);
                }
                3 => {
                    let token = self.pick(&TOKENS).as_bytes().to_vec();
                    bytes.splice(at..at, token);
                }
                4 => bytes.truncate(at),
                _ => bytes[at] = u8::try_from(self.below(256)).unwrap_or(0),
            }
        }
        bytes
    }
}

fn places_of(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| {
                places_of(value, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), places)
            });
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, value)| places_of(value, format!("{at}/{i}"), places))
        }
        _ => {}
    }
    places.push(at);
}
