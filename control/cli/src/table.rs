//! Tables and blocks of text, at most 100 columns wide, without colour.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};

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

/// Spaces between two columns.
const GAP_COLUMNS: u16 = 2;

/// Returns the table as text, every line ended.
pub fn table(columns: &[Column], rows: Vec<Vec<String>>) -> String {
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|row| row.into_iter().map(printable).collect()).collect();
    let widths = widths(columns, &rows);
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH_COLUMNS)
        .set_header(columns.iter().map(|Column(title, _)| *title));
    table.add_rows(rows);
    for ((at, Column(_, alignment)), width) in columns.iter().enumerate().zip(widths) {
        if let Some(column) = table.column_mut(at) {
            let gap = if at + 1 == columns.len() { 0 } else { GAP_COLUMNS };
            column.set_cell_alignment(*alignment);
            column.set_padding((0, gap));
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width + gap)));
        }
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Returns how wide each column is so that all fit: the widest one gives way first, down to its longest word; words are
/// broken only where nothing else is left to give.
fn widths(columns: &[Column], rows: &[Vec<String>]) -> Vec<u16> {
    let length = |text: &str| u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
    let cells = |at: usize| rows.iter().filter_map(move |row| row.get(at)).map(String::as_str);
    let with_title = |at: usize| cells(at).chain([columns[at].0]);
    let longest_word =
        |at| with_title(at).flat_map(str::split_whitespace).map(length).max().unwrap_or(1).max(1);
    let mut widths: Vec<u16> = (0..columns.len())
        .map(|at| with_title(at).map(length).max().unwrap_or(1).clamp(1, WIDTH_COLUMNS))
        .collect();
    let words: Vec<u16> = (0..columns.len()).map(longest_word).collect();
    let gaps = GAP_COLUMNS * u16::try_from(columns.len().saturating_sub(1)).unwrap_or(0);
    while widths.iter().sum::<u16>() + gaps > WIDTH_COLUMNS {
        let spare = (0..widths.len()).filter(|at| widths[*at] > words[*at]).max_by_key(|at| widths[*at]);
        match spare.or_else(|| (0..widths.len()).max_by_key(|at| widths[*at])) {
            Some(at) if widths[at] > 1 => widths[at] -= 1,
            _ => break,
        }
    }
    widths
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

/// Returns the names behind the word for them: `group a`, `groups a, b`.
pub fn named<T: ToString>(word: &str, names: &[T]) -> String {
    format!("{word}{} {}", if names.len() == 1 { "" } else { "s" }, list(names))
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
    fn a_word_is_broken_only_where_no_other_column_can_give_way() {
        let row = vec!["02:00:00:00:00:01".to_owned(), "many short words ".repeat(6), "x".repeat(30)];
        let shown = table(&[words("MAC"), words("NOTE"), words("NAME")], vec![row]);
        assert!(shown.contains("02:00:00:00:00:01") && shown.contains(&"x".repeat(30)), "{shown}");
        let shown =
            table(&[words("MAC"), words("NAME")], vec![vec!["02:00:00:00:00:01".into(), "x".repeat(90)]]);
        assert!(
            shown.contains("02:00:00:00:00:01") && shown.lines().all(|line| line.len() <= 100),
            "{shown}"
        );
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let shown = table(&[words("NAME")], vec![vec!["a\u{1b}[31mb".into()]]);
        assert_eq!(shown, "NAME\na?[31mb\n");
        assert_eq!(block(&[("note", "x\ny".into()), ("empty", String::new())]), "note: x?y\n");
    }
}
