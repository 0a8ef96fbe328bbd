//! Tables and blocks of text, at most 100 columns wide, without colour.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Columns of the widest table.
pub const WIDTH_COLUMNS: u16 = 100;

/// A column: its title, and on which side its values stand.
#[derive(Clone, Copy, Debug)]
pub struct Column(&'static str, CellAlignment);

/// Returns a column of words.
pub const fn words(title: &'static str) -> Column {
    Column(title, CellAlignment::Left)
}

/// Returns a column of numbers.
pub const fn numbers(title: &'static str) -> Column {
    Column(title, CellAlignment::Right)
}

/// Returns the table as text, every line ended.
pub fn table(columns: &[Column], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH_COLUMNS)
        .set_header(columns.iter().map(|Column(title, _)| *title));
    table.add_rows(rows.into_iter().map(|row| row.into_iter().map(printable).collect::<Vec<_>>()));
    for (at, Column(_, alignment)) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(*alignment);
            column.set_padding((0, 2));
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Returns `name: value` lines with the values in one column; empty values are left out.
pub fn block(fields: &[(&str, String)]) -> String {
    let shown = || fields.iter().filter(|(_, value)| !value.is_empty());
    let width = shown().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    shown()
        .map(|(name, value)| format!("{:width$}{}\n", format!("{name}:"), printable(value.clone())))
        .collect()
}

/// Returns the text with control characters replaced: what others wrote must not drive the terminal.
pub fn printable(text: String) -> String {
    if text.contains(|c: char| c.is_control()) { text.replace(|c: char| c.is_control(), "?") } else { text }
}

/// Returns the words with commas between them, or a dash for none.
pub fn list<T: ToString>(values: &[T]) -> String {
    if values.is_empty() {
        return "-".to_owned();
    }
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns `key=value` words with commas between them.
pub fn pairs(pairs: &std::collections::BTreeMap<String, String>) -> String {
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

/// Returns the text, or a dash where it is empty.
pub fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// Returns the number with its word: `1 host`, `3 hosts`.
pub fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cell_is_wrapped_within_100_columns() {
        let shown = table(&[numbers("ID"), words("NOTE")], vec![vec!["1".into(), "word ".repeat(60)]]);
        assert!(shown.lines().count() > 3 && shown.lines().all(|line| line.len() <= 100), "{shown}");
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let shown = table(&[words("NAME")], vec![vec!["a\u{1b}[31mb".into()]]);
        assert_eq!(shown, "NAME\na?[31mb\n");
        assert_eq!(block(&[("note", "x\ny".into()), ("empty", String::new())]), "note: x?y\n");
    }
}
