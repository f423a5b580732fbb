//! The pages that an answer cites, as OpenAI's `url_citation` annotations.
//!
//! Anthropic cites by the block: all words of a block stand on what the block cites. Invariant: a citation spans the words
//! of its block, in characters of all that is said. Only pages of the web have an address to cite; places in documents
//! and search results that the request brought along (`char_location`, `page_location`, `content_block_location`,
//! `search_result_location`) are left out. Source: Anthropic's API reference, `TextCitation`.

use frontdesk_api::ChatEvent;
use serde_json::Value;

use crate::openai::encode::url_citation;

/// The words of an answer and what they cite, as far as it is read.
#[derive(Debug, Default)]
pub(super) struct Cited {
    /// Characters said so far.
    said: usize,
    /// Those before the block that is being read.
    before: usize,
    /// Address and title of each page that this block cites, each page once.
    pages: Vec<(String, String)>,
    annotations: Vec<Value>,
}

impl Cited {
    pub(super) fn begin_block(&mut self) {
        self.before = self.said;
    }

    pub(super) fn say(&mut self, words: &str) {
        self.said += words.chars().count();
    }

    /// A citation of the block that is being read.
    pub(super) fn cite(&mut self, citation: &Value) {
        let text = |name: &str| citation.get(name).and_then(Value::as_str);
        let (Some("web_search_result_location"), Some(url)) = (text("type"), text("url")) else { return };
        if !self.pages.iter().any(|(known, _)| known == url) {
            self.pages.push((url.to_owned(), text("title").unwrap_or(url).to_owned()));
        }
    }

    pub(super) fn end_block(&mut self) {
        let (start, end) = (self.before, self.said);
        let spoken = self.pages.drain(..).filter(|_| end > start);
        self.annotations.extend(spoken.map(|(url, title)| url_citation(start, end, &url, &title)));
    }

    /// All of the answer's, once.
    pub(super) fn take(&mut self) -> Option<ChatEvent> {
        let value = std::mem::take(&mut self.annotations);
        (!value.is_empty()).then(|| ChatEvent::Annotations { choice: 0, value: value.into() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::anthropic::outbound_answer::Answer;

    fn page(url: &str, title: Option<&str>) -> Value {
        json!({ "type": "web_search_result_location", "url": url, "title": title, "encrypted_index": "x", "cited_text": "c" })
    }

    fn annotations(events: Vec<ChatEvent>) -> Vec<Value> {
        let of = |event| if let ChatEvent::Annotations { choice: 0, value } = event { Some(value) } else { None };
        events.into_iter().filter_map(of).collect()
    }

    /// What the two forms of this answer must come to: the second block cites two pages, the third one of them.
    fn want() -> Value {
        json!([
            url_citation(7, 14, "https://a", "A"),
            url_citation(7, 14, "https://b", "https://b"),
            url_citation(14, 16, "https://a", "A"),
        ])
    }

    // Oracle: the answer on Anthropic's page "Web search tool", with other words; a u with two dots is one character.
    #[test]
    fn a_whole_answer_cites_the_words_of_each_block() {
        let plain = json!({ "type": "char_location", "cited_text": "x", "document_index": 0, "document_title": "D",
            "start_char_index": 0, "end_char_index": 1 });
        let body = json!({ "id": "m", "model": "claude", "stop_reason": "end_turn", "content": [
            { "type": "text", "text": "Grüße. ", "citations": [plain] },
            { "type": "server_tool_use", "id": "s", "name": "web_search", "input": {} },
            { "type": "text", "text": "It is 7", "citations": [page("https://a", Some("A")), page("https://b", None), page("https://a", Some("A"))] },
            { "type": "text", "text": "up", "citations": [page("https://a", Some("A"))] },
            { "type": "text", "text": "", "citations": [page("https://c", Some("C"))] },
            { "type": "text", "text": ".", "citations": null } ] });
        let decoded = Answer::default().whole(body.to_string().as_bytes(), true).expect("a message");
        let last = decoded.events.last().cloned();
        assert_eq!(annotations(decoded.events), [want()]);
        assert!(matches!(last, Some(ChatEvent::Finish { .. })), "before the end: {last:?}");
    }

    #[test]
    fn a_stream_cites_the_same_once_before_its_end() {
        let begin = || json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "", "citations": [] } });
        let delta = |delta: Value| json!({ "type": "content_block_delta", "index": 0, "delta": delta });
        let text = |text: &str| delta(json!({ "type": "text_delta", "text": text }));
        let cites = |citation: Value| delta(json!({ "type": "citations_delta", "citation": citation }));
        let end = || json!({ "type": "content_block_stop", "index": 0 });
        let done =
            json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 1 } });
        let stream = [
            vec![begin(), text("Grüße"), text(". "), end()],
            vec![begin(), cites(page("https://a", Some("A"))), text("It is 7"), cites(page("https://b", None)), end()],
            vec![begin(), text("up"), cites(page("https://a", Some("A"))), end(), done.clone(), done],
        ];
        let mut answer = Answer::default();
        let read = |event: Value| answer.event(event.to_string().as_bytes(), true).expect("an event").events;
        let events: Vec<ChatEvent> = stream.concat().into_iter().flat_map(read).collect();
        let place = |wanted: fn(&ChatEvent) -> bool| events.iter().position(wanted);
        let (cited, finished) =
            (place(|e| matches!(e, ChatEvent::Annotations { .. })), place(|e| matches!(e, ChatEvent::Finish { .. })));
        assert!(cited < finished, "{events:?}");
        assert_eq!(annotations(events), [want()]);
    }
}
