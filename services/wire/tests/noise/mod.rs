//! JSON as no serializer of ours writes it: members nobody has heard of at every level, and all that the grammar allows.
//!
//! A document goes in as a value and comes out as text with unknown members put into every object. Everything is drawn
//! from a seed, so a failure names the number that makes it again. Used by the tests of this crate, by the end-to-end
//! tests (`tests/it/lossless.rs`) and by the fuzz targets. Invariant: what comes out is valid JSON (RFC 8259).

#![allow(dead_code)] // each test program uses a part

pub mod documents;
pub mod mutant;

use serde_json::Value;

/// Where everything is drawn from: SplitMix64 (Steele, Lea, Flood 2014).
pub struct Noise(u64);

/// Scalars that parsers like to change or to refuse.
const SCALARS: [&str; 26] = [
    "null",
    "true",
    "-0",
    "-0.0",
    "1.50e3",
    "1E+2",
    "12345678901234567890123456789012345678901234567890",
    "0.1000000000000000055511151231257827021181583404541015625",
    "1e400",
    "-1e-4000",
    "9007199254740993",
    "18446744073709551616",
    r#""""#,
    r#""\u0000""#,
    r#""\ud83d\ude00 \u00e9""#,
    r#""\ud800""#,
    r#""half \udc00 of a pair""#,
    r#""\ud83d\ud83d\ude00""#,
    r#""\/\b\f\n\r\t\"\\""#,
    "\"\u{2028}\u{2029}\u{7f}\u{feff}\"",
    "\"\u{1f600} gr\u{fc}\u{df}e \u{6771}\u{4eac}\"",
    r#""data: [DONE]""#,
    r#""\"usage\":{\"prompt_tokens\":1}""#,
    r#""{\"model\":\"other\"}""#,
    "[]",
    "{}",
];

/// Names of members, quoted as they are written. None of them is a member of any API.
const NAMES: [&str; 8] = [
    r#""x_vendor""#,
    r#""x_\u0065scaped""#,
    r#""x_\"quoted\" \\""#,
    r#""x_gr\u00fc\u00dfe""#,
    "\"x_\u{6771}\u{4eac}\"",
    r#""x_model""#,
    r#""X-Usage""#,
    r#""x_\n""#,
];

/// Blanks that may stand between two tokens.
const BLANKS: [&str; 6] = ["", "", "", " ", "\n\t", "\r\n "];

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number under `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(self.draw() % end).unwrap_or_default()
    }

    /// Once in `n`.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// The document with unknown members in every object, and blanks where they may stand but for line ends.
    pub fn with_unknown(&mut self, document: &Value) -> String {
        let mut out = String::new();
        self.write(document, true, &mut out);
        out
    }

    /// The document with blanks alone.
    pub fn with_blanks(&mut self, document: &Value) -> String {
        let mut out = String::new();
        self.write(document, false, &mut out);
        out
    }

    fn write(&mut self, value: &Value, unknown: bool, out: &mut String) {
        match value {
            Value::Object(members) => {
                out.push('{');
                let mut first = true;
                let mut begin = |noise: &mut Self, out: &mut String| {
                    out.push_str(if std::mem::take(&mut first) { "" } else { "," });
                    out.push_str(noise.pick(&BLANKS));
                };
                for (name, value) in members {
                    if unknown && self.once_in(2) {
                        begin(self, out);
                        self.member(out);
                    }
                    begin(self, out);
                    out.push_str(&Value::from(name.as_str()).to_string());
                    out.push_str(self.pick(&BLANKS));
                    out.push(':');
                    out.push_str(self.pick(&BLANKS));
                    // What a model says to a tool is no wire: every byte of it is its arguments.
                    if name == "input" {
                        out.push_str(&value.to_string());
                    } else {
                        self.write(value, unknown, out);
                    }
                }
                if unknown {
                    begin(self, out);
                    self.member(out);
                }
                out.push_str(self.pick(&BLANKS));
                out.push('}');
            }
            Value::Array(list) => {
                out.push('[');
                for (i, value) in list.iter().enumerate() {
                    out.push_str(if i == 0 { "" } else { "," });
                    out.push_str(self.pick(&BLANKS));
                    self.write(value, unknown, out);
                }
                out.push(']');
            }
            scalar => out.push_str(&scalar.to_string()),
        }
    }

    /// A member that no API has, now and then twice in one object.
    fn member(&mut self, out: &mut String) {
        let name = self.pick(&NAMES);
        let times = if self.once_in(8) { 2 } else { 1 };
        for i in 0..times {
            out.push_str(if i == 0 { "" } else { "," });
            out.push_str(name);
            out.push(':');
            self.value(3, out);
        }
    }

    fn value(&mut self, depth: usize, out: &mut String) {
        match self.below(if depth == 0 { 4 } else { 8 }) {
            4 | 5 => {
                out.push('[');
                for i in 0..self.below(3) {
                    out.push_str(if i == 0 { "" } else { ", " });
                    self.value(depth - 1, out);
                }
                out.push(']');
            }
            6 => {
                out.push_str("{\"model\":");
                self.value(depth - 1, out);
                out.push_str(",\"usage\" : ");
                self.value(depth - 1, out);
                out.push('}');
            }
            7 if self.once_in(4) => {
                // Deeper than any parser with a stack goes along.
                let deep = 100 + self.below(900);
                out.push_str(&"[".repeat(deep));
                out.push_str(&"]".repeat(deep));
            }
            7 if self.once_in(8) => {
                out.push('"');
                out.push_str(&"huge ".repeat(20_000));
                out.push('"');
            }
            _ => out.push_str(self.pick(&SCALARS)),
        }
    }

    /// Bytes cut into pieces, some of them empty.
    pub fn cut<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut out = vec![];
        while !bytes.is_empty() {
            let most = if self.once_in(2) { 3 } else { 300 };
            let (piece, rest) = bytes.split_at(self.below(most.min(bytes.len() + 1)));
            out.push(piece);
            bytes = rest;
        }
        out
    }

    /// The event in the lines that a server may choose: comments, an id, other line ends, data on several lines.
    pub fn event(&mut self, name: Option<&str>, data: &str, end: &str) -> String {
        let mut out = String::new();
        if self.once_in(4) {
            out.push_str(&format!(": a comment{end}"));
        }
        if let Some(name) = name {
            out.push_str(&format!("event: {name}{end}"));
        }
        if self.once_in(4) {
            out.push_str(&format!("id: 7{end}retry: 10{end}unknown field{end}"));
        }
        // A line's end inside the JSON is a blank of it, and a new line of data.
        for line in data.split(['\n', '\r']).filter(|line| !line.is_empty()) {
            out.push_str(self.pick(&["data: ", "data:"]));
            out.push_str(line);
            out.push_str(end);
        }
        out.push_str(end);
        out
    }
}
