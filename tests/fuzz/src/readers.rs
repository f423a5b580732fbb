//! One reader of services/wire, fed by libFuzzer. FUZZ_READER names it; what it promises is checked where it is listed.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

#[path = "../../../services/wire/tests/noise/mod.rs"]
#[allow(dead_code)] // only the seeds draw
mod noise;
#[path = "../../../services/wire/tests/readers/mod.rs"]
#[allow(dead_code)] // as above
mod readers;

static READER: OnceLock<readers::Reader> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let (_, read) = READER.get_or_init(|| {
        let name = std::env::var("FUZZ_READER").expect("FUZZ_READER names a reader");
        *readers::READERS.iter().find(|(known, _)| *known == name).expect("FUZZ_READER is a reader")
    });
    read(bytes);
});
