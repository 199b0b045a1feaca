//! Tables for the terminal. If the terminal is too narrow, long texts move below their row. A pipe gets one
//! line per row.

use std::fmt::Write as _;

use comfy_table::{Attribute, Cell, ColumnConstraint, ContentArrangement, Table, Width, presets};

use crate::terminal::Terminal;

/// Indentation of a text below its row, in characters.
const INDENT: u16 = 5;

/// Spaces around the content of a column.
const PADDING: u16 = 2;

/// Minimum width of a column, in characters.
const NARROWEST: u16 = 10;

/// Returns an empty table in the style for this terminal.
pub(crate) fn table_with<'a>(header: impl IntoIterator<Item = &'a str>, terminal: Terminal) -> Table {
    let mut table = plain(terminal);
    let bold = |title: &str| Cell::new(title).add_attribute(Attribute::Bold);
    table.set_header(header.into_iter().map(bold).collect::<Vec<_>>());
    table
}

/// Returns the lines of a table, without trailing spaces. Cells that are too wide for the terminal are
/// wrapped.
pub(crate) fn lines(table: &Table) -> String {
    let text = table.to_string();
    text.lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

/// Like [`lines`], for tables whose last columns are long texts. If the terminal is too narrow, columns move
/// below their row, starting from the right, until only the first `beside` remain.
pub(crate) fn lines_with_texts(table: &Table, beside: usize, terminal: Terminal) -> String {
    moved_below(table, beside, terminal, |header, texts| {
        let texts: Vec<&(usize, String)> = texts.iter().filter(|(_, text)| !text.is_empty()).collect();
        // The last text explains the row and needs no label.
        let labeled = |(number, text): &(usize, String)| match header.get(*number) {
            Some(title) if number + 1 < header.len() => format!("{title}: {text}"),
            _ => text.clone(),
        };
        texts.into_iter().map(labeled).collect()
    })
}

/// Like [`lines_with_texts`], for tables of figures: those that do not fit follow their row together, each with its title.
pub(crate) fn lines_of_figures(table: &Table, terminal: Terminal) -> String {
    moved_below(table, 1, terminal, |header, figures| {
        let figures = figures.iter().filter(|(_, figure)| !figure.is_empty());
        let titled = figures.map(|(number, figure)| match header.get(*number) {
            Some(title) => format!("{title} {figure}"),
            None => figure.clone(),
        });
        let line = titled.collect::<Vec<_>>().join(", ");
        Some(line).filter(|line| !line.is_empty()).into_iter().collect()
    })
}

/// Moves columns below their row until the table fits into the terminal. `below` returns the lines below a row for the titles of all
/// columns and the cells that were moved.
fn moved_below(
    table: &Table,
    beside: usize,
    terminal: Terminal,
    below: impl Fn(&[String], &[(usize, String)]) -> Vec<String>,
) -> String {
    let content = table.column_max_content_widths();
    let widths: Vec<u16> = content.iter().map(|width| width + PADDING).collect();
    let Some(width) = terminal.width().filter(|width| total(&widths) > *width) else {
        return lines(table);
    };
    let mut kept = widths.len().saturating_sub(1);
    while kept > beside && total(&widths[..kept]) > width {
        kept -= 1;
    }
    let widths = narrowed(widths[..kept].to_vec(), width);
    let header: Vec<Cell> = table
        .header()
        .into_iter()
        .flat_map(|row| row.cell_iter().cloned())
        .collect();
    let titles: Vec<String> = header.iter().map(Cell::content).collect();
    let mut text = row(&header[..kept], &widths, terminal);
    for cells in table.row_iter() {
        let cells: Vec<Cell> = cells.cell_iter().cloned().collect();
        text.push_str(&row(&cells[..kept], &widths, terminal));
        let moved = cells.iter().enumerate().skip(kept);
        let moved: Vec<(usize, String)> = moved.map(|(number, cell)| (number, cell.content())).collect();
        for line in below(&titles, &moved) {
            text.push_str(&indented(&line, width));
        }
    }
    text
}

/// Returns an empty table without a header.
pub(crate) fn plain(terminal: Terminal) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if terminal.output_colors() {
        table.enforce_styling();
    } else {
        // Otherwise the library asks the real terminal and ignores `--color`.
        table.force_no_tty();
    }
    if let Some(width) = terminal.width() {
        table.set_width(width);
    }
    table
}

fn total(widths: &[u16]) -> u16 {
    widths.iter().fold(0, |sum, width| sum.saturating_add(*width))
}

/// Narrows the widest column repeatedly until all columns fit.
fn narrowed(mut widths: Vec<u16>, width: u16) -> Vec<u16> {
    while total(&widths) > width {
        match widths.iter_mut().max() {
            Some(widest) if *widest > NARROWEST => *widest -= 1,
            _ => break,
        }
    }
    widths
}

/// Renders one row. Each row is a separate table, because a text may follow it; all of them use the same
/// column widths.
fn row(cells: &[Cell], widths: &[u16], terminal: Terminal) -> String {
    let mut table = plain(terminal);
    table.add_row(cells.to_vec());
    let widths = widths
        .iter()
        .map(|width| ColumnConstraint::Absolute(Width::Fixed(*width)));
    table.set_constraints(widths);
    lines(&table)
}

/// Wraps a text into indented lines that fit into the terminal.
fn indented(text: &str, width: u16) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .force_no_tty()
        .set_width(width);
    table.add_row([text]);
    if let Some(column) = table.column_mut(0) {
        column.set_padding((INDENT, 0));
    }
    lines(&table)
}

/// Renders a Markdown table. A line break in a cell becomes a space, and `|` is escaped, so that no cell can
/// break the table.
pub(crate) fn markdown_table(header: impl AsRef<[&'static str]>, rows: &[impl AsRef<[String]>]) -> String {
    let header = header.as_ref();
    let mut text = format!("| {} |\n|{}\n", header.join(" | "), " --- |".repeat(header.len()));
    for row in rows {
        let cells = row.as_ref().iter();
        let cells: Vec<String> = cells
            // Backslashes first, or they would double those that escape `|`.
            .map(|cell| printable(cell).replace('\\', "\\\\").replace('|', "\\|"))
            .collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// Replaces control characters, so that external text cannot control the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(terminal: Terminal) -> String {
        let mut table = table_with(
            ["namespace", "decision", "$/h", "outcome", "by", "reason"],
            terminal,
        );
        table.add_row([
            "checkout.a1b2c",
            "Enable: on-demand -> 6 TRUs",
            "0.00 -> 90.00",
            "changed",
            "kim@ops-1 (CLI)",
            "39.4% of actions throttled (325.5 of 825.5/s) at the limit of 500/s; 5 TRUs is not an available size, using 6",
        ]);
        table.add_row([
            "orders.a1b2c",
            "Keep",
            "54.00",
            "",
            "kim@ops-1 (CLI)",
            "46,000 actions in the last hour with 4 TRUs",
        ]);
        lines_with_texts(&table, 3, terminal)
    }

    #[test]
    fn a_pipe_gets_one_line_per_row() {
        insta::assert_snapshot!(history(Terminal::plain(None)));
    }

    #[test]
    fn texts_move_below_their_row_if_the_terminal_is_too_narrow() {
        insta::assert_snapshot!("narrow", history(Terminal::plain(Some(80))));
        insta::assert_snapshot!("very_narrow", history(Terminal::plain(Some(40))));
        insta::assert_snapshot!("wide", history(Terminal::plain(Some(200))));
    }

    #[test]
    fn figures_that_do_not_fit_follow_their_row() {
        let header = ["namespace", "days", "known %", "on-demand $", "saves $"];
        for (name, width) in [("figures_wide", 80), ("figures_narrow", 40)] {
            let terminal = Terminal::plain(Some(width));
            let mut table = table_with(header, terminal);
            table.add_row(["media-transcode.a1b2c", "30.0", "99.9", "4,769,120", "4,622,328"]);
            table.add_row(["orders.a1b2c", "30.0", "99.9", "0", ""]);
            insta::assert_snapshot!(name, lines_of_figures(&table, terminal));
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 50..200 {
            let text = history(Terminal::plain(Some(width)));
            let widest = text.lines().map(str::len).max();
            assert!(widest <= Some(usize::from(width)), "{width}: {text}");
        }
    }
}
