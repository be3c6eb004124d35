//! How surprising it is that two rows agree: minus the logarithm of the chance that another row has the same values.
//!
//! Columns are not independent: a customer without internet has six columns that say so. Each column is therefore taken given the one
//! column, among those before it, that tells most about it (a tree after Chow and Liu, 1968, over at most 16 parts of each column), and
//! only the value within its part is taken as independent. All of it is estimated on at most 20,000 rows, so that no value counts as
//! rarer than one in as many: the surprise is rather too small than too large.

use retain_core::ColumnKind;

use crate::dataset::Dataset;

/// Rows that frequencies are counted on.
const SAMPLE_ROWS: usize = 20_000;
/// Columns that count; more would add time and little surprise.
const MAX_COLUMNS: usize = 64;
/// Parts of a column, and one for missing.
const N_PARTS: usize = 16;
const N_BINS: usize = N_PARTS + 1;

/// The columns that count, those that tell most customers apart first.
pub(super) struct Surprise {
    pub(super) columns: Vec<Counted>,
}

/// What is known of one column.
pub(super) struct Counted {
    /// Position in the dataset.
    pub(super) feature_idx: usize,
    /// Minus the logarithm of the chance that two rows have the same value.
    pub(super) entropy: f64,
    /// Whether sums and differences of its values mean something.
    pub(super) is_number: bool,
    /// Values of the sample in rising order.
    sorted: Vec<f64>,
    /// The largest value of each part.
    cuts: Vec<f64>,
    /// Rows of the sample in each part.
    counts: [f64; N_BINS],
    /// Position in [`Surprise::columns`] of the column that tells most about this one.
    parent: Option<usize>,
    /// Logarithm of the chance of a part, given the part of the parent: `[part][part of the parent]`.
    ln_given: Vec<[f64; N_BINS]>,
}

impl Surprise {
    pub(super) fn new(dataset: &Dataset) -> Self {
        let stride = dataset.n_rows().div_ceil(SAMPLE_ROWS).max(1);
        let rows: Vec<usize> = (0..dataset.n_rows()).step_by(stride).collect();
        let mut columns: Vec<Counted> =
            (0..dataset.n_features()).map(|feature_idx| Counted::new(dataset, feature_idx, &rows)).collect();
        columns.sort_by(|a, b| b.entropy.total_cmp(&a.entropy));
        columns.truncate(MAX_COLUMNS);
        let bins: Vec<Vec<u8>> = columns
            .iter()
            .map(|column| rows.iter().map(|&row| column.bin(dataset.columns[column.feature_idx][row]) as u8).collect())
            .collect();
        for position in 1..columns.len() {
            let joint = (0..position).map(|parent| Joint::new(&bins[position], &bins[parent]));
            let best = joint.enumerate().max_by(|a, b| a.1.information().total_cmp(&b.1.information()).then(b.0.cmp(&a.0)));
            if let Some((parent, joint)) = best {
                columns[position].parent = Some(parent);
                columns[position].ln_given = joint.ln_given();
            }
        }
        Self { columns }
    }

    /// The surprise of finding these values in another row; `agrees` and `values` have one entry per counted column.
    pub(super) fn of(&self, values: &[f64], agrees: &[bool]) -> f64 {
        let agreeing = (0..self.columns.len()).filter(|&position| agrees[position]);
        agreeing.map(|position| self.of_column(position, values, agrees)).sum()
    }

    fn of_column(&self, position: usize, values: &[f64], agrees: &[bool]) -> f64 {
        let column = &self.columns[position];
        let value = values[position];
        let bin = column.bin(value);
        let n_rows: f64 = column.counts.iter().sum();
        let ln_bin = match column.parent.filter(|&parent| agrees[parent]) {
            Some(parent) => column.ln_given[bin][self.columns[parent].bin(values[parent])],
            None => (column.counts[bin].max(1.0) / n_rows).ln(),
        };
        // Of missing there is one value only.
        let ln_within = if value.is_nan() { 0.0 } else { (column.count(value) / column.counts[bin].max(1.0)).min(1.0).ln() };
        -(ln_bin + ln_within)
    }
}

impl Counted {
    fn new(dataset: &Dataset, feature_idx: usize, rows: &[usize]) -> Self {
        let column = &dataset.columns[feature_idx];
        let mut sorted: Vec<f64> = rows.iter().map(|&row| column[row]).filter(|value| !value.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let n_missing = (rows.len() - sorted.len()) as f64;
        let mut squares = n_missing * n_missing;
        let (mut cuts, mut counts, mut bin, mut in_bin) = (Vec::new(), [0.0; N_BINS], 0, 0);
        for run in sorted.chunk_by(|a, b| a == b) {
            squares += (run.len() * run.len()) as f64;
            in_bin += run.len();
            counts[bin] += run.len() as f64;
            // A part is closed only when it has its share of the rows, so there are no more than `N_PARTS`.
            if in_bin * N_PARTS >= sorted.len() {
                cuts.push(run[0]);
                (bin, in_bin) = ((bin + 1).min(N_PARTS - 1), 0);
            }
        }
        counts[N_PARTS] = n_missing;
        let n_rows = rows.len().max(1) as f64;
        Self {
            feature_idx,
            entropy: -(squares / (n_rows * n_rows)).max(f64::MIN_POSITIVE).ln(),
            is_number: matches!(dataset.schema.features[feature_idx].kind, ColumnKind::Number | ColumnKind::Date),
            sorted,
            cuts,
            counts,
            parent: None,
            ln_given: Vec::new(),
        }
    }

    fn bin(&self, value: f64) -> usize {
        if value.is_nan() { N_PARTS } else { self.cuts.partition_point(|cut| *cut < value).min(N_PARTS - 1) }
    }

    /// Rows of the sample with this value, at least one.
    fn count(&self, value: f64) -> f64 {
        let below = self.sorted.partition_point(|known| *known < value);
        let up_to = self.sorted.partition_point(|known| *known <= value);
        (up_to - below).max(1) as f64
    }

    /// Different values in the sample.
    pub(super) fn n_distinct(&self) -> usize {
        self.sorted.chunk_by(|a, b| a == b).count()
    }

    /// From the smallest value to the largest.
    pub(super) fn range(&self) -> f64 {
        self.sorted.first().zip(self.sorted.last()).map_or(0.0, |(first, last)| last - first)
    }
}

/// Rows by their parts of two columns.
struct Joint([[f64; N_BINS]; N_BINS]);

impl Joint {
    fn new(child: &[u8], parent: &[u8]) -> Self {
        let mut counts = [[0.0; N_BINS]; N_BINS];
        child.iter().zip(parent).for_each(|(&child, &parent)| counts[usize::from(child)][usize::from(parent)] += 1.0);
        Self(counts)
    }

    fn sums(&self) -> ([f64; N_BINS], [f64; N_BINS], f64) {
        let child = self.0.map(|row| row.iter().sum());
        let parent = std::array::from_fn(|parent| self.0.iter().map(|row| row[parent]).sum());
        (child, parent, child.iter().sum())
    }

    /// What one part tells about the other, in nats.
    fn information(&self) -> f64 {
        let (child, parent, n) = self.sums();
        let cell = |i: usize, j: usize| {
            let count = self.0[i][j];
            if count > 0.0 { count / n * (count * n / (child[i] * parent[j])).ln() } else { 0.0 }
        };
        (0..N_BINS).flat_map(|i| (0..N_BINS).map(move |j| (i, j))).map(|(i, j)| cell(i, j)).sum()
    }

    /// The chance of a part given the parent's, drawn towards the part's own by one row.
    fn ln_given(&self) -> Vec<[f64; N_BINS]> {
        let (child, parent, n) = self.sums();
        let chance = |i: usize, j: usize| (self.0[i][j] + child[i].max(1.0) / n.max(1.0)) / (parent[j] + 1.0);
        (0..N_BINS).map(|i| std::array::from_fn(|j| chance(i, j).min(1.0).ln())).collect()
    }
}
