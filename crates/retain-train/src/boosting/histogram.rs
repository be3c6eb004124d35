//! Sums of derivatives per bin: all that a split search looks at, and where the time of a fit goes.
//!
//! Derivatives are added as whole numbers. Their sums are exact, so that rows may be added in any order and by any number of
//! threads, and what a parent has more than one child is the other child to the last bit. A row's gradient, hessian and count
//! are added by two additions of 64 bits into counters; after [`ROWS_PER_RUN`] rows at most, the counters are moved to the
//! [`Cell`]s of the node.
//!
//! The rows of a leaf lie anywhere in the table, and waiting for them costs more than adding them. So [`ROWS_PER_STRIP`] rows at
//! a time are copied together first, in a loop so short that the processor waits for many of them at once, and then added block of
//! columns by block of columns, whose counters stay in the first-level cache meanwhile.

use std::ops::{AddAssign, Sub};

use rayon::prelude::*;

use super::bins::{BLOCK_COLUMNS, BinnedTable, BlockRow, PANEL_BLOCKS, Panel};

/// Rows whose hessians and count fit into one counter.
const ROWS_PER_RUN: usize = 1 << 15;
/// Rows that are copied together before they are added.
const ROWS_PER_STRIP: usize = 1 << 10;
/// Bits of a counter that count rows; the others add up hessians of [`MAX_VALUE_BITS`] bits.
const RUN_COUNT_BITS: u32 = 16;
/// Bits of one derivative at most; it has 24 before it is scaled.
const MAX_VALUE_BITS: u32 = 32;
/// Bits of a [`Cell`] that three sums share; one is left for the sign of the gradient.
const CELL_BITS: u32 = 127;
/// Below so many bins to read, spreading them over threads costs more than it saves.
const MIN_PARALLEL_BINS: usize = 1 << 16;
/// Rows per task at least, so that its histogram is worth adding up; with fewer, threads take some columns each.
const MIN_ROWS_PER_TASK: usize = 1 << 13;
/// Tasks that a thread gets, so that one that is held up does not hold up all.
const TASKS_PER_THREAD: usize = 4;
/// Histograms above this size are not copied for each task.
const MAX_COPIED_BYTES: usize = 4 << 20;

/// The weighted gradient and hessian of a row by its margin.
pub(super) type Pair = [f32; 2];

/// Summed derivatives of some rows, and how many rows they are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sums {
    /// Sum of first derivatives.
    pub(super) gradient: f64,
    /// Sum of second derivatives.
    pub(super) hessian: f64,
    /// Number of rows; exact, where the other two carry rounding.
    pub(super) n_rows: u32,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.gradient += other.gradient;
        self.hessian += other.hessian;
        self.n_rows += other.n_rows;
    }
}

impl Sub for Sums {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let n_rows = self.n_rows - other.n_rows;
        if n_rows == 0 {
            // What rounding leaves of an empty set is not a sum of anything.
            return Self::default();
        }
        Self { gradient: self.gradient - other.gradient, hessian: (self.hessian - other.hessian).max(0.0), n_rows }
    }
}

/// The derivatives that one tree is grown on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Derived<'a> {
    /// One entry per row of the table; only those of the tree's rows are looked at.
    pub(super) pairs: &'a [Pair],
    /// How they are added.
    pub(super) fixed: FixedPoint,
}

/// How the derivatives of one tree become whole numbers and their sums become numbers again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct FixedPoint {
    /// Powers of two that gradient and hessian are multiplied by.
    scale: [f64; 2],
    /// Their inverses.
    unit: [f64; 2],
    /// Bits of a cell for the number of rows, its lowest.
    count_bits: u32,
    /// Bits of a cell for the hessian, those above.
    hessian_bits: u32,
}

impl FixedPoint {
    /// For at most `n_rows` rows with derivatives of at most these absolute values.
    ///
    /// A derivative has 32 bits up to 2 million rows, and 15 at 4 billion.
    pub(super) fn new(n_rows: usize, largest: Pair) -> Self {
        let count_bits = usize::BITS - n_rows.leading_zeros();
        let value_bits = MAX_VALUE_BITS.min(CELL_BITS.saturating_sub(3 * count_bits) / 2);
        let scale = largest.map(|value| power_of_two(value_bits as i32 - exponent_above(value)));
        Self { scale, unit: scale.map(f64::recip), count_bits, hessian_bits: value_bits + count_bits }
    }

    /// Gradient, and hessian with a count of one below it.
    fn packed(&self, pair: Pair) -> [i64; 2] {
        // Numbers up to 2⁵¹ added to this one end in their own two's complement, rounded.
        const ROUNDING: f64 = 6_755_399_441_055_744.0;
        let whole = |value: f32, scale: f64| (f64::from(value) * scale + ROUNDING).to_bits().wrapping_sub(ROUNDING.to_bits());
        let hessian = whole(pair[1], self.scale[1]);
        [whole(pair[0], self.scale[0]) as i64, (hessian << RUN_COUNT_BITS | 1) as i64]
    }

    fn cell(&self, [gradient, hessian_and_count]: [i64; 2]) -> Cell {
        let (hessian, count) = (hessian_and_count as u64 >> RUN_COUNT_BITS, hessian_and_count & ((1 << RUN_COUNT_BITS) - 1));
        let low = u128::from(hessian) << self.count_bits | count as u128;
        Cell((i128::from(gradient) as u128) << (self.count_bits + self.hessian_bits) | low)
    }

    /// The sums in a cell.
    pub(super) fn sums(&self, cell: Cell) -> Sums {
        let field = |bits: u32| (1u128 << bits) - 1;
        let gradient = (cell.0 as i128 >> (self.count_bits + self.hessian_bits)) as i64;
        let hessian = (cell.0 >> self.count_bits & field(self.hessian_bits)) as u64;
        Sums {
            gradient: gradient as f64 * self.unit[0],
            hessian: hessian as f64 * self.unit[1],
            n_rows: (cell.0 & field(self.count_bits)) as u32,
        }
    }
}

/// The smallest `e` with `value <= 2^e`, or one more; 0 for 0.
fn exponent_above(value: f32) -> i32 {
    let exponent = (f64::from(value).to_bits() >> 52) as i32;
    if value > 0.0 { exponent - 1022 } else { 0 }
}

fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The sums of one bin in one word: gradient above hessian above number of rows. Adding and subtracting the words does so to all
/// three, since no field overflows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cell(u128);

impl Cell {
    fn add(&mut self, other: Self) {
        self.0 = self.0.wrapping_add(other.0);
    }
}

/// Sums per bin of all columns of a tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram(Vec<Cell>);

impl Histogram {
    /// Takes the rows of a child away; what remains is the other child.
    pub(super) fn subtract(&mut self, child: &Self) {
        for (cell, other) in self.0.iter_mut().zip(&child.0) {
            cell.0 = cell.0.wrapping_sub(other.0);
        }
    }

    fn add(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(cell, &other)| cell.add(other));
        self
    }
}

/// The columns of a tree and where their cells lie.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    table: &'a BinnedTable,
    /// The blocks that have some of the columns.
    blocks: Vec<BlockColumns>,
    /// Positions in the table, in rising order.
    pub(super) columns: Vec<usize>,
    /// For each column the first of its cells, and at the end the number of cells.
    starts: Vec<usize>,
}

/// Chosen columns of one block.
#[derive(Debug)]
struct BlockColumns {
    block: usize,
    /// Which of the block's columns.
    places: Vec<usize>,
    /// Place of the first of them among the tree's columns.
    first: usize,
}

impl<'a> Layout<'a> {
    /// For these columns, given by their positions in the table in rising order.
    pub(super) fn new(table: &'a BinnedTable, columns: &[usize]) -> Self {
        let mut starts = vec![0];
        let mut blocks: Vec<BlockColumns> = Vec::new();
        for (first, &column) in columns.iter().enumerate() {
            starts.push(starts[first] + table.columns[column].n_bins());
            let (block, place) = (column / BLOCK_COLUMNS, column % BLOCK_COLUMNS);
            match blocks.last_mut().filter(|last| last.block == block) {
                Some(last) => last.places.push(place),
                None => blocks.push(BlockColumns { block, places: vec![place], first }),
            }
        }
        Self { table, blocks, columns: columns.to_vec(), starts }
    }

    /// Bytes of one histogram.
    pub(super) fn n_bytes(&self) -> usize {
        self.starts.last().map_or(0, |n_cells| n_cells * size_of::<Cell>())
    }

    /// The sums per bin of one column, which is named by its place among the tree's columns; empty past its last bin.
    pub(super) fn sums(&self, histogram: &Histogram, place: usize, fixed: &FixedPoint) -> [Sums; 256] {
        let mut sums = [Sums::default(); 256];
        let cells = &histogram.0[self.starts[place]..self.starts[place + 1]];
        sums.iter_mut().zip(cells).for_each(|(sums, &cell)| *sums = fixed.sums(cell));
        sums
    }

    /// The sums of all rows of a histogram.
    pub(super) fn total(&self, histogram: &Histogram, fixed: &FixedPoint) -> Sums {
        let mut total = Cell::default();
        let n_bins = self.starts.get(1).copied().unwrap_or(0);
        histogram.0[..n_bins].iter().for_each(|&cell| total.add(cell));
        fixed.sums(total)
    }

    /// The sums per bin over some rows.
    pub(super) fn histogram(&self, rows: &[u32], derived: &Derived) -> Histogram {
        let n_threads = rayon::current_num_threads();
        let mut cells = vec![Cell::default(); self.starts.last().copied().unwrap_or(0)];
        if n_threads == 1 || rows.len() * self.columns.len() < MIN_PARALLEL_BINS {
            self.add_rows(&self.blocks, rows, derived, &mut cells);
            return Histogram(cells);
        }
        if rows.len() < 2 * MIN_ROWS_PER_TASK || self.n_bytes() > MAX_COPIED_BYTES {
            let mut others = &mut cells[..];
            let cells_of = |blocks| Some((blocks, others.split_off_mut(..self.n_cells(blocks))?));
            let tasks: Vec<_> = self.blocks.chunks(self.blocks.len().div_ceil(n_threads)).filter_map(cells_of).collect();
            tasks.into_par_iter().for_each(|(blocks, cells)| self.add_rows(blocks, rows, derived, cells));
            return Histogram(cells);
        }
        let rows_per_task = rows.len().div_ceil(TASKS_PER_THREAD * n_threads).max(MIN_ROWS_PER_TASK);
        let count = |rows: &[u32]| {
            let mut cells = vec![Cell::default(); cells.len()];
            self.add_rows(&self.blocks, rows, derived, &mut cells);
            Histogram(cells)
        };
        let found = rows.par_chunks(rows_per_task).map(count).reduce_with(|some, others| some.add(&others));
        found.unwrap_or(Histogram(cells))
    }

    /// Cells of neighbouring blocks.
    fn n_cells(&self, blocks: &[BlockColumns]) -> usize {
        match (blocks.first(), blocks.last()) {
            (Some(first), Some(last)) => self.starts[last.first + last.places.len()] - self.starts[first.first],
            _ => 0,
        }
    }

    /// Adds rows to the cells of neighbouring blocks.
    fn add_rows(&self, blocks: &[BlockColumns], rows: &[u32], derived: &Derived, cells: &mut [Cell]) {
        let mut counters = Counters::default();
        for rows in rows.chunks(ROWS_PER_RUN) {
            counters.derive(rows, derived);
            // What one strip of rows copies stays in the cache anyway; then one block's counters do for all and stay there too.
            let at_once = if rows.len() > ROWS_PER_STRIP { PANEL_BLOCKS } else { 1 };
            let mut others = &mut *cells;
            for blocks in blocks.chunk_by(|a, b| a.block / at_once == b.block / at_once) {
                counters.count(self.table.panel(blocks[0].block / PANEL_BLOCKS), blocks, rows);
                let Some(cells) = others.split_off_mut(..self.n_cells(blocks)) else { return };
                self.take_counters(blocks, &mut counters, &derived.fixed, cells);
            }
        }
    }

    /// Adds the counters of neighbouring blocks to their cells and sets them back to 0.
    fn take_counters(&self, blocks: &[BlockColumns], counters: &mut Counters, fixed: &FixedPoint, mut cells: &mut [Cell]) {
        for (block, counters) in blocks.iter().zip(counters.of_blocks.chunks_exact_mut(BLOCK_COLUMNS)) {
            let starts = &self.starts[block.first..=block.first + block.places.len()];
            for (counters, ends) in counters.iter_mut().zip(starts.windows(2)) {
                let Some(of_column) = cells.split_off_mut(..ends[1] - ends[0]) else { return };
                for (cell, counter) in of_column.iter_mut().zip(counters) {
                    cell.add(fixed.cell(std::mem::take(counter)));
                }
            }
        }
    }
}

/// Counters of one column; a byte is always inside.
type ColumnCounters = [[i64; 2]; 256];

/// Where one thread counts.
#[derive(Default)]
struct Counters {
    /// For each block being counted [`BLOCK_COLUMNS`], of which those of the chosen columns are used; 0 between two counts.
    of_blocks: Vec<ColumnCounters>,
    /// The strip of rows being counted, block after block.
    strip: Vec<BlockRow>,
    /// The derivatives of a run of rows.
    pairs: Vec<Pair>,
    /// The same as whole numbers.
    derivatives: Vec<[i64; 2]>,
}

impl Counters {
    /// Puts the derivatives of rows side by side.
    fn derive(&mut self, rows: &[u32], derived: &Derived) {
        // Two loops: the first is short, so that the processor waits for many rows at once.
        self.pairs.clear();
        self.pairs.extend(rows.iter().map(|&row| derived.pairs[row as usize]));
        self.derivatives.clear();
        self.derivatives.extend(self.pairs.iter().map(|&pair| derived.fixed.packed(pair)));
    }

    /// Adds the rows that [`Self::derive`] had to the counters of the chosen columns of some blocks of a panel.
    fn count(&mut self, panel: &Panel, blocks: &[BlockColumns], rows: &[u32]) {
        let strip_len = rows.len().min(ROWS_PER_STRIP);
        self.of_blocks.resize(blocks.len() * BLOCK_COLUMNS, [[0; 2]; 256]);
        self.strip.resize(blocks.len() * strip_len, BlockRow::default());
        for (rows, derivatives) in rows.chunks(ROWS_PER_STRIP).zip(self.derivatives.chunks(ROWS_PER_STRIP)) {
            for (strip, block) in self.strip.chunks_exact_mut(strip_len).zip(blocks) {
                panel.copy_block(block.block % PANEL_BLOCKS, rows, strip);
            }
            let strips = self.strip.chunks_exact(strip_len).zip(self.of_blocks.chunks_exact_mut(BLOCK_COLUMNS));
            for (block, (strip, counters)) in blocks.iter().zip(strips) {
                count_block(&block.places, strip, derivatives, counters);
            }
        }
    }
}

/// Adds rows to the counters of a block's chosen columns.
fn count_block(places: &[usize], rows: &[BlockRow], derivatives: &[[i64; 2]], counters: &mut [ColumnCounters]) {
    match *places {
        [a] => count([a], rows, derivatives, counters),
        [a, b] => count([a, b], rows, derivatives, counters),
        [a, b, c] => count([a, b, c], rows, derivatives, counters),
        [a, b, c, d] => count([a, b, c, d], rows, derivatives, counters),
        [a, b, c, d, e] => count([a, b, c, d, e], rows, derivatives, counters),
        [a, b, c, d, e, f] => count([a, b, c, d, e, f], rows, derivatives, counters),
        [a, b, c, d, e, f, g] => count([a, b, c, d, e, f, g], rows, derivatives, counters),
        _ => count([0, 1, 2, 3, 4, 5, 6, 7], rows, derivatives, counters),
    }
}

/// Adds rows to the counters of `K` columns. The number of columns is known to the compiler so that it writes out the inner loop.
#[inline(always)]
#[allow(clippy::inline_always, reason = "a block's columns, when all are chosen, are constants only where this is written out")]
fn count<const K: usize>(places: [usize; K], rows: &[BlockRow], derivatives: &[[i64; 2]], counters: &mut [ColumnCounters]) {
    let Some(counters) = counters.first_chunk_mut::<K>() else { return };
    for (bins, &[gradient, hessian_and_count]) in rows.iter().zip(derivatives) {
        for k in 0..K {
            let counter = &mut counters[k][usize::from(bins[places[k] % BLOCK_COLUMNS])];
            counter[0] = counter[0].wrapping_add(gradient);
            counter[1] = counter[1].wrapping_add(hessian_and_count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_rows() {
        let pairs: Vec<Pair> = (0..1000).map(|row| [(row as f32 * 0.37).sin(), 0.25 / (1.0 + row as f32)]).collect();
        let fixed = FixedPoint::new(1000, [1.0, 0.25]);
        let mut total = Cell::default();
        for &pair in &pairs {
            total.add(fixed.cell(fixed.packed(pair)));
        }
        let sums = fixed.sums(total);
        let expected: [f64; 2] = [0, 1].map(|k| pairs.iter().map(|pair| f64::from(pair[k])).sum());
        assert_eq!(sums.n_rows, 1000);
        assert!((sums.gradient - expected[0]).abs() < 1e-7 && (sums.hessian - expected[1]).abs() < 1e-8);
    }

    #[test]
    fn no_field_overflows_into_another() {
        for n_rows in [1, 2, 1000, u32::MAX as usize] {
            let largest: Pair = [3e38, 1e-40];
            let fixed = FixedPoint::new(n_rows, largest);
            for sign in [1.0f32, -1.0] {
                let one = fixed.cell(fixed.packed([sign * largest[0], largest[1]]));
                let all = fixed.sums(Cell(one.0.wrapping_mul(n_rows as u128)));
                assert_eq!(all.n_rows, n_rows as u32);
                let expected = [0, 1].map(|k| f64::from(largest[k]) * n_rows as f64);
                assert!((f64::from(sign) * all.gradient / expected[0] - 1.0).abs() < 1e-4, "{n_rows}: {all:?}");
                assert!((all.hessian / expected[1] - 1.0).abs() < 1e-4, "{n_rows}: {all:?}");
            }
        }
    }

    #[test]
    fn parent_without_child_is_the_sibling() {
        let fixed = FixedPoint::new(6, [0.3, 0.25]);
        let cell = |row: u8| fixed.cell(fixed.packed([0.1 * f32::from(row) - 0.2, 0.25]));
        let of = |rows: &[u8]| {
            Histogram(vec![rows.iter().fold(Cell::default(), |mut sum, &row| {
                sum.add(cell(row));
                sum
            })])
        };
        let mut remainder = of(&[0, 1, 2, 3, 4, 5]);
        remainder.subtract(&of(&[0, 2, 5]));
        assert_eq!(remainder, of(&[1, 3, 4]));
        remainder.subtract(&of(&[1, 3, 4]));
        assert_eq!(fixed.sums(remainder.0[0]), Sums::default());
    }
}
