//! Tools as they are called outside any turn, in Llama Stack's shape (`tool-runtime`).

pub mod invoke;
pub mod list_tools;
