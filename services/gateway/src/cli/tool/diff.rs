//! Two values, line by line: what was expected and not found (`-`), what was found and not expected (`+`).

use serde_json::Value;

/// Longest side that is compared line by line; more is shown whole.
const MOST_LINES: usize = 2_000;

/// The lines of both, pretty-printed, with `-`, `+` or a space before each.
pub(super) fn diff(expected: &Value, found: &Value) -> Vec<String> {
    let (expected, found) = (pretty(expected), pretty(found));
    // A comma only says that another line follows.
    let lines =
        |text: &str| -> Vec<String> { text.lines().map(|line| line.trim_end_matches(',').to_owned()).collect() };
    let (one, two) = (lines(&expected), lines(&found));
    if one.len().max(two.len()) > MOST_LINES {
        return one.iter().map(|line| format!("-{line}")).chain(two.iter().map(|line| format!("+{line}"))).collect();
    }
    // How long the longest common rest is from each pair of lines on.
    let mut common = vec![vec![0usize; two.len() + 1]; one.len() + 1];
    for i in (0..one.len()).rev() {
        for j in (0..two.len()).rev() {
            common[i][j] =
                if one[i] == two[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, vec![]);
    while i < one.len() || j < two.len() {
        if i < one.len() && j < two.len() && one[i] == two[j] {
            lines.push(format!(" {}", one[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < one.len() && (j == two.len() || common[i + 1][j] >= common[i][j + 1]) {
            lines.push(format!("-{}", one[i]));
            i += 1;
        } else {
            lines.push(format!("+{}", two[j]));
            j += 1;
        }
    }
    lines
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::diff;

    #[test]
    fn only_what_differs_is_marked() {
        let lines = diff(&json!({ "a": 1, "b": 2 }), &json!({ "a": 1, "c": 2 }));
        assert_eq!(lines, [" {", "   \"a\": 1", "-  \"b\": 2", "+  \"c\": 2", " }"]);
        let lines = diff(&json!({ "a": 1 }), &json!({ "a": 1, "b": 2 }));
        assert_eq!(lines, [" {", "   \"a\": 1", "+  \"b\": 2", " }"]);
        assert_eq!(diff(&json!("x"), &json!("y")), ["-\"x\"", "+\"y\""]);
        assert_eq!(diff(&json!([1]), &json!([1])), [" [", "   1", " ]"]);
    }
}
