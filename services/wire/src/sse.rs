//! Server-sent events: a bounded decoder and an encoder. Bytes in, frames out, no I/O.
//!
//! The decoder keeps the sender's bytes: a block is the exact slice up to and with its blank line, so a
//! proxy can forward what it has looked at. Lines may end in LF, CRLF or CR (WHATWG HTML § 9.2.5).
//! Invariant: it never holds more than `limit` bytes of an unfinished block.

use std::{borrow::Cow, fmt};

use bytes::{Bytes, BytesMut};

/// An unfinished block grew past the decoder's limit (in bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong(pub usize);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an event of more than {} bytes", self.0)
    }
}

/// Cuts a byte stream into event blocks.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// Where the line being scanned begins.
    line: usize,
    /// Bytes before this offset hold no line end that was not seen.
    scanned: usize,
    limit: usize,
}

impl Decoder {
    /// `limit`: the most bytes one block may have.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), line: 0, scanned: 0, limit }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole block with its terminating blank line; None until more bytes come.
    ///
    /// # Errors
    /// `TooLong` when the unfinished block is over the limit.
    pub fn block(&mut self) -> Result<Option<Bytes>, TooLong> {
        while let Some(found) = memchr::memchr2(b'\n', b'\r', &self.buffer[self.scanned..]) {
            let at = self.scanned + found;
            let after = match (self.buffer[at], self.buffer.get(at + 1)) {
                (b'\r', Some(b'\n')) => at + 2,
                (b'\r', None) => break, // CR or half a CRLF: the next byte tells
                _ => at + 1,
            };
            let blank = at == self.line;
            self.line = after;
            self.scanned = after;
            if blank {
                self.line = 0;
                self.scanned = 0;
                return Ok(Some(self.buffer.split_to(after).freeze()));
            }
        }
        if self.buffer.last() != Some(&b'\r') {
            self.scanned = self.buffer.len();
        }
        if self.buffer.len() > self.limit { Err(TooLong(self.limit)) } else { Ok(None) }
    }

    /// What is left when the stream ends: a last block whose blank line never came, or nothing.
    pub fn rest(&mut self) -> Option<Bytes> {
        self.line = 0;
        self.scanned = 0;
        let rest = self.buffer.split().freeze();
        (!rest.is_empty()).then_some(rest)
    }
}

/// The `data` of a block, lines joined by LF; None when it has none (a comment, an id alone).
#[must_use]
pub fn data(block: &[u8]) -> Option<Cow<'_, [u8]>> {
    field(block, b"data")
}

/// The last `event` or `id` … of a block.
#[must_use]
pub fn field<'a>(block: &'a [u8], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    let block = block.strip_prefix(b"\xef\xbb\xbf").unwrap_or(block);
    let mut found: Option<Cow<'a, [u8]>> = None;
    for line in block.split(|b| matches!(b, b'\n' | b'\r')) {
        let Some(value) = line.strip_prefix(name) else { continue };
        let value = match value.split_first() {
            None => value,
            Some((b':', rest)) => rest.strip_prefix(b" ").unwrap_or(rest),
            Some(_) => continue,
        };
        match &mut found {
            Some(joined) if name == b"data" => {
                let joined = joined.to_mut();
                joined.push(b'\n');
                joined.extend_from_slice(value);
            }
            _ => found = Some(Cow::Borrowed(value)),
        }
    }
    found
}

/// One event as bytes. `data` must hold no line break (JSON never does).
#[must_use]
pub fn encode(id: Option<i64>, event: Option<&str>, data: &str) -> Bytes {
    let mut out = String::with_capacity(data.len() + 48);
    if let Some(event) = event {
        out.push_str("event: ");
        out.push_str(event);
        out.push('\n');
    }
    if let Some(id) = id {
        out.push_str("id: ");
        out.push_str(&id.to_string());
        out.push('\n');
    }
    for line in data.split('\n') {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
    Bytes::from(out)
}

/// A comment that keeps intermediaries from closing a silent stream.
pub const HEARTBEAT: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// OpenAI's end of a chat stream.
pub const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn blocks(pieces: &[&[u8]], limit: usize) -> (Vec<Bytes>, Option<Bytes>) {
        let mut decoder = Decoder::new(limit);
        let mut out = vec![];
        for piece in pieces {
            decoder.push(piece);
            while let Some(block) = decoder.block().expect("within the limit") {
                out.push(block);
            }
        }
        (out, decoder.rest())
    }

    #[test]
    fn line_ends_may_be_lf_crlf_or_cr() {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("event: a{end}data: 1{end}data:2{end}{end}: hi{end}{end}data: 3{end}{end}x");
            let (blocks, rest) = blocks(&[text.as_bytes()], 1000);
            let seen: Vec<_> = blocks.iter().map(|b| data(b).map(|d| d.into_owned())).collect();
            assert_eq!(seen, [Some(b"1\n2".to_vec()), None, Some(b"3".to_vec())], "{end:?}");
            assert_eq!(rest.as_deref(), Some(b"x".as_slice()));
        }
    }

    #[test]
    fn an_endless_line_is_refused_at_the_limit() {
        let mut decoder = Decoder::new(10);
        decoder.push(b"data: 12345");
        assert_eq!(decoder.block(), Err(TooLong(10)));
    }

    #[test]
    fn encoded_events_decode_to_what_went_in() {
        let bytes = encode(Some(7), Some("x.y"), r#"{"a":1}"#);
        assert_eq!(field(&bytes, b"id").as_deref(), Some(b"7".as_slice()));
        assert_eq!(field(&bytes, b"event").as_deref(), Some(b"x.y".as_slice()));
        assert_eq!(data(&bytes).as_deref(), Some(br#"{"a":1}"#.as_slice()));
    }

    proptest! {
        // However the bytes are cut on their way, the same blocks come out and no byte is lost.
        #[test]
        fn cuts_do_not_matter(text in "(data: ?[a-z\u{e4}]{0,6}(\n|\r\n|\r)|\n|\r\n|: c\n){0,20}", cut in 1usize..7) {
            let whole = blocks(&[text.as_bytes()], 10_000);
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(cut).collect();
            let cut = blocks(&pieces, 10_000);
            let glue = |(b, r): &(Vec<Bytes>, Option<Bytes>)| [b.concat(), r.clone().unwrap_or_default().to_vec()].concat();
            prop_assert_eq!(glue(&cut), text.as_bytes());
            prop_assert_eq!(glue(&whole), text.as_bytes());
            if !text.contains('\r') {
                prop_assert_eq!(whole, cut);
            }
        }
    }
}
