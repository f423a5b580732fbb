//! How much of a conversation goes into one model call, and which of its turns stay out.
//!
//! A conversation outgrows every model, and a prompt that is too long ends its turn and every one after it. So
//! the oldest turns stay out; the model then knows less of the past and goes on.
//!
//! Nobody here has a model's tokenizer: sizes are in tokens, estimated from bytes, rather too large than too small.

use frontdesk_api::{
    chat::{Message, Part, ToolSpec},
    inference::UNKNOWN_WINDOW,
};

/// Bytes of a token. OpenAI's rule of thumb is 4 characters of English ("What are tokens and how to count them",
/// help.openai.com); half of that, for JSON, numbers and other languages. Measured on 1,500 conversations of the
/// demo model's corpus with its tokenizer, whose 1,536 entries make short tokens: the estimate falls short by 10 %
/// in one of twenty and by 27 % at most. A quarter of the window kept free covers a third.
const TOKEN: usize = 2;

/// Tokens that chat templates put around a message: 5 or 6 in the shapes of Llama 3 and ChatML.
const AROUND: usize = 8;

/// The most tokens that a picture or a file counts, whose bytes say nothing of it: what the largest picture takes at
/// Anthropic ("Vision", docs.anthropic.com: about 1,600). Long files take more.
const PICTURE: usize = 1_600;

/// Tokens that a prompt may have. The rest of the window is for the answer and for what the estimate falls short
/// of: a quarter, or as much as the answer may take (`max_tokens`), but no more than half.
pub(crate) fn prompt(window: Option<usize>, max_tokens: Option<u32>) -> usize {
    let window = window.unwrap_or(UNKNOWN_WINDOW);
    let answer = max_tokens.map_or(0, |tokens| usize::try_from(tokens).unwrap_or(usize::MAX));
    window - answer.clamp(window / 4, window / 2)
}

/// Tokens of a message, estimated.
pub(crate) fn message(message: &Message) -> usize {
    let part = |part: &Part| match part {
        Part::Text(text) => text.len(),
        // Thoughts are words, whatever they are written as.
        Part::Other(value) if value["type"] == "thinking" || value["type"] == "redacted_thinking" => {
            value.to_string().len()
        }
        Part::Other(value) => value.to_string().len().min(PICTURE * TOKEN),
    };
    let content: usize = message.content.iter().map(part).sum();
    let calls: usize = message.tool_calls.iter().map(|c| c.id.len() + c.name.len() + c.arguments.len()).sum();
    let answers = message.tool_call_id.as_ref().map_or(0, String::len);
    (content + calls + answers).div_ceil(TOKEN) + AROUND
}

/// Tokens of the tools as they are offered, estimated.
pub(crate) fn tools(tools: &[ToolSpec]) -> usize {
    let written = |tool: &ToolSpec| serde_json::to_string(tool).map_or(0, |json| json.len());
    tools.iter().map(|tool| written(tool).div_ceil(TOKEN)).sum()
}

/// How many of the oldest turns stay out. `turns`: tokens of the earlier turns, oldest first; `rest`: of what is
/// never left out; `room`: of all that may go in. `may_begin(n)`: whether a prompt may begin with turn `n`
/// (counted from 0; `turns.len()` is the running one).
///
/// As few as make the rest fit, or as many as can stay out where it never does. Then on to the next quarter of the
/// room as far as whole turns go, so that a long conversation does not lose its beginning, and with it every prompt
/// cache, at each turn anew.
pub(crate) fn left_out(turns: &[usize], rest: usize, room: usize, may_begin: impl Fn(usize) -> bool) -> usize {
    let excess = (turns.iter().sum::<usize>() + rest).saturating_sub(room);
    if excess == 0 {
        return 0;
    }
    let step = (room / 4).max(1);
    let target = excess.div_ceil(step).saturating_mul(step);
    let (mut out, mut freed, mut gone) = (0, 0, 0);
    for (n, tokens) in (1..).zip(turns) {
        gone += tokens;
        if freed >= excess && gone > target {
            break;
        }
        if may_begin(n) {
            (out, freed) = (n, gone);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use frontdesk_api::chat::{Role, ToolCall};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_answer_has_a_quarter_of_the_window_or_what_it_may_take_up_to_half() {
        assert_eq!(prompt(Some(4096), None), 3072);
        assert_eq!(prompt(Some(4096), Some(100)), 3072);
        assert_eq!(prompt(Some(4096), Some(1500)), 2596);
        assert_eq!(prompt(Some(4096), Some(u32::MAX)), 2048);
        assert_eq!(prompt(None, None), 24_576);
        assert_eq!(prompt(Some(0), Some(1)), 0);
    }

    #[test]
    fn everything_a_template_writes_of_a_message_counts() {
        let mut asks = Message::text(Role::Assistant, "12345");
        assert_eq!(message(&asks), 3 + AROUND);
        asks.tool_calls.push(ToolCall { id: "c1".into(), name: "look".into(), arguments: "{\"n\":12}".into() });
        assert_eq!(message(&asks), 10 + AROUND);
        let answer = Message { tool_call_id: Some("c1".into()), ..Message::text(Role::Tool, "\u{20ac}") };
        assert_eq!(message(&answer), 3 + AROUND, "bytes, not characters");
        let tool = ToolSpec {
            name: "look".into(),
            description: None,
            parameters: Some(json!({})),
            strict: None,
            cache_control: None,
        };
        let written = r#"{"name":"look","description":null,"parameters":{},"strict":null}"#;
        assert_eq!(tools(&[tool]), written.len().div_ceil(TOKEN));
    }

    #[test]
    fn what_fits_stays_and_the_oldest_go_first() {
        let any = |_| true;
        assert_eq!(left_out(&[40, 30, 20], 10, 100, any), 0);
        assert_eq!(left_out(&[41, 30, 20], 10, 100, any), 1);
        assert_eq!(left_out(&[10, 45, 45], 50, 100, any), 2, "the first alone does not make room");
        assert_eq!(left_out(&[10, 20], 500, 100, any), 2, "the rest is too long by itself: nothing else goes in");
        assert_eq!(left_out(&[], 500, 100, any), 0);
        assert_eq!(left_out(&[1, 1], usize::MAX - 2, usize::MAX, any), 0);
    }

    #[test]
    fn a_turn_that_must_not_come_first_goes_with_the_one_before_it_or_keeps_it() {
        assert_eq!(left_out(&[30, 30, 30], 20, 100, |n| n != 1), 2);
        assert_eq!(left_out(&[30, 30, 30], 200, 100, |n| n < 2), 1, "as many as may go");
        assert_eq!(left_out(&[30, 30, 30], 20, 100, |_| false), 0);
    }

    #[test]
    fn a_growing_conversation_loses_its_beginning_in_few_steps() {
        // Turns of 5 tokens in a room of 100: a quarter is 5 turns.
        let cuts: Vec<usize> = (0..=40).map(|n| left_out(&vec![5; n], 5, 100, |_| true)).collect();
        assert!(cuts.iter().enumerate().all(|(n, cut)| 5 * (n - cut) + 5 <= 100), "it always fits: {cuts:?}");
        let mut steps = cuts.clone();
        steps.dedup();
        assert_eq!(steps, [0, 5, 10, 15, 20, 25], "{cuts:?}");
        // A turn larger than the step is not thrown out for the step's sake.
        assert_eq!(left_out(&[15, 90], 5, 100, |_| true), 1);
    }
}
