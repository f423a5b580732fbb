//! `seeds DIR`: writes the first cases of every reader into DIR/READER, where libFuzzer begins, and their names.

use std::path::PathBuf;

#[path = "../../../services/wire/tests/noise/mod.rs"]
mod noise;
#[path = "../../../services/wire/tests/readers/mod.rs"]
mod readers;

/// Cases for each reader.
const CASES: u64 = 40;

fn main() -> std::io::Result<()> {
    let corpus = PathBuf::from(std::env::args_os().nth(1).expect("usage: seeds DIR"));
    for (name, _) in readers::READERS {
        let (dir, golden) = (corpus.join(name), readers::cases::golden(name));
        std::fs::create_dir_all(&dir)?;
        for seed in 0..CASES {
            let case = readers::cases::case(&mut noise::Noise::new(seed), &golden);
            std::fs::write(dir.join(format!("seed-{seed}")), case)?;
        }
        println!("{name}");
    }
    Ok(())
}
