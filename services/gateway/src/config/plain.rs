//! Serde's complaints in words for people.
//!
//! Serde says what it expected as Rust calls it (`usize`, `struct Limits`); who writes a configuration or a
//! request knows lists, keys and numbers. Invariant: what was found stays as serde said it.

/// The complaint with the expectation in plain words.
#[must_use]
pub fn plain(complaint: &str) -> String {
    let Some((found, expected)) = complaint.rsplit_once(", expected ") else { return complaint.to_owned() };
    let expected = match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "keys and values",
        of_ours if of_ours.starts_with("struct ") => "keys and values",
        other => other,
    };
    format!("{found}, expected {expected}")
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, de::DeserializeOwned};
    use serde_json::{Value, json};

    use super::*;

    fn said<T: DeserializeOwned + std::fmt::Debug>(value: Value) -> String {
        plain(&serde_json::from_value::<T>(value).expect_err("must be refused").to_string())
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)] // only read by serde
    struct Ours {
        id: String,
    }

    #[test]
    fn no_type_of_rust_is_named() {
        assert_eq!(said::<usize>(json!("lots")), "invalid type: string \"lots\", expected a whole number, 0 or more");
        assert_eq!(
            said::<u16>(json!(70_000)),
            "invalid value: integer `70000`, expected a whole number from 0 to 65535"
        );
        assert_eq!(said::<i64>(json!(1.5)), "invalid type: floating point `1.5`, expected a whole number");
        assert_eq!(said::<f64>(json!("x")), "invalid type: string \"x\", expected a number");
        assert_eq!(said::<bool>(json!("yes")), "invalid type: string \"yes\", expected true or false");
        assert_eq!(said::<Vec<u8>>(json!({})), "invalid type: map, expected a list");
        assert_eq!(said::<Ours>(json!(5)), "invalid type: integer `5`, expected keys and values");
    }

    #[test]
    fn what_is_plain_already_stays() {
        assert_eq!(said::<Ours>(json!({})), "missing field `id`");
        assert_eq!(said::<String>(json!(7)), "invalid type: integer `7`, expected a string");
    }
}
