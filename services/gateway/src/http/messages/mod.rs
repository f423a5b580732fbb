//! Anthropic's Messages.

pub mod count_tokens;
pub mod create;
