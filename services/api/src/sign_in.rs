//! Signing in by OAuth at the server of a tool group: what a provider does of it, over a state that others keep.
//!
//! Invariant: a provider keeps nothing; what it has to remember it hands back, and that is kept sealed.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::{
    Cx, Error, Kind, Result,
    secret::Secret,
    tools::{SecretArgs, ToolSource},
};

/// How whoever calls is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Not by tokens: with credentials of their own, or the registration's, or without any.
    Otherwise,
    /// By tokens that a person agreed to.
    Person,
    /// By tokens that the group's client asks for itself.
    Alone,
}

/// A provider whose servers may ask for OAuth.
///
/// `secret` is the tenant's secret that [`SignIn::secret_name`] names. An error that is an [`Unauthorized`] says that what
/// is kept is good for nothing any more; with all others the same may be tried later.
#[async_trait]
pub trait SignIn: Send + Sync {
    /// How a call of `cx` is let in. Nobody is asked.
    ///
    /// # Errors
    /// `Invalid` naming what is wrong with the source.
    fn way(&self, cx: &Cx, source: &ToolSource) -> Result<Way>;

    /// Whether these tokens are for this source's server, and for its client.
    fn fits(&self, source: &ToolSource, kept: &SecretArgs) -> bool;

    /// The name of the tenant's secret that the group's client proves itself by.
    fn secret_name(&self, source: &ToolSource) -> Option<String>;

    /// Where a person goes to let the group in.
    ///
    /// # Errors
    /// `Invalid`, `Conflict` or `Upstream` saying why nobody can sign in there.
    async fn begin(&self, cx: &Cx, source: &ToolSource, secret: Option<&Secret>, ask: Ask<'_>) -> Result<Begun>;

    /// What the person brought back becomes tokens.
    ///
    /// # Errors
    /// As [`SignIn::begin`].
    async fn finish(
        &self,
        cx: &Cx,
        source: &ToolSource,
        secret: Option<&Secret>,
        begun: &SecretArgs,
        brought: &Brought,
    ) -> Result<Signed>;

    /// Signs in without a person. None: one is needed, and could.
    ///
    /// # Errors
    /// As [`SignIn::begin`]: also where a person could not sign in either.
    async fn alone(&self, cx: &Cx, source: &ToolSource, secret: Option<&Secret>) -> Result<Option<Signed>>;

    /// New tokens for old ones.
    ///
    /// # Errors
    /// As [`SignIn::begin`]; of the code [`NO_RENEWAL`] where there is nothing to renew by.
    async fn renew(&self, cx: &Cx, source: &ToolSource, secret: Option<&Secret>, kept: &SecretArgs) -> Result<Signed>;
}

/// The code of an error that says that only a person can bring new tokens.
pub const NO_RENEWAL: &str = "no_renewal";

/// What a person is sent to a server with.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// Where the server sends them back to.
    pub redirect_uri: &'a str,
    /// What they bring back, by which they are known.
    pub state: &'a str,
    /// What the server wanted beside what it had given; None: it did not say.
    pub scope: Option<&'a str>,
    /// What the group is let in with now, where that is good: it is added to.
    pub kept: Option<&'a SecretArgs>,
    /// What was kept of whoever was sent last ([`Begun::kept`]), and may be on their way still.
    pub tried: Option<&'a SecretArgs>,
}

/// A person is on their way.
pub struct Begun {
    pub url: String,
    pub kept: SecretArgs,
    /// For them to read: the server that is called as them, and who asks them.
    pub server: String,
    pub issuer: String,
}

/// What they brought back.
#[derive(Clone, Default)]
pub struct Brought {
    pub code: String,
    /// Who says so (RFC 9207).
    pub iss: Option<String>,
}

impl fmt::Debug for Brought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Brought").field("iss", &self.iss).finish_non_exhaustive()
    }
}

/// The group is let in.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    /// Handed in with every call ([`ToolSource::signed`]).
    pub kept: SecretArgs,
    /// How long the token is good; None: the server did not say.
    pub expires_in: Option<Duration>,
    /// Who gave it.
    pub issuer: String,
}

/// Nobody is let in so: the source of an [`Error`]. Of a call it says that the call was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not let in")]
pub struct Unauthorized {
    /// What the server wants beside what it gave.
    pub scope: Option<String>,
}

impl Unauthorized {
    /// An error of this kind.
    #[must_use]
    pub fn error(message: impl Into<String>, scope: Option<String>) -> Error {
        Error::new(Kind::Upstream, message).with_code("needs_authorization").with_source(Self { scope })
    }

    /// The error as one.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        error.source.as_ref()?.downcast_ref()
    }
}
