//! A content that goes into a row: gathered in memory as it comes.
//!
//! Invariant: it is there at most twice, however it comes: its parts, and the whole that they become, each part gone
//! as it is copied. What comes in one piece is not copied at all.

use bytes::{Bytes, BytesMut};
use frontdesk_api::{Result, blobs::Pieces};
use futures::TryStreamExt as _;

/// Bytes of a part, at least and at most: as much as is there already, so that little is set aside for little.
const PART: (usize, usize) = (64 << 10, 1 << 20);

/// All of it.
///
/// # Errors
/// As the content's.
pub(crate) async fn gather(mut content: Pieces<'_>) -> Result<Bytes> {
    let Some(first) = content.try_next().await? else { return Ok(Bytes::new()) };
    let Some(second) = content.try_next().await? else { return Ok(first) };
    let mut parts = Parts::default();
    parts.add(first);
    parts.add(second);
    while let Some(piece) = content.try_next().await? {
        parts.add(piece);
    }
    Ok(parts.whole())
}

#[derive(Default)]
struct Parts {
    parts: Vec<BytesMut>,
    bytes: usize,
}

impl Parts {
    fn add(&mut self, mut piece: Bytes) {
        while !piece.is_empty() {
            let last = self.parts.last_mut().filter(|part| part.len() < part.capacity());
            let Some(part) = last else {
                self.parts.push(BytesMut::with_capacity(self.bytes.clamp(PART.0, PART.1)));
                continue;
            };
            let some = piece.split_to(piece.len().min(part.capacity() - part.len()));
            part.extend_from_slice(&some);
            self.bytes += some.len();
        }
    }

    fn whole(mut self) -> Bytes {
        if self.parts.len() == 1 {
            return self.parts.remove(0).freeze();
        }
        let mut all = BytesMut::with_capacity(self.bytes);
        for part in self.parts {
            all.extend_from_slice(&part);
        }
        all.freeze()
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};

    use super::*;

    #[tokio::test]
    async fn a_content_is_whole_however_it_comes() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| u8::try_from(n % 251).expect("small")).collect();
        for size in [1_000, 65_536, 70_001, 2_000_000] {
            let pieces: Vec<_> = content.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
            assert_eq!(gather(stream::iter(pieces).boxed()).await.expect("gathered"), content, "{size}");
        }
        assert_eq!(gather(stream::empty().boxed()).await.expect("gathered"), b""[..]);
        let one = Bytes::from(content);
        let gathered = gather(stream::iter([Ok(one.clone())]).boxed()).await.expect("gathered");
        assert_eq!(gathered.as_ptr(), one.as_ptr(), "one piece is no copy");
    }

    #[test]
    fn parts_set_aside_no_more_than_comes() {
        let mut parts = Parts::default();
        for _ in 0..3_000_000 {
            parts.add(Bytes::from_static(b"x"));
        }
        let aside: usize = parts.parts.iter().map(BytesMut::capacity).sum();
        assert!(aside <= 3_000_000 + PART.1, "{aside}");
    }
}
