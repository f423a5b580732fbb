//! OpenAI's chat completions.

pub mod create;
