//! Anthropic's Messages.

pub mod chosen;
pub mod count_tokens;
pub mod create;
