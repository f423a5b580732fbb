//! What a server says beside 401 and 403: the header `WWW-Authenticate` (RFC 9110, section 11.6.1; RFC 6750, section 3).

use http::{HeaderMap, header};

/// Bytes of such headers that are looked at.
const MOST: usize = 8 << 10;

/// Bytes of a scope at most.
const LONGEST: usize = 1 << 10;

/// What stands behind the scheme `Bearer`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// Where the metadata of the resource are (RFC 9728, section 5.1).
    pub(crate) resource_metadata: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) error: Option<String>,
}

impl Challenge {
    /// None: it asks for no bearer token.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut found: Option<Self> = None;
        for value in headers.get_all(header::WWW_AUTHENTICATE) {
            let Ok(text) = value.to_str() else { continue };
            let mut of_ours = false;
            for part in parts(text.get(..MOST).unwrap_or(text)) {
                match part {
                    Part::Scheme(name) => {
                        of_ours = name.eq_ignore_ascii_case("bearer") && found.is_none();
                        if of_ours {
                            found = Some(Self::default());
                        }
                    }
                    Part::Member(name, value) => {
                        let Some(found) = found.as_mut().filter(|_| of_ours && !value.is_empty()) else { continue };
                        match name.to_ascii_lowercase().as_str() {
                            "resource_metadata" => found.resource_metadata = Some(value),
                            "scope" => found.scope = Some(value),
                            "error" => found.error = Some(value),
                            _ => {}
                        }
                    }
                }
            }
        }
        found
    }

    /// The token is good and allows too little; the scope that is wanted, where it is one.
    pub(crate) fn wanted(&self) -> Option<&str> {
        self.scope.as_deref().filter(|scope| self.error.as_deref() == Some("insufficient_scope") && is_scope(scope))
    }
}

/// A list of scope-tokens (RFC 6749, section 3.3) of a length that one has.
fn is_scope(text: &str) -> bool {
    text.len() <= LONGEST && text.bytes().all(|b| matches!(b, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~'))
}

enum Part<'t> {
    Scheme(&'t str),
    Member(&'t str, String),
}

fn parts(mut text: &str) -> Vec<Part<'_>> {
    let mut parts = vec![];
    loop {
        text = text.trim_start_matches([' ', '\t', ',']);
        let end = text.find([' ', '\t', ',', '=']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        if word.is_empty() && rest.is_empty() {
            return parts;
        }
        let Some(rest) = rest.trim_start().strip_prefix('=') else {
            parts.push(Part::Scheme(word));
            text = rest;
            continue;
        };
        let (value, rest) = value(rest.trim_start());
        parts.push(Part::Member(word, value));
        text = rest;
    }
}

/// A word, or what stands in quotes.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(header::WWW_AUTHENTICATE, text.parse().expect("a header"));
        }
        Challenge::of(&headers)
    }

    #[test]
    fn the_bearers_members_are_found_among_others() {
        let full = r#"Bearer error="insufficient_scope", scope="a b", resource_metadata="https://h/x,y""#;
        let want = Challenge {
            resource_metadata: Some("https://h/x,y".into()),
            scope: Some("a b".into()),
            error: Some("insufficient_scope".into()),
        };
        assert_eq!(read(&[full]).as_ref(), Some(&want));
        assert_eq!(want.wanted(), Some("a b"));
        assert_eq!(read(&[r#"Basic realm="shop", scope="no""#, full]), Some(want.clone()));
        let mixed = r#"Basic realm="a \"b\", Bearer scope=x", bEARER scope = c ,error=invalid_token, Digest scope="d""#;
        let mixed = read(&[mixed]).expect("a challenge");
        assert_eq!((mixed.scope.as_deref(), mixed.error.as_deref()), (Some("c"), Some("invalid_token")));
        assert_eq!(mixed.wanted(), None);
        for scope in ["a \u{fc}".to_owned(), "x".repeat(LONGEST + 1), "a\tb".to_owned()] {
            let error = Some("insufficient_scope".to_owned());
            assert_eq!(Challenge { scope: Some(scope), error, ..Challenge::default() }.wanted(), None);
        }
        assert_eq!(read(&["Bearer"]), Some(Challenge::default()));
        for none in [&[][..], &["Basic realm=\"Bearer\""], &["Negotiate abc=="], &["=,=\"", "\\"]] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }
}
