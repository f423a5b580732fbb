//! The tiny demo model, carried in the program so that the demo needs no network and no file.

use std::path::{Path, PathBuf};

use frontdesk_api::{Error, Result};

/// The files the engine needs, by name.
const FILES: [(&str, &[u8]); 5] = [
    ("config.json", include_bytes!("../../../demo/model/config.json")),
    ("generation_config.json", include_bytes!("../../../demo/model/generation_config.json")),
    ("model.safetensors", include_bytes!("../../../demo/model/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../../demo/model/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../../demo/model/tokenizer_config.json")),
];

/// Writes the model below `data_dir` and returns its folder.
///
/// # Errors
/// `Internal` naming the file that cannot be written.
pub(super) fn unpack(data_dir: &Path) -> Result<PathBuf> {
    let folder = data_dir.join("demo-model");
    let failed = |path: &Path, e| Error::internal(format!("writing {}", path.display()), e);
    std::fs::create_dir_all(&folder).map_err(|e| failed(&folder, e))?;
    for (name, bytes) in FILES {
        let path = folder.join(name);
        std::fs::write(&path, bytes).map_err(|e| failed(&path, e))?;
    }
    Ok(folder)
}
