//! Reads Bedrock's errors: a header or a member names the type, `{"message": …}` says what is wrong; in a stream, a
//! message of its own.
//!
//! The type decides, the status only where the type is none of the documented ones. Sources: the error shapes of the
//! service model `bedrock-runtime`; "Common Errors" of the API reference, which any AWS service may answer with.

use std::time::Duration;

use frontdesk_api::{Error, Kind};
use serde_json::Value;

use crate::{eventstream::Message, fault};

/// The error that an upstream's answer means to our caller. Refused credentials are the operator's, so an upstream
/// fault.
///
/// `named`: the header `x-amzn-errortype`; `retry_after` what its headers say of another try.
#[must_use]
pub fn from_response(
    provider: &str,
    status: u16,
    named: Option<&str>,
    body: &[u8],
    retry_after: Option<Duration>,
) -> Error {
    let wire: Value = serde_json::from_slice(body).unwrap_or_default();
    let inside = ["__type", "code"].iter().find_map(|name| wire.get(name)?.as_str());
    let kind = named.or(inside).map(bare);
    let said = message(&wire);
    let readable = said.is_some();
    let said = said.map_or_else(|| fault::quote(body, "Amazon"), str::to_owned);
    let told = kind.and_then(|kind| told(kind, &said));
    let said = match told.as_ref().and_then(|told| told.hint) {
        Some(hint) => format!("{} ({hint})", said.trim_end_matches('.')),
        None => said,
    };
    let mut out = match (told.map(|told| told.meaning), status) {
        (Some(Meaning::Credentials), _) | (None, 401..=403) => fault::credentials(provider, status, &said),
        (Some(Meaning::Kind(kind)), _) => fault::answered(provider, status, kind, said),
        (None, _) => fault::answered(provider, status, fault::kind(status, readable), said),
    };
    out.code = out.code.or_else(|| kind.map(str::to_owned));
    out.retry_after = retry_after;
    out
}

/// The error that a message of a stream is; None: it is an event.
#[must_use]
pub fn in_stream(provider: &str, message: &Message<'_>) -> Option<Error> {
    let (name, said) = match message.header(":message-type") {
        Some("exception") => (message.header(":exception-type"), None),
        Some("error") => (message.header(":error-code"), message.header(":error-message")),
        _ => return None,
    };
    let wire: Value = serde_json::from_slice(message.payload).unwrap_or_default();
    let said = said.or_else(|| self::message(&wire)).unwrap_or("no message");
    let mut said = format!("provider '{provider}' broke off its answer: {said}");
    if let Some(model) = wire.get("originalMessage").and_then(Value::as_str) {
        said = format!("{said}: {model}");
    }
    // A stream's names begin with a small letter.
    let name = name.map(|name| {
        let mut letters = bare(name).chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    });
    let kind = match name.as_deref().and_then(|name| told(name, &said)).map(|told| told.meaning) {
        Some(Meaning::Kind(kind)) => kind,
        _ => Kind::Upstream,
    };
    let mut out = Error::new(kind, said);
    out.code = name;
    Some(out)
}

/// What a documented type means.
struct Told {
    meaning: Meaning,
    /// What to do about it, for people.
    hint: Option<&'static str>,
}

enum Meaning {
    Credentials,
    Kind(Kind),
}

fn told(kind: &str, said: &str) -> Option<Told> {
    let credentials = |hint| Told { meaning: Meaning::Credentials, hint };
    let of = |kind, hint| Told { meaning: Meaning::Kind(kind), hint };
    Some(match kind {
        // The service says this of a model that does not exist, too.
        "ValidationException" if said.contains("model identifier is invalid") => of(Kind::NotFound, None),
        "ValidationException" => of(Kind::Invalid, None),
        "ResourceNotFoundException" => of(Kind::NotFound, None),
        "ConflictException" => of(Kind::Conflict, None),
        "ThrottlingException" | "ThrottledException" | "TooManyRequestsException" => of(Kind::RateLimited, None),
        "ServiceQuotaExceededException" => {
            of(Kind::RateLimited, Some("a quota of the AWS account: Service Quotas can raise it"))
        }
        "ModelNotReadyException" => of(Kind::Unavailable, Some("the model is being loaded: ask again")),
        "ServiceUnavailableException" | "ServiceUnavailable" => of(Kind::Unavailable, None),
        "ModelTimeoutException" => of(Kind::Timeout, None),
        "InternalServerException" | "InternalFailure" | "ModelErrorException" | "ModelStreamErrorException" => {
            of(Kind::Upstream, None)
        }
        "UnknownOperationException" => of(Kind::Upstream, Some("is base_url an endpoint of Bedrock Runtime?")),
        "AccessDeniedException" => {
            credentials(Some("the identity needs bedrock:InvokeModel, and access to the model in this region"))
        }
        "ExpiredTokenException" | "ExpiredToken" => credentials(Some("the session_token is out of date")),
        "RequestExpired" => credentials(Some("is this machine's clock right?")),
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "IncompleteSignature" => {
            credentials(Some("check secret_access_key, region and this machine's clock"))
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken"
        | "NotAuthorized"
        | "OptInRequired" => credentials(None),
        _ => return None,
    })
}

/// The name alone, of `prefix#Name:http://…`.
fn bare(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or_default();
    name.rsplit('#').next().unwrap_or_default().trim()
}

fn message(wire: &Value) -> Option<&str> {
    ["message", "Message"].iter().find_map(|name| fault::words(wire.get(name)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_documented_error_has_its_kind() {
        for (status, kind, want) in [
            (400, "ValidationException", Kind::Invalid),
            (400, "ServiceQuotaExceededException", Kind::RateLimited),
            (403, "AccessDeniedException", Kind::Upstream),
            (403, "UnrecognizedClientException", Kind::Upstream),
            (403, "ExpiredTokenException", Kind::Upstream),
            (403, "InvalidSignatureException", Kind::Upstream),
            (404, "ResourceNotFoundException", Kind::NotFound),
            (404, "UnknownOperationException", Kind::Upstream),
            (408, "ModelTimeoutException", Kind::Timeout),
            (424, "ModelErrorException", Kind::Upstream),
            (429, "ThrottlingException", Kind::RateLimited),
            (429, "ModelNotReadyException", Kind::Unavailable),
            (500, "InternalServerException", Kind::Upstream),
            (503, "ServiceUnavailableException", Kind::Unavailable),
        ] {
            let header = format!("{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/");
            let error =
                from_response("b", status, Some(&header), br#"{"message":"as said."}"#, Some(Duration::from_secs(3)));
            assert_eq!((error.kind, error.retry_after), (want, Some(Duration::from_secs(3))), "{kind}");
            assert!(error.message.contains("as said"), "{}", error.message);
            let code = if status == 403 { "provider_credentials" } else { kind };
            assert_eq!(error.code.as_deref(), Some(code));
        }
    }

    #[test]
    fn the_type_may_stand_in_the_body_and_what_helps_is_said() {
        let of = |body: &str| from_response("b", 400, None, body.as_bytes(), None);
        let error =
            of(r#"{"__type":"com.amazon.coral.service#ExpiredTokenException","Message":"The token is expired."}"#);
        assert_eq!(error.kind, Kind::Upstream);
        assert!(
            error.message.ends_with("The token is expired (the session_token is out of date)"),
            "{}",
            error.message
        );
        let error = of(r#"{"__type":"ValidationException","message":"The provided model identifier is invalid."}"#);
        assert_eq!(error.kind, Kind::NotFound);
    }

    #[test]
    fn a_body_that_is_none_goes_by_its_status() {
        for (status, named, body, want, says) in [
            (503, None, "", Kind::Unavailable, "an empty body"),
            (404, None, "<html>no", Kind::Upstream, "provider 'b' answered 404"),
            (403, None, "<html>no", Kind::Upstream, "refused its credentials"),
            (429, Some("BrandNewException"), r#"{"message":"hm"}"#, Kind::RateLimited, "hm"),
        ] {
            let error = from_response("b", status, named, body.as_bytes(), None);
            assert_eq!(error.kind, want, "{body}");
            assert!(error.message.contains(says), "{} should contain {says}", error.message);
        }
    }
}
