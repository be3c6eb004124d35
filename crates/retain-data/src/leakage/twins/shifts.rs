//! Finds copies of customers to whose columns the same amounts were added: +60 seconds, +3 calls, +2 months for everyone in a block.
//!
//! Rows that were found equal already are looked at once, so that twins of two customers do not vote many times.
//!
//! One such pair shows nothing: any two rows differ by something. But where a block of customers was copied, the same differences
//! in several columns at once come up again and again, which chance does not do.

use super::{Pairs, Sets, bits, is_same, mixed};

/// Rows whose differences are all looked at: five million pairs.
const SAMPLE_ROWS: usize = 3_000;
/// Columns whose differences are counted together.
const MAX_KEYS: usize = 4;
/// A column with fewer values has the same differences everywhere.
const MIN_KEY_VALUES: usize = 13;
/// Columns of so few values tell which rows can be copies of each other, where there are too many rows to compare all.
const MAX_STRATUM_VALUES: usize = 6;
/// Differences that are followed up.
const MAX_SHIFTS: usize = 64;
/// A difference comes up this often, beside ten times what chance would do.
const MIN_VOTES: usize = 10;
/// Pairs that tell what was added to the other columns.
const N_WITNESSES: usize = 200;
/// Share of chance pairs among the pairs that are believed.
const FALSE_SHARE: f64 = 0.01;
/// Of a column's range: smaller differences are rounding errors.
const ROUNDING: f64 = 1e-9;

/// Joins the copies; returns their rows, rising.
pub(super) fn join_shifted(pairs: &Pairs<'_>, sets: &mut Sets) -> Vec<usize> {
    let firsts: Vec<u32> = (0..pairs.n_rows() as u32).filter(|&row| sets.find(row) == row).collect();
    let grid = Grid::new(pairs, firsts);
    let mut shifted = Vec::new();
    if grid.keys.len() < 2 {
        return shifted;
    }
    let by_key = grid.hashes(pairs, None);
    for shift in grid.frequent_shifts(pairs) {
        for (row, other) in believed(pairs, &grid, &by_key, &shift) {
            sets.join(row, other);
            shifted.extend([row as usize, other as usize]);
        }
    }
    shifted.sort_unstable();
    shifted.dedup();
    shifted
}

/// What is added to each counted column; none where nothing is.
type Shift = Vec<Option<f64>>;

/// Numbers as whole multiples of a step, so that sums and differences are exact.
struct Grid {
    /// Positions of the counted columns whose differences are counted together.
    keys: Vec<usize>,
    /// One per counted column.
    steps: Vec<f64>,
    /// The rows that have all keys.
    rows: Vec<u32>,
}

impl Grid {
    fn new(pairs: &Pairs<'_>, mut rows: Vec<u32>) -> Self {
        let columns = &pairs.surprise.columns;
        let is_key = |position: &usize| columns[*position].is_number && columns[*position].n_distinct() >= MIN_KEY_VALUES;
        // They stand in the order of what they tell.
        let keys: Vec<usize> = (0..columns.len()).filter(is_key).take(MAX_KEYS).collect();
        rows.retain(|&row| keys.iter().all(|&position| !pairs.column(position)[row as usize].is_nan()));
        let steps = columns.iter().map(|column| (column.range() * ROUNDING).max(f64::MIN_POSITIVE)).collect();
        Self { keys, steps, rows }
    }

    fn units(&self, position: usize, value: f64) -> u64 {
        // Beyond the range of a whole number everything is the same.
        (value / self.steps[position]).round() as i64 as u64
    }

    /// Rows with the hash of their keys, after a shift if there is one, sorted.
    fn hashes(&self, pairs: &Pairs<'_>, shift: Option<&Shift>) -> Vec<(u64, u32)> {
        let added = |position: usize| shift.and_then(|shift| shift[position]).unwrap_or(0.0);
        let columns: Vec<(usize, &[f64], f64)> =
            self.keys.iter().map(|&position| (position, pairs.column(position), added(position))).collect();
        let of_row = |&row: &u32| {
            let unit = |(position, column, added): &(usize, &[f64], f64)| self.units(*position, column[row as usize] + added);
            (columns.iter().fold(0, |hash, column| mixed(hash, unit(column))), row)
        };
        let mut hashes: Vec<(u64, u32)> = self.rows.iter().map(of_row).collect();
        hashes.sort_unstable();
        hashes
    }

    /// Shifts that come up far more often than chance would have them.
    fn frequent_shifts(&self, pairs: &Pairs<'_>) -> Vec<Shift> {
        let rows = sample(pairs, &self.rows);
        let n_pairs = rows.len() as f64 * rows.len() as f64 / 2.0;
        // Two independent values differ by a given amount no more often than they are equal (Cauchy and Schwarz).
        let entropy: f64 = self.keys.iter().map(|&position| pairs.surprise.columns[position].entropy).sum();
        let needed = MIN_VOTES + (10.0 * n_pairs * (-entropy).exp()).min(n_pairs) as usize;
        let mut votes: Vec<u64> = Vec::with_capacity(n_pairs as usize);
        self.each_difference(pairs, &rows, |hash, _, _| votes.push(hash));
        votes.sort_unstable();
        let mut frequent: Vec<(usize, u64)> =
            votes.chunk_by(|a, b| a == b).filter(|run| run.len() >= needed).map(|run| (run.len(), run[0])).collect();
        drop(votes);
        frequent.sort_unstable_by(|a, b| b.cmp(a));
        frequent.truncate(MAX_SHIFTS);
        let mut witnesses: Vec<Vec<(u32, u32)>> = vec![Vec::new(); frequent.len()];
        let mut position_of: Vec<(u64, usize)> =
            frequent.iter().enumerate().map(|(position, (_, hash))| (*hash, position)).collect();
        position_of.sort_unstable();
        self.each_difference(pairs, &rows, |hash, row, other| {
            if let Ok(found) = position_of.binary_search_by_key(&hash, |(hash, _)| *hash) {
                let witnesses = &mut witnesses[position_of[found].1];
                if witnesses.len() < N_WITNESSES {
                    witnesses.push((row, other));
                }
            }
        });
        witnesses.iter().map(|witnesses| self.shift_of(pairs, witnesses)).collect()
    }

    /// Calls `see` with the hash of the keys' differences of every pair of the sample, `row` being the smaller in the first key that
    /// differs; equal rows have no difference.
    fn each_difference(&self, pairs: &Pairs<'_>, rows: &[u32], mut see: impl FnMut(u64, u32, u32)) {
        let units: Vec<[i64; MAX_KEYS]> = rows.iter().map(|&row| self.units_of(pairs, row)).collect();
        for (first, a) in units.iter().enumerate() {
            for (second, b) in units.iter().enumerate().skip(first + 1) {
                let difference: [i64; MAX_KEYS] = std::array::from_fn(|key| b[key].wrapping_sub(a[key]));
                let Some(sign) = difference.iter().find(|&&units| units != 0).map(|units| units.signum()) else { continue };
                let hash = difference.iter().fold(0, |hash, &units| mixed(hash, units.wrapping_mul(sign) as u64));
                let (row, other) = if sign > 0 { (first, second) } else { (second, first) };
                see(hash, rows[row], rows[other]);
            }
        }
    }

    fn units_of(&self, pairs: &Pairs<'_>, row: u32) -> [i64; MAX_KEYS] {
        let mut units = [0; MAX_KEYS];
        for (unit, &position) in units.iter_mut().zip(&self.keys) {
            *unit = self.units(position, pairs.column(position)[row as usize]) as i64;
        }
        units
    }

    /// What most of the witnesses have added, column by column; nothing where no amount leads.
    fn shift_of(&self, pairs: &Pairs<'_>, witnesses: &[(u32, u32)]) -> Shift {
        let of_column = |position: usize| {
            let column = pairs.column(position);
            let difference = |&(row, other): &(u32, u32)| column[other as usize] - column[row as usize];
            let mut units: Vec<(i64, u32)> = witnesses
                .iter()
                .zip(0..)
                .filter(|(pair, _)| !difference(pair).is_nan())
                .map(|(pair, at)| ((difference(pair) / self.steps[position]).round() as i64, at))
                .collect();
            units.sort_unstable();
            let most = units.chunk_by(|a, b| a.0 == b.0).max_by_key(|run| run.len())?;
            (pairs.surprise.columns[position].is_number && 3 * most.len() > witnesses.len() && most[0].0 != 0)
                .then(|| difference(&witnesses[most[0].1 as usize]))
        };
        (0..pairs.surprise.columns.len()).map(of_column).collect()
    }
}

/// Pairs of a row and its copy, surest first, as long as no more than one in a hundred is expected by chance (Benjamini and Hochberg,
/// 1995).
fn believed(pairs: &Pairs<'_>, grid: &Grid, by_key: &[(u64, u32)], shift: &Shift) -> Vec<(u32, u32)> {
    let agrees = |position: usize, a: f64, b: f64| match shift[position] {
        Some(added) => (b - a - added).abs() <= grid.steps[position],
        None => is_same(a, b),
    };
    let mut found: Vec<(f64, u32, u32)> = Vec::new();
    let mut from = 0;
    for (hash, row) in grid.hashes(pairs, Some(shift)) {
        from += by_key[from..].partition_point(|(known, _)| *known < hash).min(by_key.len() - from);
        let copies = by_key[from..].iter().take_while(|(known, _)| *known == hash).take(MAX_SHIFTS);
        let evidence =
            |&(_, other): &(u64, u32)| pairs.evidence(row as usize, other as usize, agrees).map(|(sure, _)| (sure, row, other));
        found.extend(copies.filter_map(evidence));
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let ln_pairs = pairs.ln_pairs() + std::f64::consts::LN_2 + (MAX_SHIFTS as f64).ln();
    let is_sure = |(rank, (sure, _, _)): (usize, &(f64, u32, u32))| {
        let expected = ln_pairs - sure;
        expected <= (FALSE_SHARE * (rank + 1) as f64).ln()
    };
    let n_sure = found.iter().enumerate().filter(|&pair| is_sure(pair)).map(|(rank, _)| rank + 1).max().unwrap_or(0);
    if n_sure < MIN_VOTES {
        return Vec::new();
    }
    found.into_iter().take(n_sure).map(|(_, row, other)| (row, other)).collect()
}

/// The rows; where they are too many, those of some combinations of few-valued columns, so that copies stay together.
fn sample(pairs: &Pairs<'_>, rows: &[u32]) -> Vec<u32> {
    if rows.len() <= SAMPLE_ROWS {
        return rows.to_vec();
    }
    let few_valued = |position: &usize| pairs.surprise.columns[*position].n_distinct() <= MAX_STRATUM_VALUES;
    let strata: Vec<usize> = (0..pairs.surprise.columns.len()).filter(few_valued).collect();
    let hash = |row: u32| strata.iter().fold(0, |hash, &position| mixed(hash, bits(pairs.column(position)[row as usize])));
    let mut by_stratum: Vec<(u64, u32)> = rows.iter().map(|&row| (hash(row), row)).collect();
    by_stratum.sort_unstable();
    by_stratum.into_iter().take(SAMPLE_ROWS).map(|(_, row)| row).collect()
}
