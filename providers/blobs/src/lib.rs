//! Where the contents of files are: a folder on a disk, or a bucket of an S3-compatible store.
//!
//! A content has a key that its tenant and the caller of [`frontdesk_api::Blobs`] give it, and is written once.
//! Invariant: under a key is a whole content or none.

mod disk;
mod s3;

use std::sync::Arc;

use frontdesk_api::{Error, Kind, ProviderDef, Result, provider::Build};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use disk::Disk;
pub use s3::S3;

/// The types this crate builds.
pub const PROVIDERS: &[ProviderDef] = &[
    ProviderDef {
        kind: "s3",
        ogx_type: "remote::s3",
        about: "A bucket of Amazon S3, MinIO or another store that speaks S3.",
        build: Build::Blobs(|setting, config| Ok(Arc::new(S3::of(setting, config)?))),
    },
    ProviderDef {
        kind: "disk",
        ogx_type: "inline::localfs",
        about: "A folder, of this machine or shared by all that serve.",
        build: Build::Blobs(|setting, config| Ok(Arc::new(Disk::of(setting, config)?))),
    },
];

/// What stands under `config:` of an entry; unknown keys are refused.
fn read<T: DeserializeOwned>(config: Value) -> Result<T> {
    // An entry without `config:` has nothing to say.
    let config = if config.is_null() { Value::Object(Map::new()) } else { config };
    serde_json::from_value(config).map_err(|e| Error::new(Kind::Invalid, e.to_string()))
}
