//! Keys, tokens and passwords that give themselves away by their shape.
//!
//! Only shapes that their makers document: a long random-looking word alone is no secret, so that order
//! numbers, hashes and product codes pass.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

/// How far behind the newest character a secret can begin without being known as one yet: a token's
/// first part (the longest here is the header of a JWT) must be seen before it is recognised.
pub(crate) const WINDOW: usize = 256;

/// Shape, and whether the match must hold a digit (words joined by hyphens look like some keys).
const SHAPES: &[(&str, bool)] = &[
    // Frontdesk's own keys.
    (r"\bfd_[0-9a-hjkmnp-tv-z]{26}_[0-9a-hjkmnp-tv-z]{20,}(?:_[0-9a-hjkmnp-tv-z]{1,8})?", false),
    // OpenAI, Anthropic, OpenRouter, Langfuse and others with `sk-`.
    (r"\bsk-(?:proj|ant|svcacct|admin|or|lf|None)-[A-Za-z0-9_\-]{20,}", true),
    (r"\bsk-[A-Za-z0-9]{32,}", true),
    // Stripe.
    (r"\b(?:sk|rk|whsec)_(?:live_|test_)?[A-Za-z0-9]{24,}", true),
    // AWS access key ids.
    (r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b", false),
    // GitHub, GitLab, Slack, Google, Hugging Face, npm, PyPI, SendGrid, DigitalOcean, Shopify, Groq, xAI.
    (r"\bgh[pousr]_[A-Za-z0-9]{36,}", false),
    (r"\bgithub_pat_[A-Za-z0-9_]{40,}", false),
    (r"\bglpat-[A-Za-z0-9_\-]{20,}", true),
    (r"\bxox[abeoprs]-[A-Za-z0-9\-]{10,}", true),
    (r"\bAIza[A-Za-z0-9_\-]{35}", false),
    (r"\bhf_[A-Za-z0-9]{30,}", false),
    (r"\bnpm_[A-Za-z0-9]{36}", false),
    (r"\bpypi-[A-Za-z0-9_\-]{50,}", true),
    (r"\bSG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}", false),
    (r"\bdop_v1_[a-f0-9]{64}", false),
    (r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}", false),
    (r"\b(?:gsk|xai)[_\-][A-Za-z0-9]{40,}", true),
    // JSON web tokens (RFC 7519): known from the header and the beginning of the claims.
    (r"\beyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]*(?:\.[A-Za-z0-9_\-]*)?", false),
    // Private keys (RFC 7468), to their end or to the end of the text.
    (
        r"(?s)-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----|\z)",
        false,
    ),
    // Addresses with a password in them.
    (r"\b[a-zA-Z][a-zA-Z0-9+.\-]{1,20}://[^\s/:@\x22'<>]{1,100}:[^\s/@\x22'<>]{1,200}@[^\s/\x22'<>]+", false),
];

static COMPILED: LazyLock<Vec<(Regex, bool)>> =
    LazyLock::new(|| SHAPES.iter().filter_map(|(shape, digit)| Regex::new(shape).ok().map(|r| (r, *digit))).collect());

pub(crate) fn find(text: &str) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    for (shape, needs_digit) in COMPILED.iter() {
        let finds = shape.find_iter(text).filter(|m| !needs_digit || m.as_str().bytes().any(|b| b.is_ascii_digit()));
        out.extend(finds.map(|m| m.range()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        find(text).into_iter().map(|r| &text[r]).collect()
    }

    #[test]
    fn every_shape_compiles() {
        assert_eq!(COMPILED.len(), SHAPES.len());
    }

    // Made-up values in the makers' shapes, put together here so that no scanner takes them for real ones.
    #[test]
    fn secrets_are_found_by_their_makers_shapes() {
        let word = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8";
        let id = "01jd00000000000000000000aa";
        for secret in [
            format!("sk-proj-{word}"),
            format!("sk-ant-api03-{word}"),
            format!("sk-{word}"),
            format!("sk_live_{word}"),
            format!("AKIA{}", "IOSFODNN7EXAMPLE"),
            format!("ghp_{word}"),
            format!("glpat-{}", &word[..20]),
            format!("xoxb-{}", &word[..24]),
            format!("AIza{}", &word[..35]),
            format!("hf_{}", &word[..34]),
            format!("fd_{id}_{id}{id}_00aa00aa"),
            format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.{word}"),
            "postgres://shop:s3cret@db.example:5432".to_owned(),
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----".to_owned(),
        ] {
            assert_eq!(found(&format!("Here: {secret} ok?")), [secret.as_str()]);
        }
    }

    #[test]
    fn a_private_key_that_is_still_being_written_is_found() {
        assert_eq!(found("x -----BEGIN PRIVATE KEY-----\nMIIEv"), ["-----BEGIN PRIVATE KEY-----\nMIIEv"]);
    }

    #[test]
    fn everyday_text_is_left() {
        for text in [
            "sk-learn tutorial for complete beginners",
            "The AKIA film festival",
            "order 3f786850e387550fdab836ed7e6dc881de23001b",
            "fd_lamp_black",
            "https://lamplane.example/returns?ref=mail#top",
            "10:30@office",
            "-----BEGIN CERTIFICATE-----",
            "eyJ is how it begins",
            "sk-institute-of-technology-and-more",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }
}
