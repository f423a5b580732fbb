//! From bytes to characters: byte order mark, then UTF-8, then what the HTML says, then a guess.
//!
//! Invariant: bytes that are no text (NUL bytes without a UTF-16 mark) are refused, so that a picture
//! renamed to `.txt` never becomes searchable noise.

use encoding_rs::Encoding;

use super::{Reject, kind::Format};

/// How much of a page is searched for `<meta charset>`: the limit of the HTML standard.
const PRESCAN: usize = 1024;

/// # Errors
/// [`Reject`] `invalid_file` when the bytes are not text.
pub(super) fn decode(filename: &str, bytes: &[u8], format: Format) -> Result<String, Reject> {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        let (text, broken) = encoding.decode_without_bom_handling(&bytes[mark..]);
        return if broken { Err(not_text(filename)) } else { Ok(text.into_owned()) };
    }
    if bytes.contains(&0) {
        return Err(not_text(filename));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(text.to_owned());
    }
    let declared = if format == Format::Html { declared(bytes) } else { None };
    if let Some(encoding) = declared {
        let (text, broken) = encoding.decode_without_bom_handling(bytes);
        if !broken {
            return Ok(text.into_owned());
        }
    }
    let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    let guess = detector.guess(None, chardetng::Utf8Detection::Deny);
    let (text, broken) = guess.decode_without_bom_handling(bytes);
    if broken {
        return Err(not_text(filename));
    }
    Ok(text.into_owned())
}

fn not_text(filename: &str) -> Reject {
    Reject::new("invalid_file", format!("'{filename}' is not text; save it as UTF-8 and add it again"))
}

/// The encoding named by `<meta charset=…>` or `<meta http-equiv=… content="…; charset=…">`.
fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let head: String = bytes.iter().take(PRESCAN).map(|b| char::from(b.to_ascii_lowercase())).collect();
    let meta = head.match_indices("<meta").find_map(|(at, _)| {
        let tag = &head[at..];
        let tag = &tag[..tag.find('>').unwrap_or(tag.len())];
        tag.split_once("charset").map(|(_, rest)| rest.to_owned())
    })?;
    let value = meta.trim_start().strip_prefix('=')?.trim_start().trim_start_matches(['"', '\'']);
    let end = value.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ';' | '/')).unwrap_or(value.len());
    Encoding::for_label(&value.as_bytes()[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_8_and_utf_16_with_marks_are_read() {
        assert_eq!(decode("a", b"\xef\xbb\xbfGr\xc3\xb6\xc3\x9fe", Format::Plain).as_deref(), Ok("Größe"));
        let utf16: Vec<u8> = "\u{feff}Größe".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(decode("a", &utf16, Format::Plain).as_deref(), Ok("Größe"));
    }

    #[test]
    fn the_page_s_own_word_on_its_encoding_is_believed() {
        let page = b"<html><head><meta http-equiv='Content-Type' content='text/html; charset=iso-8859-2'></head>\xb3\xf3d\xbc</html>";
        assert!(decode("a", page, Format::Html).expect("reads").contains("łódź"));
    }

    #[test]
    fn old_western_text_without_a_word_on_it_is_guessed() {
        let text = b"Die R\xfcckgabe ist innerhalb von 30 Tagen m\xf6glich. Die Gr\xf6\xdfe w\xe4hlen Sie selbst.";
        assert!(decode("a", text, Format::Plain).expect("reads").contains("Rückgabe"));
    }

    #[test]
    fn bytes_of_a_picture_are_refused() {
        let refused = decode("a.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Format::Plain).expect_err("no text");
        assert_eq!(refused.code, "invalid_file");
        assert!(refused.message.contains("a.txt"));
    }
}
