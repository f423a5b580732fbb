//! What holds of the store as its rooms' neighbours see it, on SQLite and on Postgres.

mod blobs;
mod claims;
mod doors;
mod jobs;
mod opening;
mod readings;
mod schema;
mod walls;
