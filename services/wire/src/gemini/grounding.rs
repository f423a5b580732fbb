//! What an answer rests on, as OpenAI's `url_citation` annotations.
//!
//! Google counts in bytes of the text, OpenAI in characters. Invariant: a citation stands where the words it is about
//! stand, or it is left out; all of it rides in the answer's `gemini` member in any case.

use serde_json::Value;

use crate::openai::encode::url_citation;

/// The annotations for `text`, all that the candidate said. `grounding`: its `groundingMetadata`; `citations`: its
/// `citationMetadata`.
pub(super) fn annotations(text: &str, grounding: Option<&Value>, citations: Option<&Value>) -> Vec<Value> {
    let list = |of: Option<&'_ Value>, name: &str| {
        of.and_then(|of| of.get(name)).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let sources = list(grounding, "groundingChunks");
    let mut out = vec![];
    for support in list(grounding, "groundingSupports") {
        let Some((start, end)) = support.get("segment").and_then(|segment| place(text, segment)) else { continue };
        for index in list(Some(&support), "groundingChunkIndices") {
            let source = index.as_u64().and_then(|i| sources.get(usize::try_from(i).ok()?));
            out.extend(source.and_then(source_of).map(|(url, title)| url_citation(start, end, url, title)));
        }
    }
    // The Gemini API says `citationSources`, Vertex AI `citations`.
    let quoted = [list(citations, "citationSources"), list(citations, "citations")];
    for quote in quoted.into_iter().flatten() {
        let url = quote.get("uri").and_then(Value::as_str);
        if let (Some(url), Some((start, end))) = (url, place(text, &quote)) {
            out.push(url_citation(start, end, url, quote.get("title").and_then(Value::as_str).unwrap_or(url)));
        }
    }
    out
}

/// Address and title of a source: a page, a document, a place on a map.
fn source_of(chunk: &Value) -> Option<(&str, &str)> {
    let source = ["web", "retrievedContext", "maps"].iter().find_map(|kind| chunk.get(*kind))?;
    let url = source.get("uri")?.as_str()?;
    Some((url, source.get("title").and_then(Value::as_str).unwrap_or(url)))
}

/// Where a segment stands in `text`, in characters. Its offsets are those of one part; where they do not hold the
/// segment's own words, the words are looked for.
fn place(text: &str, segment: &Value) -> Option<(usize, usize)> {
    let offset = |name: &str| segment.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let (start, end) = (offset("startIndex").unwrap_or(0), offset("endIndex")?);
    let words = segment.get("text").and_then(Value::as_str);
    let there = text.get(start..end);
    let start = match words {
        Some(words) if there != Some(words) => text.find(words)?,
        _ => {
            there?;
            start
        }
    };
    let end = words.map_or(end, |words| start + words.len());
    let characters = |range: &str| range.chars().count();
    let before = characters(&text[..start]);
    Some((before, before + characters(&text[start..end])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // Oracle: the answer on Google's page "Grounding with Google Search"; a u with two dots takes two bytes.
    #[test]
    fn bytes_become_characters() {
        let text = "Grüße. Spain won Euro 2024.";
        let grounding = json!({
            "groundingChunks": [{ "web": { "uri": "https://a", "title": "a.com" } }, { "maps": { "uri": "https://b" } }, { "image": {} }],
            "groundingSupports": [
                { "segment": { "endIndex": 8, "text": "Grüße." }, "groundingChunkIndices": [1] },
                { "segment": { "startIndex": 9, "endIndex": 29, "text": "Spain won Euro 2024." }, "groundingChunkIndices": [0, 2, 9] },
                { "segment": { "startIndex": 0, "endIndex": 5, "partIndex": 1, "text": "Spain" }, "groundingChunkIndices": [0] },
                { "segment": { "startIndex": 3, "endIndex": 900 }, "groundingChunkIndices": [0] },
                { "segment": { "startIndex": 0, "endIndex": 3 }, "groundingChunkIndices": [0] },
                { "segment": { "endIndex": 4, "text": "gone" }, "groundingChunkIndices": [0] }
            ]
        });
        let got = annotations(text, Some(&grounding), None);
        let want = [
            url_citation(0, 6, "https://b", "https://b"),
            url_citation(7, 27, "https://a", "a.com"),
            url_citation(7, 12, "https://a", "a.com"),
        ];
        assert_eq!(got, want, "what stands nowhere is left out");
    }

    #[test]
    fn quoted_sources_are_citations_too() {
        let one = json!({ "startIndex": 1, "endIndex": 2, "uri": "https://a", "title": "A", "license": "mit" });
        for name in ["citationSources", "citations"] {
            let got = annotations("abc", None, Some(&json!({ name: [one, { "endIndex": 2 }] })));
            assert_eq!(got, [url_citation(1, 2, "https://a", "A")]);
        }
    }
}
