//! A model that an operator writes under `models:` of a provider: its name, and what it does where that is not a chat.

use std::fmt::Formatter;

use frontdesk_api::inference::ModelKind;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A model to offer: its name, or `{ id, kind }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The server's own name.
    pub id: String,
    pub kind: ModelKind,
}

impl<'de> Deserialize<'de> for Offer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Described {
            id: String,
            #[serde(default)]
            kind: ModelKind,
        }
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = Offer;

            fn expecting(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
                f.write_str("a model's name, or { id, kind }")
            }

            fn visit_str<E>(self, id: &str) -> Result<Offer, E> {
                Ok(Offer { id: id.to_owned(), kind: ModelKind::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Offer, A::Error> {
                let Described { id, kind } = Described::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Offer { id, kind })
            }
        }
        deserializer.deserialize_any(Forms)
    }
}
