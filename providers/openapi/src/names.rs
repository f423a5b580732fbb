//! Names that every model API takes for functions: 1 to 64 letters, digits, `_` and `-`, each once.

use std::collections::BTreeSet;

const MOST: usize = 64;

/// Names told apart by a number.
const COUNTED: usize = 100;

/// A free name close to `wanted`; it is taken then.
pub(crate) fn free(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = plain(wanted);
    let mut name = shortened(&plain, wanted);
    let mut n: usize = 2;
    while taken.contains(&name) {
        // Counting on would take a second for some thousand operations of one name.
        let end = if n <= COUNTED {
            format!("_{n}")
        } else {
            let whole = format!("{wanted} {} {n}", taken.len());
            format!("_{}", &blake3::hash(whole.as_bytes()).to_hex()[..8])
        };
        name = format!("{}{end}", &plain[..plain.len().min(MOST - end.len())]);
        n += 1;
    }
    taken.insert(name.clone());
    name
}

/// Other characters become one `_` each run.
pub(crate) fn plain(wanted: &str) -> String {
    let mut plain = String::new();
    for c in wanted.chars() {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
            plain.push(c);
        } else if !plain.ends_with('_') {
            plain.push('_');
        }
    }
    let plain = plain.trim_matches('_');
    if plain.is_empty() { "call".to_owned() } else { plain.to_owned() }
}

/// A name that is too long ends in a mark of its whole text: two that begin alike stay apart.
fn shortened(plain: &str, whole: &str) -> String {
    if plain.len() <= MOST {
        return plain.to_owned();
    }
    let mark = &blake3::hash(whole.as_bytes()).to_hex()[..8];
    format!("{}_{mark}", &plain[..MOST - 9])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_every_model_and_are_each_used_once() {
        let mut taken = BTreeSet::new();
        let mut name = |wanted: &str| free(wanted, &mut taken);
        assert_eq!(name("repos/get-content"), "repos_get-content");
        assert_eq!(name("repos/get-content"), "repos_get-content_2");
        assert_eq!(name("GET /users/{id}/\u{f6}rders"), "GET_users_id_rders");
        assert_eq!(name("///"), "call");
        let (one, other) = (name(&format!("{}a", "x".repeat(70))), name(&format!("{}b", "x".repeat(70))));
        assert!(one != other && one.len() == 64 && other.len() == 64, "{one} {other}");
        for _ in 0..200 {
            assert!(name(&"y".repeat(64)).len() <= 64);
        }
        assert_eq!(taken.len(), 206);
    }
}
