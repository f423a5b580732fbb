//! What a failure calls for: the one table of which are worth another attempt, and where.

use frontdesk_api::{Error, Kind, client_keys::CLIENT_KEY, inference::CREDENTIALS};

/// What to do about a failed attempt, and what it says about its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The same target may do better in a moment.
    pub(crate) again: bool,
    /// Another target may do better.
    pub(crate) elsewhere: bool,
    /// The target is not well: its breaker counts it.
    pub(crate) unwell: bool,
    /// Only the operator can mend it.
    pub(crate) misconfigured: bool,
}

const STOP: Verdict = Verdict { again: false, elsewhere: false, unwell: false, misconfigured: false };
const AGAIN: Verdict = Verdict { again: true, elsewhere: true, unwell: true, misconfigured: false };
/// What was waited for once is not waited for again.
const ELSEWHERE: Verdict = Verdict { again: false, ..AGAIN };
/// It has no such model, or not any more: another target has one of its own.
const NOT_THERE: Verdict = Verdict { elsewhere: true, ..STOP };
const MISCONFIGURED: Verdict = Verdict { misconfigured: true, ..ELSEWHERE };

pub(crate) fn of(error: &Error) -> Verdict {
    if error.code.as_deref() == Some(CLIENT_KEY) {
        // The client's account is not the operator's: it says nothing about the target.
        return STOP;
    }
    match error.kind {
        Kind::Upstream if error.code.as_deref() == Some(CREDENTIALS) => MISCONFIGURED,
        Kind::Upstream | Kind::Unavailable | Kind::RateLimited => AGAIN,
        Kind::Timeout => ELSEWHERE,
        Kind::NotFound => NOT_THERE,
        // The caller's own: any target would say the same, or must not be asked behind a refusal.
        Kind::Invalid | Kind::TooLarge | Kind::Refused | Kind::Conflict => STOP,
        // Of our own house, or of a caller who left.
        Kind::Unauthenticated | Kind::Forbidden | Kind::Cancelled | Kind::Internal => STOP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_verdict() {
        for (kind, verdict) in [
            (Kind::Invalid, STOP),
            (Kind::Unauthenticated, STOP),
            (Kind::Forbidden, STOP),
            (Kind::NotFound, NOT_THERE),
            (Kind::Conflict, STOP),
            (Kind::TooLarge, STOP),
            (Kind::RateLimited, AGAIN),
            (Kind::Refused, STOP),
            (Kind::Cancelled, STOP),
            (Kind::Upstream, AGAIN),
            (Kind::Timeout, ELSEWHERE),
            (Kind::Unavailable, AGAIN),
            (Kind::Internal, STOP),
        ] {
            assert_eq!(of(&Error::new(kind, "x")), verdict, "{kind:?}");
        }
        assert_eq!(of(&Error::upstream("x").with_code(CREDENTIALS)), MISCONFIGURED);
        for kind in [Kind::RateLimited, Kind::Unauthenticated, Kind::Upstream] {
            assert_eq!(of(&Error::new(kind, "x").with_code(CLIENT_KEY)), STOP, "{kind:?}");
        }
        let (moves, stays) = (AGAIN.elsewhere && ELSEWHERE.elsewhere && MISCONFIGURED.elsewhere, STOP.elsewhere);
        assert!(moves && !stays && AGAIN.again && !ELSEWHERE.again && !MISCONFIGURED.again);
    }
}
