//! How the fields of spans and events are written for people: `name="text" number=3`.
//!
//! `tracing_subscriber`'s own way sends every piece through styles and the formatting machinery, which took a
//! twentieth of a request's instructions for its span alone. Invariant: a line stays one line, and nothing in it steers
//! a terminal, whatever a stranger put into a value.

use std::{
    cell::Cell,
    fmt::{Debug, Write},
};

use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FormatFields, format::Writer},
};

/// See the module.
pub(crate) struct Plain;

impl<'w> FormatFields<'w> for Plain {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> std::fmt::Result {
        thread_local! {
            static TEXT: Cell<String> = const { Cell::new(String::new()) };
        }
        // Taken for as long as it is written to: what is written may itself log.
        let mut text = TEXT.take();
        text.clear();
        let mut pen = Pen { text: &mut text, first: true, said: Ok(()) };
        fields.record(&mut pen);
        let said = pen.said.and_then(|()| writer.write_str(&text));
        TEXT.set(text);
        said
    }
}

/// Writes control characters as escapes.
struct Safe<'p>(&'p mut String);

impl Write for Safe<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        if text.bytes().all(|b| matches!(b, b' '..=b'~')) {
            return self.0.write_str(text);
        }
        for piece in text.split_inclusive(char::is_control) {
            match piece.char_indices().next_back() {
                Some((at, control)) if control.is_control() => {
                    self.0.write_str(&piece[..at])?;
                    write!(self.0, "{}", control.escape_default())?;
                }
                _ => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

struct Pen<'p> {
    /// Gathered, since the writer's own text grows by every piece.
    text: &'p mut String,
    first: bool,
    said: std::fmt::Result,
}

impl Pen<'_> {
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut Safe<'_>) -> std::fmt::Result) {
        // Fields that bridges from `log` add are not for people.
        if self.said.is_err() || field.name().starts_with("log.") {
            return;
        }
        let space = if std::mem::take(&mut self.first) { "" } else { " " };
        let name = field.name().strip_prefix("r#").unwrap_or(field.name());
        self.text.push_str(space);
        if name != "message" {
            self.text.push_str(name);
            self.text.push('=');
        }
        self.said = value(&mut Safe(self.text));
    }
}

impl Visit for Pen<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let plain = value.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\');
        self.field(field, |w| match (field.name(), plain) {
            ("message", _) => w.write_str(value),
            (_, true) => {
                w.0.push('"');
                w.0.push_str(value);
                w.0.push('"');
                Ok(())
            }
            (_, false) => write!(w, "{value:?}"),
        });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.field(field, |w| {
            write!(w, "{value}")?;
            let mut cause = value.source();
            while let Some(inner) = cause {
                write!(w, ": {inner}")?;
                cause = inner.source();
            }
            Ok(())
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, |w| write!(w, "{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What an event's line says with these fields.
    fn said(log: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Seen(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Seen {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().expect("unpoisoned").extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let seen = Seen::default();
        let writer = seen.clone();
        let builder = tracing_subscriber::fmt().with_ansi(false).without_time().with_target(false);
        let subscriber = builder.fmt_fields(Plain).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = seen.0.lock().expect("unpoisoned").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn fields_are_written_for_people_and_stay_on_their_line() {
        let broken = frontdesk_api::Error::upstream("no answer").with_source("refused");
        let line = said(|| {
            let _span = tracing::info_span!("request", id = "r1", route = tracing::field::Empty).entered();
            tracing::info!(status = 200, text = "a \"b\"", shown = %"x\n\u{1b}[31mred", listed = ?["é"], error = &broken as &dyn std::error::Error, "{}", "done\r");
        });
        let want = r#" INFO request{id="r1"}: done\r status=200 text="a \"b\"" shown=x\n\u{1b}[31mred listed=["é"] error=no answer: refused"#;
        assert_eq!(line, format!("{want}\n"));
    }
}
