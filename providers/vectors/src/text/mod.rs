//! From text to index terms, the same way for pages and for questions.
//!
//! It lives here and not in the databases so that SQLite and Postgres find the same pages in the same
//! order. Invariant: a word of a page and the same word of a question lead to the same term.

mod fold;
mod language;
mod terms;
mod words;

pub use language::Language;
pub(crate) use terms::{Concept, Role, index_terms, prefix_of, question};
