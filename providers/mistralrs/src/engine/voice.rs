//! What of the engine's text the client hears: text up to a stop string, reasoning, calls.
//!
//! Invariant: after `finish` nothing more is sent, and every held-back character has been sent as text, as part of a call,
//! or was at or behind a stop string.

use mistralrs::Delta;
use serde_json::Value;
use tokio::sync::mpsc;

use super::calls::{BlockReader, Call, Piece, call_id, parse_call};
use super::generation::{Event, Usage};
use super::plan::Reading;
use super::stop::StopFilter;

/// The way from the engine's pieces to the client's events.
pub(crate) struct Voice<'a> {
    out: &'a mpsc::UnboundedSender<Event>,
    reading: Reading,
    blocks: BlockReader,
    /// The whole answer so far, when it is read at its end.
    whole: String,
    stop: StopFilter,
    spoken: bool,
    called: bool,
    /// The first call is the answer's end.
    one_call: bool,
}

impl<'a> Voice<'a> {
    pub(crate) fn new(
        reading: Reading,
        stops: Vec<String>,
        one_call: bool,
        out: &'a mpsc::UnboundedSender<Event>,
    ) -> Self {
        let (blocks, whole) = (BlockReader::default(), String::new());
        Self { out, reading, blocks, whole, stop: StopFilter::new(stops), spoken: false, called: false, one_call }
    }

    /// Nothing that comes now is told any more.
    pub(crate) fn over(&self) -> bool {
        self.one_call && self.called
    }

    /// Whether the client has been sent anything.
    pub(crate) fn spoken(&self) -> bool {
        self.spoken
    }

    pub(crate) fn logprob(&mut self, document: Value) {
        if !self.stop.hit() {
            self.send(Event::Logprob(document));
        }
    }

    /// Takes the next piece of the engine.
    pub(crate) fn delta(&mut self, delta: Delta) {
        if let Some(reasoning) = delta.reasoning_content.filter(|text| !text.is_empty()) {
            self.send(Event::Reasoning(reasoning));
        }
        if let Some(text) = delta.content.filter(|text| !text.is_empty()) {
            match self.reading {
                Reading::Engine => self.text(&text),
                Reading::Blocks => {
                    let pieces = self.blocks.push(&text);
                    self.pieces(pieces);
                }
                Reading::Whole => self.whole.push_str(&text),
            }
        }
        for call in delta.tool_calls.into_iter().flatten() {
            let id = call_id();
            self.call(Call { id, name: call.function.name, arguments: call.function.arguments });
        }
    }

    /// The engine is done, for `reason` (`stop`, `length`, `tool_calls`, `canceled`).
    pub(crate) fn finish(&mut self, reason: &str, usage: Usage) {
        let pieces = self.blocks.finish();
        self.pieces(pieces);
        let whole = std::mem::take(&mut self.whole);
        match (whole.is_empty(), parse_call(&whole)) {
            (true, _) => {}
            (false, Some(call)) => self.call(call),
            (false, None) => self.text(&whole),
        }
        let rest = self.stop.finish();
        self.shown(rest);
        let reason = match reason {
            _ if self.called => "tool_calls",
            "length" if !self.stop.hit() => "length",
            _ => "stop",
        };
        self.send(Event::Finish { reason, usage });
    }

    fn pieces(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.text(&text),
                Piece::Call(call) => self.call(call),
            }
        }
    }

    fn text(&mut self, text: &str) {
        let sure = self.stop.push(text);
        self.shown(sure);
    }

    fn shown(&mut self, text: String) {
        if !text.is_empty() {
            self.send(Event::Text(text));
        }
    }

    fn call(&mut self, call: Call) {
        self.send(Event::Call(call));
        self.called = true;
    }

    fn send(&mut self, event: Event) {
        if self.over() && !matches!(event, Event::Finish { .. }) {
            return;
        }
        self.spoken = true;
        // A client that left is noticed by whoever drains the engine.
        let _ = self.out.send(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: Usage = Usage { prompt: 1, answer: 2 };

    fn hear(reading: Reading, stops: &[&str], texts: &[&str], reason: &str) -> (String, Vec<String>, &'static str) {
        hear_calls(false, reading, stops, texts, reason)
    }

    fn hear_calls(
        one_call: bool,
        reading: Reading,
        stops: &[&str],
        texts: &[&str],
        reason: &str,
    ) -> (String, Vec<String>, &'static str) {
        let (out, mut events) = mpsc::unbounded_channel();
        let stops = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut voice = Voice::new(reading, stops, one_call, &out);
        for text in texts {
            voice.delta(Delta {
                content: Some((*text).to_owned()),
                role: "assistant".into(),
                tool_calls: None,
                reasoning_content: None,
            });
        }
        voice.finish(reason, USAGE);
        let (mut text, mut calls, mut end) = (String::new(), Vec::new(), "");
        while let Ok(event) = events.try_recv() {
            assert_eq!(end, "", "nothing follows the end");
            match event {
                Event::Text(piece) => text.push_str(&piece),
                Event::Call(call) => calls.push(format!("{}{}", call.name, call.arguments)),
                Event::Finish { reason, usage } => {
                    assert_eq!(usage, USAGE);
                    end = reason;
                }
                other => panic!("{other:?}"),
            }
        }
        (text, calls, end)
    }

    #[test]
    fn a_forced_call_is_read_at_the_end_and_a_cut_one_is_shown() {
        let call = [r#"{"name":"a","parame"#, r#"ters":{"x":1}}"#];
        let heard = hear(Reading::Whole, &[], &call, "stop");
        assert_eq!(heard, (String::new(), vec![r#"a{"x":1}"#.to_owned()], "tool_calls"));
        let heard = hear(Reading::Whole, &[], &call[..1], "length");
        assert_eq!(heard, (call[0].to_owned(), vec![], "length"));
    }

    #[test]
    fn text_and_calls_of_blocks_are_told_apart() {
        let texts = ["Well. <tool_call>{\"name\":\"a\",\"arguments\":{}}</tool", "_call>"];
        let heard = hear(Reading::Blocks, &[], &texts, "stop");
        assert_eq!(heard, ("Well. ".to_owned(), vec!["a{}".to_owned()], "tool_calls"));
    }

    #[test]
    fn where_one_call_is_asked_for_it_is_the_end() {
        let block = "<tool_call>{\"name\":\"a\",\"arguments\":{}}</tool_call>";
        let texts = ["Well. ", block, "And more. ", block];
        let said = "Well. ".to_owned();
        let heard = hear_calls(true, Reading::Blocks, &[], &texts, "length");
        assert_eq!(heard, (said.clone(), vec!["a{}".to_owned()], "tool_calls"));
        let heard = hear_calls(true, Reading::Blocks, &[], &texts[..1], "length");
        assert_eq!(heard, (said, vec![], "length"));
    }

    #[test]
    fn a_stop_string_ends_the_text_and_names_the_reason() {
        let heard = hear(Reading::Engine, &["green"], &["red gr", "een blue"], "length");
        assert_eq!(heard, ("red ".to_owned(), vec![], "stop"));
        let heard = hear(Reading::Engine, &["green"], &["red gr"], "length");
        assert_eq!(heard, ("red gr".to_owned(), vec![], "length"));
    }
}
