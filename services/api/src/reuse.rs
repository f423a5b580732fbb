//! Answers that are kept or shared: what a caller wants of them, and what became of a request.

/// Whether somebody was asked for an answer, on a route that keeps or shares answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Nobody had it: a provider was asked.
    Miss,
    /// It was kept from an earlier request.
    Hit,
    /// An equal request was under way, and this is its answer too.
    Shared,
    /// Not a request whose answers the route keeps or shares.
    Bypass,
}

impl Reuse {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Miss => "miss",
            Self::Hit => "hit",
            Self::Shared => "shared",
            Self::Bypass => "bypass",
        }
    }

    /// Nobody was asked for it, so nothing is to be paid.
    #[must_use]
    pub fn is_free(self) -> bool {
        matches!(self, Self::Hit | Self::Shared)
    }
}

/// What a caller wants of kept answers: HTTP's directives of a request (RFC 9111, section 5.2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// No kept answer that is older, in seconds, and 0 none at all. None: any.
    pub max_age: Option<u64>,
    /// Neither the request nor its answer is to be kept; what was kept before may be told.
    pub no_store: bool,
}

impl CacheControl {
    /// Of a header's values. Directives that a cache of ours has no use for are left out, as the section says.
    #[must_use]
    pub fn read<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        for directive in values.into_iter().flat_map(|value| value.split(',')) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = match name.trim().to_ascii_lowercase().as_str() {
                "no-cache" => 0,
                // One that cannot be read asks for a fresh answer in any case (section 4.2.1).
                "max-age" => value.trim().trim_matches('"').parse().unwrap_or(0),
                "no-store" => {
                    all.no_store = true;
                    continue;
                }
                _ => continue,
            };
            all.max_age = Some(all.max_age.map_or(seconds, |least| least.min(seconds)));
        }
        all
    }

    /// Whether nothing will do but to ask.
    #[must_use]
    pub fn wants_fresh(self) -> bool {
        self.max_age == Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_of_a_request_are_read_as_http_says() {
        let of = |values: &[&str]| {
            let all = CacheControl::read(values.iter().copied());
            (all.max_age, all.no_store)
        };
        assert_eq!(of(&[]), (None, false));
        assert_eq!(of(&["no-cache"]), (Some(0), false));
        assert_eq!(of(&["No-Store"]), (None, true));
        assert_eq!(of(&["max-age=60, no-store", "max-age=\"30\""]), (Some(30), true));
        assert_eq!(of(&["max-age=60 , no-cache"]), (Some(0), false));
        assert_eq!(of(&["max-age=soon"]), (Some(0), false), "unreadable is not fresh");
        assert_eq!(of(&["no-transform, only-if-cached, x=\"no-cache\""]), (None, false));
    }
}
