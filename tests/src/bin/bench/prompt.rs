//! The conversation a measured request carries: as many turns as its size asks for, with what real ones hold.
//!
//! A gateway reads every byte of a request at least once, and what a byte costs depends on what it is:
//! plain letters are skipped, quotes and line breaks are escapes, other languages are several bytes a letter.
//! So a long prompt here is not one letter many times over, and not one message either.

use serde_json::{Value, json};

const SYSTEM: &str = "You are a support agent of a lamp shop. Answer in the customer's language.";
const QUESTION: &str = "Guten Tag, ich habe am 3. März die Leuchte \"Größe M\" bestellt (Nº 1234).\nLaut E-Mail ist \
    sie \"unterwegs\", aber der Link C:\\Downloads\\Beleg.pdf öffnet nicht – was nun? 🙁";
const ANSWER: &str = "I looked at your order:\n\n```json\n{\"order\": \"1234\", \"state\": \"shipped\", \"carrier\": \
    \"DHL\", \"path\": \"C:\\\\scan\\\\0017\", \"notes\": [\"left at the door\", \"signed by \\\"M. Müller\\\"\"]}\n```\n\n\
    What this means:\n\t1. It left our warehouse on Monday, and the carrier scanned it twice since.\n\t2. A delivery takes \
    two to three working days; weekends and public holidays do not count.\n\t3. Should it not be there by Friday, write \
    to us again and we send a new one, free of charge.\n\nThe page you asked about says: “Every lamp has a warranty of \
    two years. Bulbs, cables and shades are covered when they fail in normal use; a lamp that fell is not.” You find it \
    at https://shop.example/warranty?lang=de&ref=1234.\n\nIf the receipt does not open, the reason is most often the \
    program that is set for it: choose “Open with…”, then any reader of PDF files.";
/// Fills what is left, so the size is what was asked for.
const FILL: &str = "Where is my order number 1234? ";

/// `messages` of about `bytes` bytes as JSON, at least a system message and one question: whole turns, oldest first,
/// and a customer's message at the end that fills up what no turn fits into.
pub(crate) fn messages(bytes: usize) -> String {
    let turn = [json!({"role": "user", "content": QUESTION}), json!({"role": "assistant", "content": ANSWER})];
    let system = json!({"role": "system", "content": SYSTEM});
    let length = |message: &Value| message.to_string().len() + 1;
    let each: usize = turn.iter().map(length).sum();
    let last = |content: String| json!({"role": "user", "content": content});
    let fixed = length(&system) + length(&last(String::new())) + 1;
    let rest = bytes.saturating_sub(fixed);
    // A turn fewer than fits: the question at the end is never empty.
    let turns = rest.saturating_sub(FILL.len()) / each;
    let mut all = vec![system];
    for _ in 0..turns {
        all.extend_from_slice(&turn);
    }
    all.push(last(FILL.repeat(((rest - turns * each) / FILL.len()).max(1))));
    Value::from(all).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_has_the_size_that_was_asked_for_in_whole_turns() {
        for bytes in [700, 16_000, 150_000] {
            let written = messages(bytes);
            assert!(written.len().abs_diff(bytes) <= FILL.len(), "{bytes}: {}", written.len());
            let all: Vec<Value> = serde_json::from_str(&written).unwrap();
            let roles: Vec<&str> = all.iter().map(|m| m["role"].as_str().unwrap()).collect();
            assert_eq!((roles.first(), roles.last()), (Some(&"system"), Some(&"user")));
            assert!(roles[1..].windows(2).all(|pair| pair[0] != pair[1]), "turns alternate: {roles:?}");
            assert_eq!(roles.len() > 100, bytes == 150_000, "{}", roles.len());
            assert_eq!(written.contains("\\\""), bytes > 700, "long ones hold escapes");
        }
        assert_eq!(serde_json::from_str::<Vec<Value>>(&messages(0)).unwrap().len(), 2);
    }
}
