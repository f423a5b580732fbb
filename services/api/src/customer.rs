//! The end customer on whose behalf a request comes: verified by a token of the tenant's, or anonymous.
//!
//! What belongs to a customer (a conversation, a response) has an [`Owner`]. Invariant: nobody who proves to be someone
//! else sees it or speaks in it, and nobody speaks in it who proves nothing.

use serde::{Deserialize, Serialize};

use crate::{Cx, Error, Kind, Result, Scope};

/// The request header that carries a customer's token; its name in errors, too. HTTP compares it in any case.
pub const CUSTOMER_TOKEN: &str = "X-Frontdesk-Customer-Token";

/// A verified end customer; bound tool arguments are filled from here, never by the model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Customer {
    /// The token's `sub`.
    pub sub: String,
    /// The token's `iss`, where the key that verified it asks for one: the same `sub` of another issuer is someone else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The token's other claims that are texts, numbers, or yes and no.
    #[serde(default)]
    pub claims: serde_json::Map<String, serde_json::Value>,
}

impl Customer {
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner { issuer: self.issuer.clone().unwrap_or_default(), sub: self.sub.clone() }
    }

    /// What an argument is bound to: `customer.sub`, or `customer.<claim>`, where what follows is the claim's whole name,
    /// which may have dots of its own.
    #[must_use]
    pub fn look_up(&self, path: &str) -> Option<serde_json::Value> {
        match path.strip_prefix("customer.")? {
            "sub" => Some(self.sub.clone().into()),
            claim => self.claims.get(claim).cloned(),
        }
    }
}

/// Whose something is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Empty where the customer's key asks for none.
    pub issuer: String,
    pub sub: String,
}

/// Which of a list a caller sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    All,
    /// What belongs to nobody.
    Unowned,
    Of(Owner),
}

impl Sight {
    /// Whether what belongs to `owner` is among it.
    #[must_use]
    pub fn holds(&self, owner: Option<&Owner>) -> bool {
        match self {
            Self::All => true,
            Self::Unowned => owner.is_none(),
            Self::Of(one) => owner == Some(one),
        }
    }
}

/// How a customer's token is signed. It is the key's, never the token's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum Algorithm {
    /// HMAC with SHA-256 (RFC 7518, section 3.2): both sides hold the secret.
    #[serde(rename = "HS256")]
    Hs256,
    /// Ed25519 (RFC 8037): Frontdesk holds the public half alone.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// Its name in a token's header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
        }
    }

    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Hs256, Self::EdDsa].into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

impl Cx {
    /// Whether the caller may see (and stop, and delete) what belongs to `owner`: that customer, or the tenant's own
    /// people, whose keys may change agents. False: to this caller it does not exist.
    ///
    /// # Errors
    /// `Forbidden` with the code `customer_token_required` for a key that only talks to agents and brings no customer.
    pub fn sees(&self, owner: Option<&Owner>) -> Result<bool> {
        match (owner, &self.customer) {
            (None, _) => Ok(true),
            (Some(owner), Some(customer)) => Ok(customer.owner() == *owner),
            (Some(_), None) if self.require(Scope::Write).is_ok() => Ok(true),
            (Some(_), None) => Err(unproven()),
        }
    }

    /// Whether the caller may say something where `owner` talks. False: to this caller it does not exist.
    ///
    /// # Errors
    /// As [`Cx::sees`], whatever the key.
    pub fn speaks(&self, owner: Option<&Owner>) -> Result<bool> {
        match (owner, &self.customer) {
            (Some(_), None) => Err(unproven()),
            _ => self.sees(owner),
        }
    }

    /// What the caller sees of a list.
    #[must_use]
    pub fn sight(&self) -> Sight {
        match &self.customer {
            Some(customer) => Sight::Of(customer.owner()),
            None if self.require(Scope::Write).is_ok() => Sight::All,
            None => Sight::Unowned,
        }
    }
}

fn unproven() -> Error {
    let message = format!("this belongs to a customer who is signed in: send the customer's token in {CUSTOMER_TOKEN}");
    Error::new(Kind::Forbidden, message).with_param(CUSTOMER_TOKEN).with_code("customer_token_required")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn caller(scope: Scope, sub: Option<&str>) -> Cx {
        let mut cx = Cx::internal("t", "r");
        cx.principal.scopes = BTreeSet::from([scope]);
        cx.customer = sub.map(|sub| Customer { sub: sub.into(), ..Customer::default() });
        cx
    }

    #[test]
    fn a_customers_things_are_the_customers() {
        let ada = caller(Scope::Use, Some("ada")).customer.expect("ada").owner();
        for scope in [Scope::Use, Scope::Write, Scope::Admin] {
            let (ada_again, eve, nobody) =
                (caller(scope, Some("ada")), caller(scope, Some("eve")), caller(scope, None));
            assert!(ada_again.sees(Some(&ada)).expect("hers") && ada_again.speaks(Some(&ada)).expect("hers"));
            assert!(!eve.sees(Some(&ada)).expect("a no") && !eve.speaks(Some(&ada)).expect("a no"), "{scope:?}");
            let refused = nobody.speaks(Some(&ada)).expect_err("nobody is nobody");
            assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Forbidden, Some("customer_token_required")));
            assert!(nobody.sees(None).expect("open") && eve.speaks(None).expect("open"));
            assert_eq!(nobody.sees(Some(&ada)).is_ok(), scope != Scope::Use);
            assert_eq!(nobody.sight(), if scope == Scope::Use { Sight::Unowned } else { Sight::All });
        }
    }

    #[test]
    fn the_same_sub_of_another_issuer_is_someone_else() {
        let mut cx = caller(Scope::Admin, Some("ada"));
        let here = cx.customer.as_ref().expect("ada").owner();
        cx.customer = Some(Customer { sub: "ada".into(), issuer: Some("https://b".into()), ..Customer::default() });
        assert!(!cx.sees(Some(&here)).expect("a no"));
    }
}
