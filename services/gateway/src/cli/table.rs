//! Rows as a table in a terminal.

use frontdesk_api::Result;

use super::say;

/// Columns as wide as their widest cell: the first `names` to the left, figures to the right.
///
/// # Errors
/// As [`say`].
pub(super) fn print(rows: &[Vec<String>], names: usize) -> Result<()> {
    let width = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    for row in rows {
        let cells =
            row.iter().zip(&widths).enumerate().map(|(i, (cell, width))| {
                if i < names { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
        say(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
