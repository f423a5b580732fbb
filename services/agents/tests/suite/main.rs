//! The turn without a gateway: models, tools, knowledge and shields are a few lines of code each, the rows
//! are real, on SQLite and on Postgres.

mod approvals;
mod as_model;
mod asking;
mod behind;
mod cancel;
mod code;
mod customers;
mod dictation;
mod ends;
mod guidelines;
mod handing;
mod input;
mod leaving;
mod line;
mod long;
mod lost;
mod noted;
mod open_calls;
mod pages;
mod parallel;
mod parallel_ends;
mod people;
mod questions;
mod repeat;
mod replayed_responses;
mod replays;
mod responses;
mod scarce;
mod servers;
mod shields;
mod stage;
mod sweep;
mod tools;
mod underway;
mod words;
