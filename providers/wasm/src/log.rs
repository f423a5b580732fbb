//! Lines a tool wrote for the operator.
//!
//! Invariant: a [`LogLine`] is one line. A tool's words may be a stranger's words; nothing in them can
//! forge another line, move a cursor or turn the direction of the text.

use serde::Serialize;
use wasmtime::component::{ComponentType, Lift};

/// WIT: `enum level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ComponentType, Lift)]
#[serde(rename_all = "snake_case")]
#[component(enum)]
#[repr(u8)]
pub enum LogLevel {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    pub level: LogLevel,
    pub message: String,
}

/// `text` with everything escaped that a terminal or a log reader would obey rather than show.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || obeyed(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// Line and paragraph separators, direction marks and overrides, the byte order mark.
fn obeyed(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_obeyed_survives() {
        assert_eq!(one_line("Grüße, 訂單 #1 – ok"), "Grüße, 訂單 #1 – ok");
        assert_eq!(one_line("a\nERROR forged\r\u{1b}[2J\0\u{9b}"), r"a\nERROR forged\r\u{1b}[2J\u{0}\u{9b}");
        assert_eq!(one_line("\u{202e}txt\u{2028}\u{feff}"), r"\u{202e}txt\u{2028}\u{feff}");
    }
}
