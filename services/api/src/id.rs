//! Ids: a prefix that names the noun, then 26 characters that sort by time of making.
//!
//! The body is a ULID (48 bits of milliseconds, 80 random bits, Crockford base 32, lower case), so
//! primary keys stay local in the index and lists page by id.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{Clock, clock::SystemClock};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Where new ids come from; tests count, the product draws.
pub trait Ids: Send + Sync {
    /// A new id such as `sess_01jd…`; `prefix` comes without the underscore.
    fn next(&self, prefix: &str) -> String;
}

/// Random bytes of one id.
const RANDOM: usize = 10;

/// Random bytes for the next ids of a thread, drawn together: one system call serves a hundred ids.
struct Pool {
    bytes: [u8; 100 * RANDOM],
    /// How many are used up.
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; 100 * RANDOM], used: 100 * RANDOM }) };
}

impl Pool {
    fn draw(&mut self) -> [u8; RANDOM] {
        let mut drawn = [0; RANDOM];
        if self.used == self.bytes.len() && getrandom::fill(&mut self.bytes).is_ok() {
            self.used = 0;
        }
        if self.used == self.bytes.len() {
            // Without entropy the machine cannot make keys or TLS either; a counter keeps ids unique in-process.
            static FALLBACK: AtomicU64 = AtomicU64::new(1);
            drawn[2..].copy_from_slice(&FALLBACK.fetch_add(1, Ordering::Relaxed).to_be_bytes());
            return drawn;
        }
        drawn.copy_from_slice(&self.bytes[self.used..self.used + RANDOM]);
        self.used += RANDOM;
        drawn
    }
}

/// Time-ordered random ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn next(&self, prefix: &str) -> String {
        let random = POOL.with_borrow_mut(Pool::draw);
        let millis = u128::try_from(SystemClock.now() / 1000).unwrap_or(0);
        let mut value = millis << 80;
        for (i, byte) in random.iter().enumerate() {
            value |= u128::from(*byte) << (8 * (9 - i));
        }
        encode(prefix, value)
    }
}

/// Ids 1, 2, 3 … for tests; they sort in order of making too.
#[derive(Debug, Default)]
pub struct CountingIds(AtomicU64);

impl Ids for CountingIds {
    fn next(&self, prefix: &str) -> String {
        encode(prefix, u128::from(self.0.fetch_add(1, Ordering::Relaxed) + 1))
    }
}

fn encode(prefix: &str, value: u128) -> String {
    let mut id = String::with_capacity(prefix.len() + 27);
    id.push_str(prefix);
    id.push('_');
    for i in (0..26).rev() {
        id.push(char::from(ALPHABET[((value >> (5 * i)) & 31) as usize]));
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_later_milliseconds_sort_later() {
        let a = encode("x", 1_000 << 80);
        let b = encode("x", (1_001 << 80) | 7);
        assert!(a < b, "{a} {b}");
        assert_eq!(a.len(), 28);
    }

    #[test]
    fn random_ids_differ() {
        assert_ne!(RandomIds.next("t"), RandomIds.next("t"));
    }
}
