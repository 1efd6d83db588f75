//! Columns that fit a width: the least important are cut first, and what tells most in a cell is cut last.

use crate::cli::terminal::{Paint, columns, cut};

/// A cell. Where room is short the head is cut and the tail stays: of an address the port, of a process the pid.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    head: String,
    tail: String,
    paint: Paint,
}

impl Cell {
    pub fn new(head: impl Into<String>, tail: impl Into<String>, paint: Paint) -> Self {
        Self {
            head: head.into(),
            tail: tail.into(),
            paint,
        }
    }

    fn width(&self) -> usize {
        columns(&self.head) + columns(&self.tail)
    }

    /// The text in so many columns.
    fn fitted(&self, width: usize) -> String {
        match width.checked_sub(columns(&self.tail)) {
            Some(room) if room > 1 || room >= columns(&self.head) => cut(&self.head, room) + &self.tail,
            _ => cut(&format!("{}{}", self.head, self.tail), width),
        }
    }
}

/// A column, with one cell a line.
#[derive(Clone, Debug)]
pub struct Column {
    title: &'static str,
    /// Columns that it keeps while others can still be cut.
    least: usize,
    /// When it is cut: 0 first.
    rank: u8,
    cells: Vec<Cell>,
}

/// Columns from the left to the right.
#[derive(Clone, Debug, Default)]
pub struct Table(Vec<Column>);

impl Table {
    /// Adds a column to the right.
    pub fn push(&mut self, title: &'static str, least: usize, rank: u8, cells: Vec<Cell>) {
        self.0.push(Column {
            title,
            least,
            rank,
            cells,
        });
    }

    /// The header and all lines, each no wider than `width` where that is given (and not narrower than one column a
    /// cell).
    pub fn render(&self, width: Option<usize>, color: bool) -> String {
        let (widths, gap) = self.fit(width);
        let lines = self.0.iter().map(|column| column.cells.len()).max().unwrap_or(0);
        let header = self.0.iter().map(|column| Cell::new(column.title, "", Paint::Bold));
        let mut text = String::new();
        line(&mut text, header, &widths, gap, color);
        for index in 0..lines {
            let cells = self
                .0
                .iter()
                .map(|column| column.cells.get(index).cloned().unwrap_or_default());
            line(&mut text, cells, &widths, gap, color);
        }
        text
    }

    fn fit(&self, width: Option<usize>) -> (Vec<usize>, usize) {
        let natural = |column: &Column| {
            let widest = column.cells.iter().map(Cell::width).max().unwrap_or(0);
            widest.max(columns(column.title))
        };
        let mut widths: Vec<usize> = self.0.iter().map(natural).collect();
        let Some(width) = width else {
            return (widths, 2);
        };
        let gaps = self.0.len().saturating_sub(1);
        let mut order: Vec<(usize, &Column)> = self.0.iter().enumerate().collect();
        order.sort_by_key(|(_, column)| column.rank);
        // First down to what a column should keep, then closer together, then whatever it takes.
        for (gap, least) in [(2, true), (1, true), (1, false)] {
            for (index, column) in &order {
                let excess = (widths.iter().sum::<usize>() + gap * gaps).saturating_sub(width);
                let least = if least { column.least } else { 1 };
                if let Some(of_column) = widths.get_mut(*index) {
                    *of_column = of_column.saturating_sub(excess).max(least.min(*of_column));
                }
            }
            if widths.iter().sum::<usize>() + gap * gaps <= width {
                return (widths, gap);
            }
        }
        (widths, 1)
    }
}

/// Writes one line, without blanks at its end.
fn line(text: &mut String, cells: impl Iterator<Item = Cell>, widths: &[usize], gap: usize, color: bool) {
    let mut blanks = 0;
    for (cell, width) in cells.zip(widths) {
        let fitted = cell.fitted(*width);
        if !fitted.is_empty() {
            text.extend(std::iter::repeat_n(' ', blanks));
            blanks = 0;
            text.push_str(&cell.paint.on(&fitted, color));
        }
        blanks += width.saturating_sub(columns(&fitted)) + gap;
    }
    text.push('\n');
}
