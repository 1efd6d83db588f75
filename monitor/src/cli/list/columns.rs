//! Columns that fit a width: whole columns are left out first, then cells are cut, and what tells most in a cell is cut last.

use crate::cli::terminal::{Paint, columns, cut};

/// A cell. Where room is short the note goes, then the head is cut, and the tail stays: of an address the port, of a
/// process the pid.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    head: String,
    tail: String,
    note: String,
    paint: Paint,
}

impl Cell {
    pub fn new(head: impl Into<String>, tail: impl Into<String>, paint: Paint) -> Self {
        Self {
            head: head.into(),
            tail: tail.into(),
            note: String::new(),
            paint,
        }
    }

    /// The cell with a note behind its tail.
    pub fn noted(self, note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..self
        }
    }

    fn width(&self) -> usize {
        columns(&self.head) + columns(&self.tail) + columns(&self.note)
    }

    fn is_empty(&self) -> bool {
        matches!(self.head.as_str(), "" | "-") && self.tail.is_empty()
    }

    /// The text in so many columns.
    fn fitted(&self, width: usize) -> String {
        let (head, tail) = (columns(&self.head), columns(&self.tail));
        let with_note = width.checked_sub(tail + columns(&self.note));
        if let Some(room) = with_note.filter(|room| *room > 1 || *room >= head) {
            return cut(&self.head, room) + &self.tail + &self.note;
        }
        match width.checked_sub(tail) {
            Some(room) => cut(&self.head, room) + &self.tail,
            None => cut(&format!("{}{}", self.head, self.tail), width),
        }
    }
}

/// When a column is left out: the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaves {
    /// Before a usual cell of another column is cut.
    Early(u8),
    /// Where cutting does not help any more.
    Late(u8),
    Never,
}

/// What a column is.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub title: &'static str,
    /// Columns that hold a usual cell.
    pub usual: usize,
    /// Columns below which a cell says too little.
    pub floor: usize,
    pub leaves: Leaves,
}

/// The room for a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// As much as it takes.
    Endless,
    /// So many columns.
    Columns(usize),
}

/// Which columns are shown, and how wide.
#[derive(Clone, Debug)]
pub struct Layout {
    /// `None` where a column is left out.
    widths: Vec<Option<usize>>,
    gap: usize,
    /// Columns of a line that cells may take beyond their widths.
    spare: usize,
}

impl Layout {
    /// Of columns from the left to the right: what each is, and how wide it would be.
    pub fn of_kinds(kinds: &[(Kind, usize)], room: Room) -> Self {
        let kinds: Vec<_> = kinds.iter().map(|(kind, natural)| (*kind, *natural, false)).collect();
        Self::new(&kinds, room)
    }

    /// Of columns that may be empty in all lines.
    fn new(kinds: &[(Kind, usize, bool)], room: Room) -> Self {
        let mut layout = Self {
            widths: kinds.iter().map(|(_, natural, _)| Some(*natural)).collect(),
            gap: 2,
            spare: usize::MAX,
        };
        let Room::Columns(width) = room else {
            return layout;
        };
        layout.leave_out(kinds, width);
        if layout.needed() > width {
            layout.gap = 1;
        }
        layout.cut(kinds, width);
        layout.spare = width.saturating_sub(layout.needed());
        layout
    }

    fn leave_out(&mut self, kinds: &[(Kind, usize, bool)], width: usize) {
        let mut order: Vec<_> = kinds.iter().enumerate().collect();
        order.sort_by_key(|(_, (kind, _, empty))| (!(*empty && matches!(kind.leaves, Leaves::Early(_))), kind.leaves));
        // With one blank between columns, and cells cut as far as they may be before this one goes.
        let needed = |widths: &[Option<usize>], least: fn(&Kind) -> usize| {
            let shown = kinds.iter().zip(widths).filter(|(_, width)| width.is_some());
            let each = shown.map(|((kind, natural, _), _)| 1 + least(kind).min(*natural));
            each.sum::<usize>().saturating_sub(1)
        };
        for (index, (kind, ..)) in &order {
            let least: fn(&Kind) -> usize = match kind.leaves {
                Leaves::Early(_) => |kind| kind.usual,
                Leaves::Late(_) => |kind| kind.floor,
                Leaves::Never => break,
            };
            if needed(&self.widths, least) <= width {
                continue;
            }
            if let Some(left_out) = self.widths.get_mut(*index) {
                *left_out = None;
            }
        }
    }

    /// Cuts columns that are wider than usual, from the right, then all from the left: there is the address, which has most
    /// to spare beside its port.
    fn cut(&mut self, kinds: &[(Kind, usize, bool)], width: usize) {
        let usual = kinds
            .iter()
            .enumerate()
            .rev()
            .map(|(index, (kind, ..))| (index, kind.usual));
        let floor = kinds.iter().enumerate().map(|(index, (kind, ..))| (index, kind.floor));
        for (index, least) in usual.chain(floor) {
            let excess = self.needed().saturating_sub(width);
            if let Some(Some(of_column)) = self.widths.get_mut(index) {
                *of_column = of_column.saturating_sub(excess).max(least.min(*of_column));
            }
        }
    }

    fn needed(&self) -> usize {
        let shown = self.widths.iter().flatten();
        (shown.clone().sum::<usize>() + self.gap * shown.count()).saturating_sub(self.gap)
    }

    /// One line, without blanks at its end. A cell that is wider than its column takes from what the line can spare.
    pub fn line(&self, cells: impl Iterator<Item = Cell>, color: bool) -> String {
        let (mut text, mut blanks, mut spare) = (String::new(), 0, self.spare);
        for (cell, width) in cells.zip(&self.widths) {
            let Some(width) = *width else {
                continue;
            };
            let fitted = cell.fitted(width.saturating_add(spare));
            let taken = columns(&fitted);
            if !fitted.is_empty() {
                text.extend(std::iter::repeat_n(' ', blanks));
                blanks = 0;
                text.push_str(&cell.paint.on(&fitted, color));
            }
            spare = spare.saturating_sub(taken.saturating_sub(width));
            blanks += width.saturating_sub(taken) + self.gap;
        }
        text.push('\n');
        text
    }
}

/// Columns from the left to the right, each with one cell a line.
#[derive(Clone, Debug, Default)]
pub struct Table(Vec<(Kind, Vec<Cell>)>);

impl Table {
    /// Adds a column to the right.
    pub fn push(&mut self, kind: Kind, cells: Vec<Cell>) {
        self.0.push((kind, cells));
    }

    /// The header and all lines, each no wider than the room, and the titles of the columns that are left out.
    pub fn render(&self, room: Room, color: bool) -> String {
        let kinds: Vec<_> = self
            .0
            .iter()
            .map(|(kind, cells)| {
                let widest = cells.iter().map(Cell::width).max().unwrap_or(0);
                (*kind, widest.max(columns(kind.title)), cells.iter().all(Cell::is_empty))
            })
            .collect();
        let layout = Layout::new(&kinds, room);
        let header = self.0.iter().map(|(kind, _)| Cell::new(kind.title, "", Paint::Bold));
        let mut text = layout.line(header, color);
        for index in 0..self.0.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0) {
            let cells = self
                .0
                .iter()
                .map(|(_, cells)| cells.get(index).cloned().unwrap_or_default());
            text.push_str(&layout.line(cells, color));
        }
        text
    }
}
