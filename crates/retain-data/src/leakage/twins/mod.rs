//! Customers that stand in a table more than once without saying so: equal rows, rows equal but for a few columns, and copies of
//! whole blocks of customers with the same numbers added to their columns.
//!
//! Random folds put one copy among the training rows and the other among those that judge, and a model that merely remembers looks
//! excellent. Pairs are found by hashing (`search.rs`, `shifts.rs`), and believed when their agreement is surprising (`surprise.rs`): in
//! a table of n rows a pair has to agree in at least two thirds of the columns, and so unlikely that among all n²/2 pairs, and all ways
//! to choose the columns that differ, less than one in a thousand such pairs would be expected by chance. Where the same few columns
//! differ again and again, as when somebody gave every customer five addresses, the choice of columns is no surprise any more and counts
//! by how often it was seen. A table of five yes-or-no columns has many equal rows and no twins.

mod search;
mod shifts;
mod surprise;

use std::collections::BTreeMap;

use super::{Finding, Severity};
use crate::dataset::Dataset;
use surprise::Surprise;

/// Share of the rows from which on twins change what a model seems to be worth.
const TELLING_SHARE: f64 = 0.005;
/// A choice of differing columns that was believed less often is judged as any other.
const MIN_SEEN: usize = 5;
/// Customers are copied a few times, by oversampling perhaps a dozen. Where most of the rows found are in larger sets, the columns cannot
/// tell customers apart: buyers of a single article, say, whose other numbers all follow from its date.
const MAX_COPIES: usize = 20;
/// Expected chance pairs in the whole table.
const CHANCE_PAIRS: f64 = 1e-3;

/// Rows that seem to be one customer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Twins {
    /// Positions of rows, rising, at least two in each group and not all of one group of the dataset; groups in order of their first.
    pub groups: Vec<Vec<usize>>,
    /// Rows among them that are copies of another with the same amounts added to their columns.
    pub n_shifted: usize,
}

impl Twins {
    /// Rows in all groups.
    pub fn n_rows(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }

    /// `n_table_rows` are the rows of the table they were found in.
    pub(super) fn finding(&self, n_table_rows: usize) -> Option<Finding> {
        let (n_rows, n_groups) = (self.n_rows(), self.groups.len());
        let first = self.groups.first()?;
        let rows = first.iter().take(3).map(|row| (row + 1).to_string()).collect::<Vec<_>>().join(", ");
        let shifted = if self.n_shifted > 0 {
            format!(", {} of them with the same amounts added to their columns", self.n_shifted)
        } else {
            String::new()
        };
        Some(Finding {
            code: "leak_twins",
            severity: if n_rows as f64 >= TELLING_SHARE * n_table_rows as f64 { Severity::Likely } else { Severity::Note },
            columns: Vec::new(),
            measure: "rows",
            figure: n_rows as f64,
            message: format!(
                "{n_rows} rows seem to be {n_groups} customers that stand in the table more than once (rows {rows} for one){shifted}: \
                 folds that part them make a model look better than it is"
            ),
            fix: "they are kept in one fold; keep one row of each, or name in `group` what tells who belongs together".to_owned(),
            allowed: false,
        })
    }
}

/// Puts twins into one group of the dataset, so that folds do not part them; groups are numbered by first appearance again.
///
/// Groups that share a twin become one. Rows of `twins` that the dataset does not have are passed over.
pub fn keep_together(dataset: &mut Dataset, twins: &Twins) {
    if twins.groups.is_empty() {
        return;
    }
    let mut joined = Sets::new(dataset.n_groups());
    for rows in &twins.groups {
        let groups: Vec<u32> = rows.iter().filter_map(|&row| dataset.group.get(row).copied()).collect();
        groups.windows(2).for_each(|pair| joined.join(pair[0], pair[1]));
    }
    let mut numbers = vec![u32::MAX; dataset.n_groups()];
    let mut n_groups = 0;
    for group in &mut dataset.group {
        let number = &mut numbers[joined.find(*group) as usize];
        if *number == u32::MAX {
            *number = n_groups;
            n_groups += 1;
        }
        *group = *number;
    }
}

pub(super) fn find(dataset: &Dataset) -> Twins {
    let surprise = Surprise::new(dataset);
    let mut pairs = Pairs::new(dataset, &surprise);
    let mut sets = Sets::new(dataset.n_rows());
    pairs.seen = search::join_equal(&pairs, &mut sets);
    if pairs.seen.values().any(|&n| n >= MIN_SEEN) {
        search::join_equal(&pairs, &mut sets);
    }
    pairs.seen.clear();
    let shifted = shifts::join_shifted(&pairs, &mut sets);
    let groups = sets.groups(&dataset.group);
    let n_rows_of = |of_size: fn(usize) -> bool| groups.iter().map(Vec::len).filter(|&size| of_size(size)).sum::<usize>();
    if n_rows_of(|size| size > MAX_COPIES) > n_rows_of(|size| size <= MAX_COPIES) {
        return Twins::default();
    }
    if dataset.schema.has_amounts() && !amounts_repeat(&groups, &dataset.target) {
        return Twins::default();
    }
    let in_groups: std::collections::BTreeSet<usize> = groups.iter().flatten().copied().collect();
    Twins { n_shifted: shifted.iter().filter(|row| in_groups.contains(row)).count(), groups }
}

/// Whether the same customers have the same amounts: a copy has its original's. Customers who bought one article on one day are alike in
/// all that follows from it, and go on to spend what they like.
fn amounts_repeat(groups: &[Vec<usize>], amounts: &[f64]) -> bool {
    let telling = groups.iter().filter(|rows| rows.iter().any(|&row| amounts[row] > 0.0));
    let (mut n_telling, mut n_same) = (0, 0);
    for rows in telling {
        n_telling += 1;
        n_same += usize::from(rows.iter().all(|&row| amounts[row] == amounts[rows[0]]));
    }
    2 * n_same >= n_telling
}

/// Compares rows.
struct Pairs<'a> {
    dataset: &'a Dataset,
    surprise: &'a Surprise,
    /// Columns that may differ.
    max_differing: usize,
    /// Logarithms of the numbers of ways to choose 0, 1, … columns that differ.
    ln_choices: Vec<f64>,
    /// How often each choice of differing columns, a bit for each, was believed.
    seen: BTreeMap<u64, usize>,
}

impl<'a> Pairs<'a> {
    fn new(dataset: &'a Dataset, surprise: &'a Surprise) -> Self {
        let n = surprise.columns.len();
        let max_differing = n / 3;
        let mut ln_choices = vec![0.0];
        for k in 1..=max_differing {
            ln_choices.push(ln_choices[k - 1] + ((n - k + 1) as f64 / k as f64).ln());
        }
        Self { dataset, surprise, max_differing, ln_choices, seen: BTreeMap::new() }
    }

    fn n_rows(&self) -> usize {
        self.dataset.n_rows()
    }

    /// Values of a counted column, one per row.
    fn column(&self, position: usize) -> &'a [f64] {
        &self.dataset.columns[self.surprise.columns[position].feature_idx]
    }

    /// Logarithm of the number of pairs.
    fn ln_pairs(&self) -> f64 {
        let n = self.n_rows() as f64;
        (n * n / 2.0).max(1.0).ln()
    }

    /// The surprise of a pair less what choosing the columns that differ explains, and these columns; none where too many differ.
    /// `agrees` says whether two values of a counted column belong together.
    fn evidence(&self, row: usize, other: usize, agrees: impl Fn(usize, f64, f64) -> bool) -> Option<(f64, u64)> {
        let n_columns = self.surprise.columns.len();
        let (mut agreeing, mut values) = (Vec::with_capacity(n_columns), Vec::with_capacity(n_columns));
        let mut differing = 0_u64;
        for position in 0..n_columns {
            let column = self.column(position);
            let does_agree = agrees(position, column[row], column[other]);
            differing |= u64::from(!does_agree) << position;
            if differing.count_ones() as usize > self.max_differing {
                return None;
            }
            agreeing.push(does_agree);
            values.push(column[other]);
        }
        Some((self.surprise.of(&values, &agreeing) - self.choice(differing), differing))
    }

    /// How much choosing these columns explains.
    fn choice(&self, differing: u64) -> f64 {
        let any = self.ln_choices[differing.count_ones() as usize];
        let n_seen: usize = self.seen.values().sum();
        let often = self.seen.get(&differing).filter(|&&n| n >= MIN_SEEN);
        often.map_or(any, |&n| (n_seen as f64 / n as f64).ln().min(any))
    }
}

/// Whether two cells hold the same, missing being the same as missing.
fn is_same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

/// Mixes a value into a hash.
fn mixed(hash: u64, bits: u64) -> u64 {
    let mixed = (hash ^ bits).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(27)
}

/// The bits of a value; zero has one sign here, and missing one form.
fn bits(value: f64) -> u64 {
    if value.is_nan() { u64::MAX } else { (value + 0.0).to_bits() }
}

/// Disjoint sets that grow together.
struct Sets {
    parent: Vec<u32>,
}

impl Sets {
    fn new(n: usize) -> Self {
        Self { parent: (0..n as u32).collect() }
    }

    fn find(&mut self, mut member: u32) -> u32 {
        while self.parent[member as usize] != member {
            let grandparent = self.parent[self.parent[member as usize] as usize];
            self.parent[member as usize] = grandparent;
            member = grandparent;
        }
        member
    }

    /// The smaller number stands for both: the result does not depend on the order of joining.
    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.find(a), self.find(b));
        self.parent[a.max(b) as usize] = a.min(b);
    }

    /// Sets of at least two rows that are of more than one group.
    fn groups(&mut self, group: &[u32]) -> Vec<Vec<usize>> {
        let mut members: Vec<(u32, u32)> = (0..self.parent.len() as u32).map(|row| (self.find(row), row)).collect();
        members.sort_unstable();
        let sets = members.chunk_by(|a, b| a.0 == b.0).filter(|set| {
            let first = group[set[0].1 as usize];
            set.iter().any(|&(_, row)| group[row as usize] != first)
        });
        sets.map(|set| set.iter().map(|&(_, row)| row as usize).collect()).collect()
    }
}
