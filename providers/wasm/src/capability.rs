//! The powers a component may ask for: one WIT interface each, but for [`Capability::Keep`], which its tools ask for where
//! they describe themselves, and [`Capability::Wasi`], which stands for a list of interfaces (`wasi.rs`).
//!
//! Invariant: this list and `wit/` name the same interfaces; an import outside it is refused by name.

use std::fmt;

use crate::{fault::Fault, wasi};

/// The package and version every interface here belongs to.
const PACKAGE: &str = "frontdesk:tool/";
const VERSION: &str = "@0.1.0";

/// The export that makes a component a tool.
pub(crate) const TOOLS: &str = "frontdesk:tool/tools@0.1.0";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// Lines for the operator's log.
    Log,
    /// The tool's own key-value data.
    Kv,
    /// The time of day.
    Clock,
    /// Unpredictable bytes.
    Random,
    /// Requests to the hosts that the operator named.
    Fetch,
    /// The idempotency key of the call.
    Context,
    /// Its instance, for the next call of the conversation.
    Keep,
    /// What a language's runtime asks for: clocks, chance, and an empty world around them.
    Wasi,
}

impl Capability {
    pub const ALL: [Self; 8] =
        [Self::Log, Self::Kv, Self::Clock, Self::Random, Self::Fetch, Self::Context, Self::Keep, Self::Wasi];

    /// The name an operator grants it by; that of its interface in WIT, where it has one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Kv => "kv",
            Self::Clock => "clock",
            Self::Random => "random",
            Self::Fetch => "fetch",
            Self::Context => "context",
            Self::Keep => "keep",
            Self::Wasi => "wasi",
        }
    }

    /// The capability an operator names.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// The full name a component imports it by, where it has one.
    pub(crate) fn interface(self) -> Option<String> {
        (!matches!(self, Self::Keep | Self::Wasi)).then(|| format!("{PACKAGE}{}{VERSION}", self.name()))
    }

    fn of_import(import: &str) -> Option<Self> {
        if wasi::has(import) {
            return Some(Self::Wasi);
        }
        Self::ALL.into_iter().find(|c| c.interface().as_deref() == Some(import))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(u8);

impl Capabilities {
    pub const NONE: Self = Self(0);

    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// Those behind a component's imports.
    ///
    /// # Errors
    /// [`Fault::NotATool`] naming the first import that is none of ours.
    pub(crate) fn of_imports<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, Fault> {
        let mut imports = Self::NONE;
        for name in names {
            let Some(capability) = Capability::of_import(name) else {
                let known: Vec<String> = Capability::ALL.into_iter().filter_map(Capability::interface).collect();
                let known = known.join(", ");
                let shown: String = name.chars().take(128).flat_map(char::escape_default).collect();
                return Err(Fault::NotATool(format!(
                    "it imports '{shown}'; what a tool may import is {known}, and of WASI 0.2 the clocks, random and the \
                     cli, filesystem, io and sockets that a language's runtime asks for"
                )));
            };
            imports = imports.with(capability);
        }
        Ok(imports)
    }

    /// In the order of [`Capability::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |c| self.has(*c))
    }

    /// The first capability in `self` that `granted` lacks.
    #[must_use]
    pub fn first_missing_in(self, granted: Self) -> Option<Capability> {
        self.iter().find(|c| !granted.has(*c))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(all: I) -> Self {
        all.into_iter().fold(Self::NONE, Self::with)
    }
}
