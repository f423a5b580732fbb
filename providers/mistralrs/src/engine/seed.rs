//! Sampling that a seed decides alone.
//!
//! The engine draws all its random numbers from one generator, so the same request differs from time to time. A request
//! with a seed is sampled here instead: likelihoods are cut and tempered as asked for, then Gumbel noise made from
//! (seed, position, token) is added and the engine takes the largest, which draws from the same distribution
//! (Gumbel-max). Invariant: same prompt, seed and parameters, same answer.

use mistralrs::{CustomLogitsProcessor, Result, Tensor};

/// Chooses the token by seed; the engine's own temperature must be 0.
#[derive(Debug, Clone)]
pub(crate) struct Seeded {
    pub(crate) seed: u64,
    /// Above 0.
    pub(crate) temperature: f64,
    pub(crate) top_k: Option<usize>,
    pub(crate) top_p: Option<f64>,
    pub(crate) min_p: Option<f64>,
}

impl CustomLogitsProcessor for Seeded {
    fn apply(&self, logits: &Tensor, context: &[u32]) -> Result<Tensor> {
        let shape = logits.shape().clone();
        let mut scores = logits.flatten_all()?.to_dtype(mistralrs::DType::F32)?.to_vec1::<f32>()?;
        self.draw(&mut scores, context.len() as u64);
        Tensor::from_vec(scores, shape, logits.device())
    }
}

impl Seeded {
    /// Turns logits into scores whose largest is the drawn token.
    fn draw(&self, scores: &mut [f32], position: u64) {
        for score in scores.iter_mut() {
            *score = (f64::from(*score) / self.temperature) as f32;
        }
        let floor = self.floor(scores);
        for (token, score) in scores.iter_mut().enumerate() {
            *score = match *score >= floor {
                true => *score + gumbel(self.seed, position, token as u64),
                false => f32::NEG_INFINITY,
            };
        }
    }

    /// The smallest tempered logit that may still be drawn.
    fn floor(&self, scores: &[f32]) -> f32 {
        let mut ranked: Vec<f32> = scores.iter().copied().filter(|score| score.is_finite()).collect();
        ranked.sort_unstable_by(|a, b| b.total_cmp(a));
        let Some(&best) = ranked.first() else { return f32::NEG_INFINITY };
        let mut floor = f32::NEG_INFINITY;
        if let Some(&last) = self.top_k.and_then(|k| ranked.get(k.max(1) - 1)) {
            floor = floor.max(last);
        }
        if let Some(share) = self.min_p.filter(|&share| share > 0.0) {
            floor = floor.max(best + share.ln() as f32);
        }
        if let Some(mass) = self.top_p.filter(|&mass| mass < 1.0) {
            let weights: Vec<f64> = ranked.iter().map(|&score| f64::from(score - best).exp()).collect();
            let enough = mass * weights.iter().sum::<f64>();
            let mut reached = 0.0;
            let within = weights.iter().position(|weight| {
                reached += weight;
                reached >= enough
            });
            if let Some(&last) = within.and_then(|index| ranked.get(index)) {
                floor = floor.max(last);
            }
        }
        floor
    }
}

/// Standard Gumbel noise, the same for the same three numbers.
fn gumbel(seed: u64, position: u64, token: u64) -> f32 {
    let bits = mix(mix(mix(seed) ^ position) ^ token);
    // In (0, 1), never at its ends.
    let uniform = ((bits >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    -(-uniform.ln()).ln() as f32
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Seeded = Seeded { seed: 7, temperature: 1.0, top_k: None, top_p: None, min_p: None };

    fn drawn(sampler: &Seeded, logits: &[f32], position: u64) -> usize {
        let mut scores = logits.to_vec();
        sampler.draw(&mut scores, position);
        (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap()
    }

    #[test]
    fn draws_follow_the_distribution() {
        // Logits of 0.6, 0.3, 0.1.
        let logits = [0.6_f32.ln(), 0.3_f32.ln(), 0.1_f32.ln()];
        let mut counts = [0_i32; 3];
        for position in 0..20_000 {
            counts[drawn(&FREE, &logits, position)] += 1;
        }
        for (count, expected) in counts.iter().zip([12_000, 6_000, 2_000]) {
            assert!((count - expected).abs() < 400, "{counts:?}");
        }
    }

    #[test]
    fn cut_tokens_are_never_drawn_and_forbidden_ones_stay_forbidden() {
        let logits = [0.6_f32.ln(), 0.3_f32.ln(), 0.1_f32.ln(), f32::NEG_INFINITY];
        for sampler in [
            Seeded { top_k: Some(2), ..FREE },
            Seeded { top_p: Some(0.8), ..FREE },
            Seeded { min_p: Some(0.4), ..FREE },
        ] {
            let seen: std::collections::BTreeSet<usize> =
                (0..500).map(|position| drawn(&sampler, &logits, position)).collect();
            assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1], "{sampler:?}");
        }
    }

    #[test]
    fn the_seed_decides() {
        let logits = [0.0_f32; 50];
        let draws = |seed| (0..20).map(|p| drawn(&Seeded { seed, ..FREE }, &logits, p)).collect::<Vec<_>>();
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }
}
