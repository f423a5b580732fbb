//! When a server that refused may be asked again.
//!
//! Three ways of saying it are in use: `retry-after-ms` (OpenAI's and Azure's own, milliseconds), `Retry-After` in seconds,
//! and `Retry-After` as a date (RFC 9110, 10.2.3), which is counted from the answer's own `Date`: by the server's clock and not
//! by ours. The first that reads is the answer; one that does not is none.

use std::time::Duration;

use http::{
    HeaderMap,
    header::{DATE, RETRY_AFTER},
};

/// What the headers of a refusal say.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let millis = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok());
    if let Some(wait) = millis.and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok()) {
        return Some(wait);
    }
    let said = text(RETRY_AFTER.as_str())?;
    if let Some(wait) = said.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        return Some(wait);
    }
    // A date that has passed: at once.
    let date = |said: &str| httpdate::parse_http_date(said).ok();
    Some(date(said)?.duration_since(date(text(DATE.as_str())?)?).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_saying_it_is_read() {
        let of = |said: &[(&'static str, &str)]| {
            let headers =
                said.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().expect("a value")));
            retry_after(&headers.collect()).map(|wait| wait.as_millis())
        };
        let date = ("date", "Sun, 06 Nov 1994 08:49:30 GMT");
        for (said, want) in [
            (vec![("retry-after", "7")], Some(7_000)),
            (vec![("retry-after", " 0.5 ")], Some(500)),
            (vec![("retry-after-ms", "250"), ("retry-after", "1")], Some(250)),
            (vec![("retry-after-ms", "soon"), ("retry-after", "1")], Some(1_000)),
            (vec![date, ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], Some(7_000)),
            (vec![date, ("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT")], Some(0)),
            (vec![("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], None),
            (vec![("retry-after", "-1")], None),
            (vec![("retry-after", "NaN")], None),
            (vec![("retry-after", "later")], None),
            (vec![], None),
        ] {
            assert_eq!(of(&said), want, "{said:?}");
        }
    }
}
