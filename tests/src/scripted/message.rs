//! What a script wants to know of a chat request: its last messages, its tools, its sources. For tests only.

use super::script::When;
use serde_json::Value;

/// A request as the script sees it.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) text: &'a str,
    /// `Null` where the body is no JSON.
    pub(super) json: Value,
}

impl Asked<'_> {
    /// Whether every condition of `when` holds.
    pub(super) fn satisfies(&self, when: &When) -> bool {
        let holds = |wanted: &Option<String>, test: &dyn Fn(&str) -> bool| wanted.as_deref().is_none_or(test);
        if when.path.is_none() && self.method != "POST" {
            return false;
        }
        holds(&when.path, &|p| self.path.starts_with(p))
            && holds(&when.model, &|m| self.json["model"] == m)
            && when.stream.is_none_or(|s| s == self.wants_stream())
            && holds(&when.last_role, &|r| self.last().is_some_and(|m| m["role"] == r))
            && holds(&when.last_contains, &|t| self.last().is_some_and(|m| content(m).contains(t)))
            && holds(&when.last_user_contains, &|t| self.last_user().contains(t))
            && holds(&when.has_tool, &|name| self.offers(name))
            && holds(&when.body_contains, &|t| self.text.contains(t))
    }

    pub(super) fn wants_stream(&self) -> bool {
        self.json["stream"] == true
    }

    pub(super) fn wants_usage(&self) -> bool {
        self.json["stream_options"]["include_usage"] == true
    }

    pub(super) fn model(&self) -> &str {
        self.json["model"].as_str().unwrap_or("scripted")
    }

    /// Whether a text completion is asked for and not a chat.
    pub(super) fn wants_text(&self) -> bool {
        self.path.ends_with("/completions") && !self.path.ends_with("/chat/completions")
    }

    /// Words of all messages or of the prompt: the token count of a request here.
    pub(super) fn words(&self) -> usize {
        let count = |text: &str| text.split_whitespace().count();
        self.messages().iter().map(|m| count(&content(m))).sum::<usize>()
            + self.json["prompt"].as_str().map_or(0, count)
    }

    /// Replaces the placeholders of a script's text by what the request says.
    pub(super) fn fill(&self, template: &str) -> String {
        let mut out = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(start) = rest.find('{') {
            out.push_str(&rest[..start]);
            let after = &rest[start + 1..];
            let value = after.find('}').and_then(|end| Some((end, self.placeholder(&after[..end])?)));
            match value {
                Some((end, text)) => {
                    out.push_str(&text);
                    rest = &after[end + 1..];
                }
                None => {
                    out.push('{');
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }

    /// Source 1 of the newest `<sources>` block, without its number and quotes.
    pub(super) fn first_source(&self) -> Option<String> {
        let block = self.messages().iter().rev().map(content).find(|c| c.contains("<sources>"))?;
        let (_, after) = block.split_once("<sources>")?;
        let (inside, _) = after.split_once("</sources>").unwrap_or((after, ""));
        let (_, first) = inside.split_once("[1]")?;
        let (first, _) = first.split_once("\n[2]").unwrap_or((first, ""));
        Some(first.trim().trim_matches('"').to_owned())
    }

    fn placeholder(&self, name: &str) -> Option<String> {
        match name {
            "last_user" => return Some(self.last_user()),
            "last_user_number" => return first_number(&self.last_user()),
            "tool_content" => return Some(self.tool_content()),
            _ => {}
        }
        let path = name.strip_prefix("tool_content.")?;
        let tool: Value = serde_json::from_str(&self.tool_content()).ok()?;
        let member = path.split('.').fold(&tool, |v, key| match key.parse::<usize>() {
            Ok(i) => &v[i],
            Err(_) => &v[key],
        });
        Some(member.as_str().map_or_else(|| member.to_string(), str::to_owned))
    }

    fn messages(&self) -> &[Value] {
        self.json["messages"].as_array().map_or(&[], Vec::as_slice)
    }

    fn last(&self) -> Option<&Value> {
        self.messages().last()
    }

    fn last_of(&self, role: &str) -> String {
        self.messages().iter().rev().find(|m| m["role"] == role).map(content).unwrap_or_default()
    }

    /// A text completion's user says the prompt.
    fn last_user(&self) -> String {
        self.json["prompt"].as_str().map_or_else(|| self.last_of("user"), str::to_owned)
    }

    fn tool_content(&self) -> String {
        self.last_of("tool")
    }

    fn offers(&self, name: &str) -> bool {
        let tools = self.json["tools"].as_array();
        tools.is_some_and(|tools| tools.iter().any(|t| t["function"]["name"] == name))
    }
}

/// The text of a message: its string content, or its text parts one after the other.
fn content(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|p| p["text"].as_str()).collect(),
        _ => String::new(),
    }
}

fn first_number(text: &str) -> Option<String> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    Some(text[start..].chars().take_while(char::is_ascii_digit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(json: Value) -> Asked<'static> {
        Asked { method: "POST", path: "/v1/chat/completions", text: "", json }
    }

    #[test]
    fn placeholders_take_from_the_request_and_unknown_ones_stay() {
        let asked = asked(json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "where is order 4711?"}]},
            {"role": "tool", "content": "{\"status\":\"shipped\",\"lines\":[{\"n\":2}]}"},
        ]}));
        assert_eq!(
            asked.fill("{last_user_number}: {tool_content.status}, {tool_content.lines.0.n}"),
            "4711: shipped, 2"
        );
        assert_eq!(asked.fill("{\"a\":\"{nothing}\"}"), "{\"a\":\"{nothing}\"}");
    }

    #[test]
    fn source_one_is_found_in_the_newest_block() {
        let asked = asked(json!({"messages": [
            {"role": "user", "content": "q <sources>\n[1] \"Returns within \"30\" days.\"\n[2] \"Other\"\n</sources>"},
        ]}));
        assert_eq!(asked.first_source().as_deref(), Some("Returns within \"30\" days."));
    }

    #[test]
    fn every_condition_must_hold() {
        let asked = asked(json!({"model": "m", "messages": [{"role": "user", "content": "hello"}],
            "tools": [{"type": "function", "function": {"name": "look"}}]}));
        let when = |v: Value| serde_json::from_value::<When>(v).unwrap();
        assert!(asked.satisfies(&when(json!({}))));
        assert!(asked.satisfies(&when(json!({"model": "m", "has_tool": "look", "last_user_contains": "ell"}))));
        assert!(!asked.satisfies(&when(json!({"model": "m", "has_tool": "other"}))));
        assert!(!asked.satisfies(&when(json!({"stream": true}))));
        assert!(!asked.satisfies(&when(json!({"path": "/v1/embeddings"}))));
    }
}
