//! Why a component was refused or a call gave no result.
//!
//! Invariant: only [`Fault::Host`] and those of a full house ([`Fault::is_busy`]) are trouble of ours; everything else was brought by
//! the component or by the arguments, and its text may be shown to the model.

use crate::{
    capability::Capability,
    limits::{Exceeded, Limit},
};

#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the tool exceeded its {0}")]
    Limit(Exceeded),
    /// The bytes are no component.
    #[error("not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// A component, but not one of a tool (a foreign import, no `tools` export, too many parts).
    #[error("not a tool component: {0}")]
    NotATool(String),
    /// It imports a capability that was not granted.
    #[error("the tool asks for '{0}', which is not granted")]
    NotGranted(Capability),
    /// What `describe` gave breaks a rule.
    #[error("the tool describes itself wrongly: {0}")]
    Description(String),
    #[error("no tool is called '{0}'")]
    UnknownTool(String),
    /// They are no JSON, break the tool's schema, or the tool itself refused them.
    #[error("bad arguments: {0}")]
    BadArguments(String),
    /// The tool's own words.
    #[error("{0}")]
    Failed(String),
    /// The guest broke off (a panic, a wild pointer); its instance is gone.
    #[error("the tool crashed: {0}")]
    Trapped(String),
    /// All slots were taken until the wall time was over.
    #[error("all {0} tool slots are busy")]
    Busy(u32),
    /// It waited for an earlier call of its own conversation.
    #[error("an earlier call of the same conversation still ran at the end of the {0}")]
    Waited(Exceeded),
    /// Conversations that hold less, or run, have all places.
    #[error("all {0} places of conversations are in use")]
    Full(usize),
    /// Trouble of ours: the key-value store, the engine.
    #[error(transparent)]
    Host(#[from] frontdesk_api::Error),
}

impl Fault {
    /// The guest is as it was: it said so itself, or was not asked.
    pub(crate) fn leaves_guest(&self) -> bool {
        matches!(self, Self::BadArguments(_) | Self::Failed(_))
    }

    /// The same bytes will meet it again: no trouble of ours, and nothing that a busy machine, or one short of memory, brings
    /// about.
    pub(crate) fn is_the_components(&self) -> bool {
        match self {
            Self::NotAComponent(_) | Self::NotATool(_) | Self::Description(_) => true,
            Self::Limit(exceeded) => !matches!(exceeded.limit, Limit::Wall | Limit::Cpu | Limit::CompileSpace),
            _ => false,
        }
    }

    /// Ours to mend, not the model's to read.
    #[must_use]
    pub fn is_infrastructure(&self) -> bool {
        matches!(self, Self::Host(_)) || self.is_busy()
    }

    /// The call was not made; a later one may be.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Waited(_) | Self::Full(_))
    }
}

/// What a host function ends the guest with. Travels through wasmtime as the trap's error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    #[error("the tool exceeded its {0}")]
    Limit(Exceeded),
    #[error("{0} may not be used while the tool describes itself")]
    WhileDescribing(Capability),
    /// A function of WASI that has nothing behind it.
    #[error("it called '{0}', which bare WASI does not have")]
    Absent(String),
    #[error(transparent)]
    Host(frontdesk_api::Error),
}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Limit(exceeded) => Self::Limit(exceeded),
            Stop::WhileDescribing(_) => Self::Description(stop.to_string()),
            Stop::Absent(_) => Self::Trapped(stop.to_string()),
            Stop::Host(error) => Self::Host(error),
        }
    }
}
