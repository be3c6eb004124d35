//! A table as columns of whole numbers for the tree packages, and their splits back as the scorer's questions.
//!
//! Neither package knows missing values or categories, and one of them confuses values closer than 1e-5. So every column is
//! coded by order: a number becomes its rank among the values of the training rows, a category its rank by how often its
//! customers left. A feature with missing values gets two columns, with the missing below and above all others, so that a
//! split can send them either way or set them apart. [`compile`] turns a grown tree of splits `code <= at` into a
//! [`Tree`] that sends every training row the same way.

use retain_core::{ColumnKind, FeatureSchema};
use retain_data::Dataset;
use retain_score::{Node, NodeKind, Test, Tree};

use super::rows;

/// Most categories of a feature that are told apart; the rarest beyond these go together with those never seen.
const MAX_NAMED_CATEGORIES: usize = 64;

/// Customers' worth of base rate mixed into a category's rate, so that a category of few rows stands in the middle.
const RATE_SMOOTHING_ROWS: f64 = 20.0;

/// One coded column.
pub(super) struct SplitColumn {
    /// One code per row, a whole number.
    pub(super) codes: Vec<f64>,
    feature_idx: usize,
    coding: Coding,
}

enum Coding {
    /// The code is the position among these rising values.
    Number { values: Vec<f64>, missing: MissingEnd },
    /// The code is the position in this order.
    Category(Vec<Level>),
}

#[derive(Clone, Copy, PartialEq)]
enum MissingEnd {
    Absent,
    Low,
    High,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Level {
    Named(u32),
    Missing,
    /// Rare categories, and those that training or the schema never saw.
    Others,
}

/// A package's split in the scorer's words.
struct Question {
    test: Test,
    /// Where a missing value goes; none where the training rows have none.
    missing_left: Option<bool>,
    /// Whether rows with small codes answer yes.
    small_codes_left: bool,
}

/// A node of a grown tree, before it is compiled.
pub(super) struct GrownNode {
    pub(super) value: f64,
    pub(super) split: Option<GrownSplit>,
}

/// Rows whose code in `column` is at most `at` go to `small`, the others to `large`: positions of nodes, greater than this one's.
#[derive(Clone, Copy)]
pub(super) struct GrownSplit {
    pub(super) column: usize,
    pub(super) at: f64,
    pub(super) small: usize,
    pub(super) large: usize,
}

/// The columns of the rows; features that do not vary have none.
pub(super) fn split_columns(dataset: &Dataset, row_idxs: &[usize]) -> Vec<SplitColumn> {
    let positive: Vec<bool> = row_idxs.iter().map(|&row_idx| rows::is_positive(dataset, row_idx)).collect();
    let mut columns = Vec::new();
    for (feature_idx, feature) in dataset.schema.features.iter().enumerate() {
        let cells: Vec<f64> = row_idxs.iter().map(|&row_idx| dataset.columns[feature_idx][row_idx]).collect();
        let codings = match feature.kind {
            ColumnKind::Category => vec![category_coding(&cells, &positive, feature.categories.len())],
            ColumnKind::Number | ColumnKind::Boolean | ColumnKind::Date => number_codings(&cells),
        };
        columns.extend(codings.into_iter().map(|coding| SplitColumn::new(feature_idx, coding, &cells)));
    }
    columns.retain(|column| column.codes.windows(2).any(|pair| pair[0] != pair[1]));
    columns
}

/// Columns that a schema can lead to at most; at least 1.
pub(super) fn most_columns(schema: &FeatureSchema) -> usize {
    schema.features.iter().map(|feature| if feature.kind == ColumnKind::Category { 1 } else { 2 }).sum::<usize>().max(1)
}

fn number_codings(cells: &[f64]) -> Vec<Coding> {
    let mut values: Vec<f64> = cells.iter().copied().filter(|value| !value.is_nan()).collect();
    let has_missing = values.len() < cells.len();
    values.sort_unstable_by(f64::total_cmp);
    values.dedup();
    let ends: &[MissingEnd] = match (values.is_empty(), has_missing) {
        (true, _) => &[],
        (false, true) => &[MissingEnd::Low, MissingEnd::High],
        (false, false) => &[MissingEnd::Absent],
    };
    ends.iter().map(|&missing| Coding::Number { values: values.clone(), missing }).collect()
}

fn category_coding(cells: &[f64], positive: &[bool], n_categories: usize) -> Coding {
    // Places: the categories, one for those the schema does not know, one for missing.
    let mut counts = vec![(0_usize, 0_usize); n_categories + 2];
    for (&cell, &positive) in cells.iter().zip(positive) {
        let place = if cell.is_nan() { n_categories + 1 } else { (cell as usize).min(n_categories) };
        counts[place].0 += 1;
        counts[place].1 += usize::from(positive);
    }
    let base_rate = positive.iter().filter(|&&positive| positive).count() as f64 / positive.len().max(1) as f64;
    let rate = |(n, n_positives): (usize, usize)| {
        (n_positives as f64 + RATE_SMOOTHING_ROWS * base_rate) / (n as f64 + RATE_SMOOTHING_ROWS)
    };
    let mut named: Vec<usize> = (0..n_categories).filter(|&place| counts[place].0 > 0).collect();
    named.sort_by_key(|&place| (usize::MAX - counts[place].0, place));
    let rest = named.split_off(named.len().min(MAX_NAMED_CATEGORIES));
    let others = rest.iter().fold(counts[n_categories], |sum, &place| (sum.0 + counts[place].0, sum.1 + counts[place].1));
    named.sort_unstable();
    let mut order: Vec<(f64, Level)> = named.iter().map(|&place| (rate(counts[place]), Level::Named(place as u32))).collect();
    order.push((rate(others), Level::Others));
    if counts[n_categories + 1].0 > 0 {
        order.push((rate(counts[n_categories + 1]), Level::Missing));
    }
    // A stable sort: equal rates keep the schema's order.
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    Coding::Category(order.into_iter().map(|(_, level)| level).collect())
}

impl SplitColumn {
    fn new(feature_idx: usize, coding: Coding, cells: &[f64]) -> Self {
        let codes = match &coding {
            Coding::Number { values, missing } => cells.iter().map(|&cell| number_code(values, *missing, cell)).collect(),
            Coding::Category(order) => category_codes(order, cells),
        };
        Self { codes, feature_idx, coding }
    }

    fn question(&self, at: f64) -> Question {
        match &self.coding {
            Coding::Number { values, missing } => number_question(values, *missing, at),
            Coding::Category(order) => category_question(order, at),
        }
    }
}

fn number_code(values: &[f64], missing: MissingEnd, cell: f64) -> f64 {
    match missing {
        MissingEnd::Low if cell.is_nan() => -1.0,
        MissingEnd::High if cell.is_nan() => values.len() as f64,
        MissingEnd::Absent | MissingEnd::Low | MissingEnd::High => values.partition_point(|&value| value < cell) as f64,
    }
}

fn category_codes(order: &[Level], cells: &[f64]) -> Vec<f64> {
    let position = |level: Level| order.iter().position(|&known| known == level).unwrap_or(0) as f64;
    let (missing, others) = (position(Level::Missing), position(Level::Others));
    let n_known =
        order.iter().map(|level| if let Level::Named(category) = level { *category as usize + 1 } else { 0 }).max().unwrap_or(0);
    let mut code_of = vec![others; n_known];
    for (code, level) in order.iter().enumerate() {
        if let Level::Named(category) = level {
            code_of[*category as usize] = code as f64;
        }
    }
    cells
        .iter()
        .map(|cell| if cell.is_nan() { missing } else { code_of.get(*cell as usize).copied().unwrap_or(others) })
        .collect()
}

fn number_question(values: &[f64], missing: MissingEnd, at: f64) -> Question {
    let n_small = (at.floor() + 1.0).clamp(0.0, values.len() as f64) as usize;
    if n_small == 0 || n_small == values.len() {
        // All values are on one side, so the split sets the missing apart: a present value answers yes.
        return Question { test: Test::Below(f64::INFINITY), missing_left: Some(false), small_codes_left: n_small > 0 };
    }
    let (below, above) = (values[n_small - 1], values[n_small]);
    // Halved first: the sum of two large numbers may overflow. Neighbours in floating point have nothing between them.
    let middle = below / 2.0 + above / 2.0;
    let threshold = if middle > below && middle <= above { middle } else { above };
    let missing_left = match missing {
        MissingEnd::Absent => None,
        MissingEnd::Low => Some(true),
        MissingEnd::High => Some(false),
    };
    Question { test: Test::Below(threshold), missing_left, small_codes_left: true }
}

fn category_question(order: &[Level], at: f64) -> Question {
    let n_small = (at.floor() + 1.0).clamp(0.0, order.len() as f64) as usize;
    let (small, large) = order.split_at(n_small);
    // The side with the others answers no, so that the list stays short and every stranger goes where the others went.
    let small_codes_left = !small.contains(&Level::Others);
    let yes = if small_codes_left { small } else { large };
    let mut listed: Vec<u32> =
        yes.iter().filter_map(|level| if let Level::Named(category) = level { Some(*category) } else { None }).collect();
    listed.sort_unstable();
    let missing_left = order.contains(&Level::Missing).then(|| yes.contains(&Level::Missing));
    Question { test: Test::OneOf(listed), missing_left, small_codes_left }
}

/// Turns a grown tree into the scorer's, cut at `max_depth` questions, with covers counted over the rows of `columns`.
///
/// A question that all rows of its node answer alike, or whose answers come to the same, is left out. Where the training rows have no missing value, a missing
/// one goes with the majority.
pub(super) fn compile(
    grown: &[GrownNode],
    columns: &[SplitColumn],
    n_rows: usize,
    max_depth: usize,
    leaf: impl Fn(f64) -> f64,
) -> Tree {
    let mut compiler = Compiler { grown, columns, max_depth, leaf, nodes: Vec::new() };
    compiler.emit(0, &mut (0..n_rows as u32).collect::<Vec<_>>(), 0);
    Tree { nodes: compiler.nodes }
}

struct Compiler<'a, F> {
    grown: &'a [GrownNode],
    columns: &'a [SplitColumn],
    max_depth: usize,
    leaf: F,
    nodes: Vec<Node>,
}

impl<F: Fn(f64) -> f64> Compiler<'_, F> {
    /// Writes the node and all below it; recursion goes as deep as the tree, which the learners keep below twenty.
    fn emit(&mut self, grown: usize, rows: &mut [u32], depth: usize) -> u32 {
        let node = &self.grown[grown];
        let position = self.nodes.len() as u32;
        let leaf = NodeKind::Leaf { value: (self.leaf)(node.value) };
        let Some(split) = node.split.filter(|_| depth < self.max_depth) else {
            self.nodes.push(Node { cover: rows.len() as f64, kind: leaf });
            return position;
        };
        let codes = &self.columns[split.column].codes;
        let n_small = partition(rows, |row| codes[row as usize] <= split.at);
        if n_small == 0 || n_small == rows.len() {
            return self.emit(if n_small == 0 { split.large } else { split.small }, rows, depth + 1);
        }
        let Question { test, missing_left, small_codes_left } = self.columns[split.column].question(split.at);
        self.nodes.push(Node { cover: rows.len() as f64, kind: leaf });
        let (small_rows, large_rows) = rows.split_at_mut(n_small);
        let small_is_majority = small_rows.len() > large_rows.len();
        let (small, large) = (self.emit(split.small, small_rows, depth + 1), self.emit(split.large, large_rows, depth + 1));
        if let Some(kind) = self.same_leaf(small, large) {
            // The package goes on dividing rows of one class; nothing is learned from that.
            self.nodes.truncate(position as usize + 1);
            self.nodes[position as usize].kind = kind;
            return position;
        }
        let (left, right) = if small_codes_left { (small, large) } else { (large, small) };
        let feature_idx = self.columns[split.column].feature_idx as u32;
        let missing_left = missing_left.unwrap_or(small_is_majority == small_codes_left);
        self.nodes[position as usize].kind = NodeKind::Split { feature_idx, test, missing_left, left, right };
        position
    }

    /// The leaf that two nodes both are, if they are.
    fn same_leaf(&self, one: u32, other: u32) -> Option<NodeKind> {
        let (one, other) = (&self.nodes[one as usize].kind, &self.nodes[other as usize].kind);
        (matches!(one, NodeKind::Leaf { .. }) && one == other).then(|| one.clone())
    }
}

/// Moves the rows that pass to the front and returns how many they are.
fn partition(rows: &mut [u32], passes: impl Fn(u32) -> bool) -> usize {
    let mut n_passing = 0;
    for position in 0..rows.len() {
        if passes(rows[position]) {
            rows.swap(position, n_passing);
            n_passing += 1;
        }
    }
    n_passing
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::learners::rows::tests::example;
    use retain_score::MarginModel;

    /// Fails unless the tree is one the scorer accepts as a tree, with covers that add up.
    #[track_caller]
    pub(in crate::learners) fn check_structure(tree: &Tree) {
        for (position, node) in tree.nodes.iter().enumerate() {
            assert!(node.cover > 0.0);
            if let NodeKind::Split { left, right, test, .. } = &node.kind {
                assert!(*left as usize > position && *right as usize > position);
                assert_eq!(node.cover, tree.nodes[*left as usize].cover + tree.nodes[*right as usize].cover);
                assert!(!matches!(test, Test::OneOf(categories) if categories.windows(2).any(|pair| pair[0] >= pair[1])));
            }
        }
    }

    #[test]
    fn every_split_sends_the_training_rows_where_its_codes_say() {
        let table = example(300, 12);
        let row_idxs: Vec<usize> = (0..300).collect();
        let columns = split_columns(&table, &row_idxs);
        assert_eq!(columns.iter().map(|column| column.feature_idx).collect::<Vec<_>>(), [0, 1, 1, 2, 3]);
        assert!(columns.len() <= most_columns(&table.schema));
        for (column, coded) in columns.iter().enumerate() {
            let mut codes = coded.codes.clone();
            codes.sort_by(f64::total_cmp);
            codes.dedup();
            for pair in codes.windows(2) {
                for at in [pair[0], f64::midpoint(pair[0], pair[1])] {
                    let grown = stump(column, at);
                    let tree = compile(&grown, &columns, 300, 5, |value| value);
                    check_structure(&tree);
                    let model = MarginModel { intercept: 0.0, terms: Vec::new(), trees: vec![tree] };
                    for (row, code) in table.all_rows().in_order().zip(&coded.codes) {
                        assert_eq!(
                            model.margin(row),
                            if *code <= at { 1.0 } else { 2.0 },
                            "feature {} at {at}",
                            coded.feature_idx
                        );
                    }
                }
            }
        }
    }

    fn stump(column: usize, at: f64) -> Vec<GrownNode> {
        let leaf = |value: f64| GrownNode { value, split: None };
        vec![GrownNode { value: 0.0, split: Some(GrownSplit { column, at, small: 1, large: 2 }) }, leaf(1.0), leaf(2.0)]
    }

    #[test]
    fn strangers_follow_the_others_and_the_missing_the_majority() {
        let table = example(300, 13);
        let row_idxs: Vec<usize> = (0..300).filter(|&row| table.columns[2][row] < 3.0).collect();
        let columns = split_columns(&table, &row_idxs);
        let plan = columns.iter().position(|column| column.feature_idx == 2).unwrap();
        let Coding::Category(order) = &columns[plan].coding else { panic!("the plan is a category") };
        let others = order.iter().position(|level| *level == Level::Others).unwrap() as f64;
        let tree = compile(&stump(plan, 0.0), &columns, row_idxs.len(), 5, |value| value);
        assert_eq!(tree.value(&[0.0, 0.0, 3.0, 0.0]), if others <= 0.0 { 1.0 } else { 2.0 });
        let heavier =
            if columns[plan].codes.iter().filter(|&&code| code <= 0.0).count() * 2 > row_idxs.len() { 1.0 } else { 2.0 };
        assert_eq!(tree.value(&[0.0, 0.0, f64::NAN, 0.0]), heavier);
    }

    #[test]
    fn neighbouring_floats_and_huge_numbers_are_told_apart() {
        let next = 1.0_f64.next_up();
        for values in [vec![1.0, next], vec![-f64::MAX, f64::MAX], vec![0.0, f64::MIN_POSITIVE]] {
            let Test::Below(threshold) = number_question(&values, MissingEnd::Absent, 0.5).test else { panic!("a number") };
            assert!(values[0] < threshold && threshold <= values[1] && threshold.is_finite());
        }
    }
}
