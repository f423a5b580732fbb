//! Which files of a knowledge store a search looks into, told by their attributes.
//!
//! Decided here and not in SQL, so that both databases let the same files through. Invariants: a filter is a yes or a no
//! to a file as a whole; what a file does not say is equal to nothing, and neither above nor below anything. Source of the
//! kinds: OpenAI's API reference, "file search", `ComparisonFilter` and `CompoundFilter`.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::attributes::Attributes;

/// A yes or no to a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    /// By the value that the file has under a key.
    Key { key: String, test: Test },
    /// Every one of them says yes.
    All(Vec<Filter>),
    /// At least one of them does.
    Any(Vec<Filter>),
}

/// A comparison of a file's value with values that are strings, numbers or booleans. `1` is `1.0`, and otherwise values
/// of different types are never equal; strings stand in the order of their code points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Test {
    Eq(Value),
    /// Also yes where the file has no such key.
    Ne(Value),
    Gt(Value),
    Gte(Value),
    Lt(Value),
    Lte(Value),
    In(Vec<Value>),
    /// Also yes where the file has no such key.
    Nin(Vec<Value>),
}

/// A filter for the files of some stores; other stores are looked into whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFilter {
    pub stores: Vec<String>,
    pub filter: Filter,
}

impl FileFilter {
    /// What the files of this store have to pass; None: nothing.
    #[must_use]
    pub fn of(&self, store_id: &str) -> Option<&Filter> {
        self.stores.iter().any(|id| id == store_id).then_some(&self.filter)
    }
}

impl Filter {
    #[must_use]
    pub fn admits(&self, attributes: &Attributes) -> bool {
        match self {
            Self::Key { key, test } => test.holds(attributes.get(key)),
            Self::All(filters) => filters.iter().all(|filter| filter.admits(attributes)),
            Self::Any(filters) => filters.iter().any(|filter| filter.admits(attributes)),
        }
    }
}

impl Test {
    fn holds(&self, found: Option<&Value>) -> bool {
        let equal = |value: &Value| found.is_some_and(|found| same(found, value));
        let stands = |value: &Value| found.and_then(|found| order(found, value));
        match self {
            Self::Eq(value) => equal(value),
            Self::Ne(value) => !equal(value),
            Self::Gt(value) => stands(value).is_some_and(Ordering::is_gt),
            Self::Gte(value) => stands(value).is_some_and(Ordering::is_ge),
            Self::Lt(value) => stands(value).is_some_and(Ordering::is_lt),
            Self::Lte(value) => stands(value).is_some_and(Ordering::is_le),
            Self::In(values) => values.iter().any(equal),
            Self::Nin(values) => !values.iter().any(equal),
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        _ => order(a, b) == Some(Ordering::Equal),
    }
}

/// None: they are not of one type, or of one without an order.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        // Long order numbers differ beyond what a float tells apart.
        (Value::Number(a), Value::Number(b)) => match (whole(a), whole(b)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        _ => None,
    }
}

fn whole(n: &Number) -> Option<i128> {
    n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(key: &str, test: Test) -> Filter {
        Filter::Key { key: key.into(), test }
    }

    #[test]
    fn a_file_passes_by_its_values() {
        let file =
            json!({ "lang": "de", "year": 2024, "price": 9.5, "public": true, "order": 9_007_199_254_740_993_u64 });
        let file = Attributes::new(file.as_object().cloned().expect("an object")).expect("attributes");
        let cases = [
            ("lang", Test::Eq(json!("de")), true),
            ("lang", Test::Eq(json!("en")), false),
            ("lang", Test::Ne(json!("en")), true),
            ("lang", Test::Gt(json!("da")), true),
            ("lang", Test::Lt(json!("Z")), false),
            ("lang", Test::Lt(json!("é")), true),
            ("lang", Test::In(vec![json!("en"), json!("de")]), true),
            ("lang", Test::Nin(vec![json!("en"), json!("de")]), false),
            ("lang", Test::In(vec![]), false),
            ("lang", Test::Nin(vec![]), true),
            ("year", Test::Eq(json!(2024.0)), true),
            ("year", Test::Gt(json!(2024)), false),
            ("year", Test::Gte(json!(2024)), true),
            ("year", Test::Lt(json!(2024.5)), true),
            ("year", Test::Lte(json!(-1)), false),
            ("price", Test::Gt(json!(9)), true),
            ("price", Test::Lte(json!(9.5)), true),
            ("public", Test::Eq(json!(true)), true),
            ("public", Test::Ne(json!(true)), false),
            ("public", Test::In(vec![json!(true)]), true),
            ("order", Test::Eq(json!(9_007_199_254_740_992_u64)), false),
            ("order", Test::Gt(json!(9_007_199_254_740_992_u64)), true),
            // Of different types nothing is equal, above or below.
            ("year", Test::Eq(json!("2024")), false),
            ("year", Test::Ne(json!("2024")), true),
            ("year", Test::Lte(json!("2024")), false),
            ("public", Test::Eq(json!(1)), false),
            ("public", Test::Gte(json!(true)), false),
        ];
        for (name, test, wanted) in cases {
            assert_eq!(key(name, test.clone()).admits(&file), wanted, "{name} {test:?}");
        }
    }

    #[test]
    fn what_a_file_lacks_is_unequal_and_in_no_order() {
        let v = || json!("x");
        for test in [Test::Eq(v()), Test::Gt(v()), Test::Gte(v()), Test::Lt(v()), Test::Lte(v()), Test::In(vec![v()])] {
            assert!(!key("lang", test.clone()).admits(&Attributes::default()), "{test:?}");
        }
        for test in [Test::Ne(v()), Test::Nin(vec![v()])] {
            assert!(key("lang", test.clone()).admits(&Attributes::default()), "{test:?}");
        }
    }

    #[test]
    fn all_and_any_stand_in_one_another() {
        let file = json!({ "lang": "de", "year": 2024 });
        let file = Attributes::new(file.as_object().cloned().expect("an object")).expect("attributes");
        let lang = |text: &str| key("lang", Test::Eq(json!(text)));
        let since = |year: i32| key("year", Test::Gte(json!(year)));
        assert!(Filter::All(vec![lang("de"), since(2020)]).admits(&file));
        assert!(!Filter::All(vec![lang("de"), since(2025)]).admits(&file));
        assert!(Filter::Any(vec![lang("en"), Filter::All(vec![lang("de"), since(2024)])]).admits(&file));
        assert!(!Filter::Any(vec![lang("en"), Filter::All(vec![lang("de"), since(2025)])]).admits(&file));
    }
}
