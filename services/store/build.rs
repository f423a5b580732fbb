//! Rebuilds the room when a migration is added: `sqlx::migrate!` embeds the folder but cannot watch it.

#[allow(clippy::print_stdout)] // how a build script talks to cargo
fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}
