//! Where tools' requests may go beside the public internet.

use frontdesk_api::{Error, Result};
use serde::Deserialize;

/// Tools ask servers of the public internet; what stands inside is the operator's to open.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Egress {
    /// Ranges of addresses (`10.0.0.0/8`, `fd00::/8`, one address) that tools may reach too.
    pub private_networks: Vec<String>,
}

impl Egress {
    /// # Errors
    /// `Invalid` with the path of the entry.
    pub fn networks<N: std::str::FromStr<Err = String>>(&self) -> Result<Vec<N>> {
        let read = |(i, text): (usize, &String)| {
            text.parse().map_err(|wrong| {
                let key = format!("egress.private_networks[{i}]");
                Error::invalid(key.clone(), format!("{key}: {wrong}"))
            })
        };
        self.private_networks.iter().enumerate().map(read).collect()
    }
}
