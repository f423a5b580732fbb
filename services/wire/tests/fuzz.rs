//! Every reader of bytes, fed with good documents made wrong. What the readers promise is checked where they are listed.
//!
//! A case is made from its number, so a failure can be made again. FRONTDESK_FUZZ_ROUNDS sets how many cases there are
//! for each reader; `tests/fuzz` does the same with libFuzzer, which looks for new paths itself.

mod noise;
mod readers;

use noise::Noise;
use readers::{
    READERS,
    cases::{case, golden},
};

/// Cases for each reader, where nobody says otherwise.
const ROUNDS: u64 = 250;

#[test]
fn no_bytes_make_a_reader_break_its_promises() {
    #[allow(clippy::disallowed_methods)] // a test program reads its own environment
    let rounds = std::env::var("FRONTDESK_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    for (number, (name, read)) in (0u64..).zip(READERS) {
        let golden = golden(name);
        for round in 0..rounds {
            let mut noise = Noise::new(number << 48 | round);
            let bytes = case(&mut noise, &golden);
            if let Err(panic) = std::panic::catch_unwind(|| read(&bytes)) {
                eprintln!("{name}, case {round}: {}", String::from_utf8_lossy(&bytes));
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// What is made wrong was right before.
#[test]
fn the_good_documents_of_responses_and_batches_are_read() {
    use frontdesk_wire::{anthropic, openai};
    let [line, list] = noise::documents::batches().try_into().expect("two");
    let asked = openai::responses::request::request(noise::documents::response_request().to_string().as_bytes());
    assert!(asked.is_ok(), "{:?}", asked.err());
    assert_eq!(openai::batch::lines(line.to_string().as_bytes(), "/v1/chat/completions").expect("a line").len(), 1);
    assert_eq!(anthropic::batch::requests(&list.to_string().into()).expect("a list").len(), 2);
}
