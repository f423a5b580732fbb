//! What one model charges, and what a call comes to.
//!
//! Prices are micro-USD per million tokens, so tokens × price is a whole number of pico-USD. A call's cost is the
//! sum over its parts, rounded once, half up, to nano-USD: at most half a billionth of a dollar a call, where
//! rounding to micro-USD would book short embeddings as free. Invariant: integers only, and no overflow.

use frontdesk_api::chat::Usage;
use serde::Deserialize;

/// Nano-USD: a billionth of a dollar.
pub type Nano = i64;

/// Pico-USD in a nano-USD.
const PICO: u128 = 1_000;

/// Prices of one model, in micro-USD per million tokens (2500000 is 2.50 USD).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// On a tier: prompts of more tokens than this pay its prices, for everything.
    #[serde(default)]
    pub above: u64,
    pub input: u64,
    /// 0 where it is left out, as for embeddings.
    #[serde(default)]
    pub output: u64,
    /// Input read from the provider's prompt cache; None: as other input.
    #[serde(default)]
    pub cached_input: Option<u64>,
    /// Input written into that cache; None: as other input.
    #[serde(default)]
    pub cache_write: Option<u64>,
    /// Input written to be kept for longer; None: as other writes.
    #[serde(default)]
    pub long_cache_write: Option<u64>,
    /// Output that was thought and not said; None: as other output.
    #[serde(default)]
    pub reasoning: Option<u64>,
    /// What longer prompts pay.
    #[serde(default)]
    pub over: Option<Box<Price>>,
}

impl Price {
    /// Nothing, as for models that run here.
    pub const FREE: Self = Self {
        above: 0,
        input: 0,
        output: 0,
        cached_input: None,
        cache_write: None,
        long_cache_write: None,
        reasoning: None,
        over: None,
    };

    /// What a call costs. Parts that are larger than their whole (a server that counts wrongly) are cut to it.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> Nano {
        if let Some(over) = &self.over
            && usage.input_tokens > over.above
        {
            return over.cost(usage);
        }
        let read = usage.cached_input_tokens.min(usage.input_tokens);
        let written = usage.cache_write_tokens.min(usage.input_tokens - read);
        let long = usage.long_cache_write_tokens.min(written);
        let thought = usage.reasoning_tokens.min(usage.output_tokens);
        let write = self.cache_write.unwrap_or(self.input);
        let parts = [
            (usage.input_tokens - read - written, self.input),
            (read, self.cached_input.unwrap_or(self.input)),
            (written - long, write),
            (long, self.long_cache_write.unwrap_or(write)),
            (usage.output_tokens - thought, self.output),
            (thought, self.reasoning.unwrap_or(self.output)),
        ];
        // Six products of two 64-bit numbers fit in 128 bits unless all are near the top of their range.
        let pico = parts
            .iter()
            .fold(0u128, |sum, (tokens, price)| sum.saturating_add(u128::from(*tokens) * u128::from(*price)));
        Nano::try_from(pico.saturating_add(PICO / 2) / PICO).unwrap_or(Nano::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usage(input: u64, cached: u64, written: u64, long: u64, output: u64, reasoning: u64) -> Usage {
        Usage {
            input_tokens: input,
            output_tokens: output,
            cached_input_tokens: cached,
            cache_write_tokens: written,
            long_cache_write_tokens: long,
            reasoning_tokens: reasoning,
        }
    }

    // Oracle: each sum worked out by hand, in dollars, beside it.
    #[test]
    fn costs_agree_with_sums_by_hand() {
        let sonnet = Price {
            input: 3_000_000,
            output: 15_000_000,
            cached_input: Some(300_000),
            cache_write: Some(3_750_000),
            long_cache_write: Some(6_000_000),
            ..Price::FREE
        };
        // 1000 × 3 + 500 × 15 = 3000 + 7500 millionths
        assert_eq!(sonnet.cost(&usage(1_000, 0, 0, 0, 500, 0)), 10_500_000);
        // fresh 1000−600−300 = 100 × 3, read 600 × 0.30, written 200 × 3.75, long 100 × 6, out 500 × 15
        // = 300 + 180 + 750 + 600 + 7500
        assert_eq!(sonnet.cost(&usage(1_000, 600, 300, 100, 500, 200)), 9_330_000);
        let thinks = Price { input: 1_250_000, output: 10_000_000, reasoning: Some(3_500_000), ..Price::FREE };
        // 7 × 1.25 + 30 × 10 + 70 × 3.5 = 8.75 + 300 + 245
        assert_eq!(thinks.cost(&usage(7, 3, 0, 0, 100, 70)), 553_750);
        // 1 token at 0.0005 and at 0.0004 dollars a million: half a nano-dollar goes up, less goes down
        assert_eq!(Price { input: 500, ..Price::FREE }.cost(&usage(1, 0, 0, 0, 0, 0)), 1);
        assert_eq!(Price { input: 499, ..Price::FREE }.cost(&usage(1, 0, 0, 0, 0, 0)), 0);
        assert_eq!(Price::FREE.cost(&usage(9, 1, 1, 1, 9, 1)), 0);
    }

    #[test]
    fn a_long_prompt_pays_the_higher_prices_for_all_of_it() {
        let haiku = Price {
            input: 100_000,
            output: 500_000,
            over: Some(Box::new(Price { above: 100_000, input: 500_000, output: 2_500_000, ..Price::FREE })),
            ..Price::FREE
        };
        // 100 000 × 0.10 + 10 × 0.50, then 100 001 × 0.50 + 10 × 2.50
        assert_eq!(haiku.cost(&usage(100_000, 0, 0, 0, 10, 0)), 10_005_000);
        assert_eq!(haiku.cost(&usage(100_001, 0, 0, 0, 10, 0)), 50_025_500);
    }

    proptest! {
        /// Oracle: the same sum in fractions of a dollar, without rounding.
        #[test]
        fn a_cost_is_within_half_a_nano_dollar_of_the_exact_sum(
            input in 0u64..10_000_000, cached in 0u64..10_000_000, written in 0u64..10_000_000,
            output in 0u64..1_000_000, thought in 0u64..1_000_000,
            prices in prop::array::uniform5(0u64..1_000_000_000),
        ) {
            let price = Price {
                input: prices[0], output: prices[1], cached_input: Some(prices[2]), cache_write: Some(prices[3]),
                reasoning: Some(prices[4]), ..Price::FREE
            };
            let read = cached.min(input);
            let write = written.min(input - read);
            let think = thought.min(output);
            let exact = [(input - read - write, prices[0]), (output - think, prices[1]), (read, prices[2]), (write, prices[3]), (think, prices[4])]
                .iter().map(|(t, p)| i128::from(*t) * i128::from(*p)).sum::<i128>();
            let cost = i128::from(price.cost(&usage(input, cached, written, 0, output, thought)));
            prop_assert!((cost * 1_000 - exact).abs() <= 500);
            prop_assert!(cost * 1_000 - exact > -500, "a half goes up");
        }

        #[test]
        fn no_count_and_no_price_overflows(counts in prop::array::uniform6(any::<u64>()), price in any::<u64>()) {
            let price = Price { input: price, output: price, ..Price::FREE };
            let [a, b, c, d, e, f] = counts;
            prop_assert!(price.cost(&usage(a, b, c, d, e, f)) >= 0);
        }
    }
}
