//! Whose a conversation is: an end customer's, or nobody's.
//!
//! A turn in a session is whose the session is; one without a session (a response by itself) is the customer's who
//! asked for it; a container of a session is whose that is, another the customer's whose code it was made for. Invariant:
//! every door of this room that takes the id of a session, a turn, a response, an item or a container asks here first, and
//! what a caller may not see is answered as if it were not there.

use frontdesk_api::{
    Cx, Error, Kind, Micros, Result,
    customer::{CUSTOMER_TOKEN, Owner},
    cx::Customer,
};
use frontdesk_store::{
    Tx,
    containers::{self, StoredContainer},
    sessions, turns,
    turns::StoredTurn,
};

/// Lets pass who asks for the tenant's own people: what they work through is every customer's.
///
/// # Errors
/// `Forbidden` on behalf of a customer, with the code `not_for_customers`; `what` begins the message.
pub(crate) fn no_customers(cx: &Cx, what: &str) -> Result<()> {
    if cx.customer.is_none() {
        return Ok(());
    }
    let message = format!("{what} are for the tenant's own people: leave out {CUSTOMER_TOKEN}");
    Err(Error::new(Kind::Forbidden, message).with_param(CUSTOMER_TOKEN).with_code("not_for_customers"))
}

/// Lets pass who may see the session; else `missing`.
///
/// # Errors
/// `missing`, and as [`Cx::sees`].
pub(crate) async fn see_session(tx: &mut Tx, cx: &Cx, id: &str, missing: fn(&str) -> Error) -> Result<()> {
    let owner = sessions::owner(tx, id).await?;
    if cx.sees(owner.as_ref())? { Ok(()) } else { Err(missing(id)) }
}

/// Lets in who may say something in the session; one that was nobody's is then the customer's who speaks. The caller
/// commits.
///
/// # Errors
/// `missing`, and as [`Cx::speaks`].
pub(crate) async fn enter_session(tx: &mut Tx, cx: &Cx, id: &str, missing: fn(&str) -> Error) -> Result<()> {
    let owner = sessions::owner(tx, id).await?;
    enter_owned(tx, cx, id, owner, missing).await
}

/// As [`enter_session`], where it was just read whose the session is.
///
/// # Errors
/// As [`enter_session`].
pub(crate) async fn enter_owned(
    tx: &mut Tx,
    cx: &Cx,
    id: &str,
    owner: Option<Owner>,
    missing: fn(&str) -> Error,
) -> Result<()> {
    let owner = match (&cx.customer, owner) {
        (Some(customer), None) => sessions::claim(tx, id, &customer.owner()).await?,
        (_, owner) => owner,
    };
    if cx.speaks(owner.as_ref())? { Ok(()) } else { Err(missing(id)) }
}

/// Whether the caller may see the turn.
///
/// # Errors
/// As [`Cx::sees`].
pub(crate) async fn sees(tx: &mut Tx, cx: &Cx, stored: &StoredTurn) -> Result<bool> {
    cx.sees(owner(tx, stored).await?.as_ref())
}

/// Whether the caller may go on from the turn.
///
/// # Errors
/// As [`Cx::speaks`].
pub(crate) async fn continues(tx: &mut Tx, cx: &Cx, stored: &StoredTurn) -> Result<bool> {
    cx.speaks(owner(tx, stored).await?.as_ref())
}

/// What was found to go on from, for who may; to others it is not there.
///
/// # Errors
/// As it was found; `NotFound`, and as [`Cx::speaks`].
pub(crate) async fn to_continue(tx: &mut Tx, cx: &Cx, found: Result<StoredTurn>) -> Result<StoredTurn> {
    let stored = found?;
    if continues(tx, cx, &stored).await? { Ok(stored) } else { Err(turns::missing(&stored.turn.id)) }
}

/// Whether the turn is in a list that the caller gets.
///
/// # Errors
/// As any query.
pub(crate) async fn in_sight(tx: &mut Tx, cx: &Cx, stored: &StoredTurn) -> Result<bool> {
    Ok(cx.sight().holds(owner(tx, stored).await?.as_ref()))
}

async fn owner(tx: &mut Tx, stored: &StoredTurn) -> Result<Option<Owner>> {
    match &stored.turn.session_id {
        Some(session) => sessions::owner(tx, session).await,
        None => Ok(stored.request.customer.as_ref().map(Customer::owner)),
    }
}

/// The turn, for who may see it.
///
/// # Errors
/// `NotFound`, and as [`Cx::sees`].
pub(crate) async fn load_turn(tx: &mut Tx, cx: &Cx, id: &str) -> Result<StoredTurn> {
    let stored = turns::load(tx, id).await?;
    if sees(tx, cx, &stored).await? { Ok(stored) } else { Err(turns::missing(id)) }
}

/// The container, for who may see it.
///
/// # Errors
/// `NotFound`, and as [`Cx::sees`].
pub(crate) async fn load_container(tx: &mut Tx, cx: &Cx, id: &str, now: Micros) -> Result<StoredContainer> {
    let container = containers::load(tx, id, now).await?;
    if cx.sees(container.owner.as_ref())? { Ok(container) } else { Err(containers::missing(id)) }
}
