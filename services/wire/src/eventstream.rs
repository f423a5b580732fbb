//! AWS event streams (`application/vnd.amazon.eventstream`): a bounded decoder of binary messages. No I/O.
//!
//! A message is a prelude (its length, the headers' length, a CRC-32 of both), headers, a payload, and a CRC-32 of
//! all before it; numbers are big-endian. The decoder keeps the sender's bytes: a message is its exact slice.
//! Source: "Amazon EventStream Specification" (Smithy) and the streaming pages of AWS's developer guides.
//! Invariant: it never holds more than `limit` bytes of an unfinished message. It checks the prelude, by which it
//! cuts; [`Message::read`] checks the rest.

use std::fmt;

use bytes::{Bytes, BytesMut};

/// The media type of such a stream.
pub const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

/// Two lengths and their checksum, in bytes.
const PRELUDE: usize = 12;

/// A checksum, in bytes.
const CRC: usize = 4;

/// Why bytes are no such stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A message is longer than the decoder's limit (in bytes).
    TooLong(usize),
    /// The bytes were changed on their way, or are none of this format.
    Checksum,
    /// The lengths of a message do not add up, or its headers do not read.
    Malformed,
    /// The stream ends inside a message.
    Cut,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(limit) => write!(f, "an event of more than {limit} bytes"),
            Self::Checksum => f.write_str("an event whose checksum does not match"),
            Self::Malformed => f.write_str("an event that does not read as an AWS event"),
            Self::Cut => f.write_str("an answer that broke off in the middle of an event"),
        }
    }
}

impl std::error::Error for Fault {}

/// Cuts a byte stream into messages.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    limit: usize,
}

impl Decoder {
    /// `limit`: the most bytes one message may have.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The bytes of the next whole message; None until more come.
    ///
    /// # Errors
    /// The [`Fault`]; what follows in the stream cannot be read then.
    pub fn message(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(total) = self.next_length()? else { return Ok(None) };
        if self.buffer.len() < total {
            return Ok(None);
        }
        Ok(Some(self.buffer.split_to(total).freeze()))
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// `Cut` when it ended inside a message.
    pub fn end(&self) -> Result<(), Fault> {
        if self.buffer.is_empty() { Ok(()) } else { Err(Fault::Cut) }
    }

    /// The length of the message that the buffer begins with, once its prelude is here.
    fn next_length(&self) -> Result<Option<usize>, Fault> {
        let Some(prelude) = self.buffer.first_chunk::<PRELUDE>() else { return Ok(None) };
        let (total, _) = lengths(prelude)?;
        if total > self.limit { Err(Fault::TooLong(self.limit)) } else { Ok(Some(total)) }
    }
}

/// One message, read in place.
#[derive(Debug)]
pub struct Message<'a> {
    /// Headers whose value is text, in their order: the only ones that say what a message is.
    headers: Vec<(&'a str, &'a str)>,
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// # Errors
    /// `Checksum`; `Malformed` also when these are not exactly the bytes of one message.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        let (prelude, _) = bytes.split_first_chunk::<PRELUDE>().ok_or(Fault::Malformed)?;
        let (total, headers) = lengths(prelude)?;
        if total != bytes.len() {
            return Err(Fault::Malformed);
        }
        let (checked, crc) = bytes.split_last_chunk::<CRC>().ok_or(Fault::Malformed)?;
        if crc32fast::hash(checked) != u32::from_be_bytes(*crc) {
            return Err(Fault::Checksum);
        }
        let (headers, payload) = checked[PRELUDE..].split_at_checked(headers).ok_or(Fault::Malformed)?;
        Ok(Self { headers: read_headers(headers).ok_or(Fault::Malformed)?, payload })
    }

    /// The text of a header (`:message-type`, `:event-type`, …); None when it is absent or no text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// Length of the message and of its headers, as a prelude says. They add up.
fn lengths(prelude: &[u8; PRELUDE]) -> Result<(usize, usize), Fault> {
    let number = |at: usize| u32::from_be_bytes([prelude[at], prelude[at + 1], prelude[at + 2], prelude[at + 3]]);
    if crc32fast::hash(&prelude[..8]) != number(8) {
        return Err(Fault::Checksum);
    }
    let (total, headers) = (number(0) as usize, number(4) as usize);
    let fixed = PRELUDE + CRC;
    if total < fixed || headers > total - fixed { Err(Fault::Malformed) } else { Ok((total, headers)) }
}

/// A header is a name (its length in one byte), a type, and a value whose length the type gives or two bytes do.
fn read_headers(mut bytes: &[u8]) -> Option<Vec<(&str, &str)>> {
    let mut out = vec![];
    while let Some((length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let (kind, rest) = rest.split_first()?;
        let (length, rest) = match kind {
            0 | 1 => (0, rest), // true, false
            2 => (1, rest),
            3 => (2, rest),
            4 => (4, rest),
            5 | 8 => (8, rest), // a long, a time
            9 => (16, rest),    // a UUID
            6 | 7 => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        if *kind == 7 {
            out.push((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?));
        }
        bytes = rest;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message with these headers: name, type, and the value's bytes, length included where the type has one.
    fn message(headers: &[(&str, u8, &[u8])], payload: &[u8]) -> Vec<u8> {
        let mut head = vec![];
        for (name, kind, value) in headers {
            head.push(name.len() as u8);
            head.extend_from_slice(name.as_bytes());
            head.push(*kind);
            head.extend_from_slice(value);
        }
        let total = (PRELUDE + head.len() + payload.len() + CRC) as u32;
        let mut out = [total.to_be_bytes(), (head.len() as u32).to_be_bytes()].concat();
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(payload);
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        out
    }

    fn text(value: &str) -> Vec<u8> {
        [&(value.len() as u16).to_be_bytes(), value.as_bytes()].concat()
    }

    fn all(pieces: &[&[u8]], limit: usize) -> Result<Vec<Bytes>, Fault> {
        let mut decoder = Decoder::new(limit);
        let mut out = vec![];
        for piece in pieces {
            decoder.push(piece);
            while let Some(message) = decoder.message()? {
                out.push(message);
            }
        }
        decoder.end().map(|()| out)
    }

    // Oracle: the test vectors of botocore, tests/unit/test_eventstream.py (EMPTY_MESSAGE, PAYLOAD_NO_HEADERS,
    // PAYLOAD_ONE_STR_HEADER, ALL_HEADERS_TYPES), written by another implementation.
    #[test]
    fn the_vectors_of_another_implementation_read() {
        let empty = b"\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2H\xeb}\x98\xc8\xff";
        let read = Message::read(empty).expect("a message");
        assert_eq!((read.payload, read.headers.len()), (b"".as_slice(), 0));

        let payload = b"\x00\x00\x00\x1d\x00\x00\x00\x00\xfdR\x8cZ{'foo':'bar'}\xc3e96";
        assert_eq!(Message::read(payload).expect("a message").payload, b"{'foo':'bar'}");

        let one = b"\x00\x00\x00=\x00\x00\x00 \x07\xfd\x83\x96\x0ccontent-type\x07\x00\x10application/json{'foo':'bar'}\x8d\x9c\x08\xb1";
        let read = Message::read(one).expect("a message");
        assert_eq!(
            (read.header("content-type"), read.payload),
            (Some("application/json"), b"{'foo':'bar'}".as_slice())
        );

        let kinds = b"\x00\x00\x00\x62\x00\x00\x00\x52\x03\xb5\xcb\x9c\x010\x00\x011\x01\x012\x02\x02\x013\x03\x00\x03\x014\x04\x00\x00\x00\x04\x015\x05\x00\x00\x00\x00\x00\x00\x00\x05\x016\x06\x00\x05bytes\x017\x07\x00\x04utf8\x018\x08\x00\x00\x00\x00\x00\x00\x00\x08\x019\x090123456789abcdef\x63\x35\x36\x71";
        let read = Message::read(kinds).expect("a message");
        assert_eq!((read.header("7"), read.header("6"), read.header("9")), (Some("utf8"), None, None));
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let good = message(&[(":event-type", 7, &text("messageStop"))], br#"{"stopReason":"end_turn"}"#);
        assert!(Message::read(&good).is_ok());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            assert_eq!(Message::read(&bad).expect_err("refused"), Fault::Checksum, "byte {at}");
        }
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let prelude = |total: u32, headers: u32| {
            let mut out = [total.to_be_bytes(), headers.to_be_bytes()].concat();
            out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
            out
        };
        for (bytes, want) in [
            (prelude(15, 0), Fault::Malformed),
            (prelude(16, 1), Fault::Malformed),
            (prelude(0, 0), Fault::Malformed),
            (prelude(101, 0), Fault::TooLong(100)),
            (prelude(u32::MAX, u32::MAX - 16), Fault::TooLong(100)),
            (prelude(50, 0), Fault::Cut),
            (b"HTTP/1.1 200".to_vec(), Fault::Checksum),
            (b"no".to_vec(), Fault::Cut),
        ] {
            assert_eq!(all(&[&bytes], 100).expect_err("refused"), want);
        }
        for headers in [
            &[("", 10, b"".as_slice())][..],         // no such type
            &[("a", 7, b"\x00\x05abc".as_slice())],  // longer than there is
            &[("a", 7, b"\x00\x01\xff".as_slice())], // no UTF-8
            &[("a", 6, b"\x00".as_slice())],
            &[("a", 9, b"short".as_slice())],
        ] {
            assert_eq!(Message::read(&message(headers, b"x")).expect_err("refused"), Fault::Malformed);
        }
    }

    proptest! {
        // However the bytes are cut on their way, the same messages come out and no byte is lost.
        #[test]
        fn cuts_do_not_matter(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5), cut in 1usize..50) {
            let messages: Vec<Vec<u8>> = payloads.iter().map(|p| message(&[("k", 7, &text("v"))], p)).collect();
            let stream = messages.concat();
            let pieces: Vec<&[u8]> = stream.chunks(cut).collect();
            let got = all(&pieces, 1000).expect("a good stream");
            prop_assert_eq!(&got, &messages);
            for (bytes, payload) in got.iter().zip(&payloads) {
                prop_assert_eq!(Message::read(bytes).expect("a message").payload, &payload[..]);
            }
        }

        // Any bytes at all, and good messages with some bytes changed and the checksums made right again.
        #[test]
        fn nonsense_is_an_error_and_never_a_panic(noise in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..100, byte: u8) {
            let _ = all(&[&noise], 150);
            let _ = Message::read(&noise);
            let mut changed = message(&[("k", 7, &text("v")), ("n", 4, b"1234")], &noise);
            let at = at % changed.len();
            changed[at] = byte;
            let crc = crc32fast::hash(&changed[..8]).to_be_bytes();
            changed[8..12].copy_from_slice(&crc);
            let end = changed.len() - CRC;
            let crc = crc32fast::hash(&changed[..end]).to_be_bytes();
            changed[end..].copy_from_slice(&crc);
            let _ = Message::read(&changed);
            let _ = all(&[&changed], 150);
        }
    }
}
