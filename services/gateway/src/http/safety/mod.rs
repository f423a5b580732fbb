//! Shields asked directly, in Llama Stack's shape.

pub mod run_shield;
