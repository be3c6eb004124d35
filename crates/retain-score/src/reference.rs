//! `reference.json`: how features and scores were distributed in training, and how far from that other rows are.

use retain_core::FeatureSchema;
use serde::{Deserialize, Serialize};

/// The layout that is written and read.
pub const REFERENCE_FORMAT_VERSION: u32 = 1;

/// What stands in `reference.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Layout of the file.
    pub format_version: u32,
    /// Training rows.
    pub n_rows: usize,
    /// One histogram per feature, in schema order.
    pub features: Vec<Histogram>,
    /// Histogram of predicted probabilities, or expected amounts, on rows the fits did not see.
    pub scores: Histogram,
}

/// Counts of one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// The feature, `probability` or `expected_value`.
    pub name: String,
    /// Numbers: inner borders of the bins, rising; bin `i` holds values from border `i − 1` up to, not including, border `i`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub borders: Vec<f64>,
    /// Rows per bin, or per category in schema order with one more for rare and unseen ones.
    pub counts: Vec<u64>,
    /// Rows without a value.
    pub n_missing: u64,
}

/// What is wrong with a `reference.json`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// Not the JSON that it should be.
    #[error("`reference.json` cannot be read")]
    Json(#[from] serde_json::Error),
    /// Another layout.
    #[error("`reference.json` should have format version {REFERENCE_FORMAT_VERSION}, found {found}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// Another number of features, or other ones, than the schema's.
    #[error("`reference.json` should have the features of the schema, {expected} in number, found {found}")]
    Features {
        /// Features of the schema.
        expected: usize,
        /// Histograms found.
        found: usize,
    },
    /// Borders that do not rise, or counts that do not belong to them.
    #[error("`reference.json` has a histogram of `{name}` that does not hold together")]
    Histogram {
        /// Which.
        name: String,
    },
}

impl Reference {
    /// Reads and checks the file of a bundle with this schema.
    ///
    /// # Errors
    /// [`ReferenceError`] says what is wrong.
    pub fn read(bytes: &[u8], schema: &FeatureSchema) -> Result<Self, ReferenceError> {
        let reference: Self = serde_json::from_slice(bytes)?;
        if reference.format_version != REFERENCE_FORMAT_VERSION {
            return Err(ReferenceError::Version { found: reference.format_version });
        }
        let (expected, found) = (schema.n_features(), reference.features.len());
        let names = reference.features.iter().zip(&schema.features);
        if expected != found || names.clone().any(|(histogram, feature)| histogram.name != feature.name) {
            return Err(ReferenceError::Features { expected, found });
        }
        let of_features = names.map(|(histogram, feature)| {
            let n_categories = feature.categories.len();
            histogram.holds_together(if n_categories > 0 { Some(n_categories + 1) } else { None })
        });
        let mut all = of_features.chain([reference.scores.holds_together(None)]);
        if let Some(at) = all.position(|holds| !holds) {
            let histogram = reference.features.get(at).unwrap_or(&reference.scores);
            return Err(ReferenceError::Histogram { name: histogram.name.clone() });
        }
        Ok(reference)
    }
}

impl Histogram {
    fn holds_together(&self, n_categories: Option<usize>) -> bool {
        let is_finite = self.borders.iter().all(|border| border.is_finite());
        let rises = self.borders.windows(2).all(|pair| pair[0] < pair[1]);
        let total = self.counts.iter().try_fold(self.n_missing, |sum, &count| sum.checked_add(count));
        let n_bins = n_categories.unwrap_or(self.borders.len() + 1);
        let fits = self.counts.len() == n_bins && (n_categories.is_none() || self.borders.is_empty());
        is_finite && rises && fits && total.is_some()
    }

    /// Bins, without the one of missing values.
    pub fn n_bins(&self) -> usize {
        self.counts.len()
    }

    /// The bin of an encoded value; [`Histogram::n_bins`] where it is missing.
    pub fn bin(&self, value: f64) -> usize {
        if value.is_nan() {
            self.n_bins()
        } else if self.borders.is_empty() {
            // Categories are numbered; a column of one bin has no borders either, and then everything is in it.
            (value.max(0.0) as usize).min(self.n_bins().saturating_sub(1))
        } else {
            // Few borders: counting them takes no branch.
            self.borders.iter().map(|&border| usize::from(value >= border)).sum()
        }
    }

    /// How far other rows are from these: the population stability index, Σ (p − q) ln(p / q) over the bins and the missing values, where
    /// `counts` has the other rows' counts, missing last. None where either has no rows.
    ///
    /// Half a row is added to every bin, so that an empty one does not make it infinite. By custom, below 0.1 little has changed and
    /// above 0.25 much has (Siddiqi, Credit Risk Scorecards, 2006); of rows like these it is about bins × (1 / rows + 1 / reference rows).
    pub fn stability_index(&self, counts: &[u64]) -> Option<f64> {
        let reference = || self.counts.iter().copied().chain([self.n_missing]);
        let total: u64 = counts.iter().sum();
        let reference_total: u64 = reference().sum();
        if total == 0 || reference_total == 0 {
            return None;
        }
        // A bin that is empty on both sides tells nothing.
        let pairs = || reference().zip(counts.iter().copied()).filter(|pair| *pair != (0, 0));
        let added = 0.5 * pairs().count() as f64;
        let share = |count: u64, total: u64| (count as f64 + 0.5) / (total as f64 + added);
        Some(pairs().map(|(reference, found)| (share(found, total), share(reference, reference_total))).map(term).sum())
    }
}

fn term((found, expected): (f64, f64)) -> f64 {
    (found - expected) * (found / expected).ln()
}

#[cfg(test)]
mod tests {
    use retain_core::{ColumnKind, FeatureSpec};

    use super::*;

    fn numbers() -> Histogram {
        Histogram { name: "x".into(), borders: vec![1.0, 2.0], counts: vec![100, 100, 100], n_missing: 0 }
    }

    #[test]
    fn values_fall_into_their_bins() {
        let histogram = numbers();
        for (value, bin) in [(0.5, 0), (1.0, 1), (1.5, 1), (2.0, 2), (f64::INFINITY, 2), (f64::NAN, 3)] {
            assert_eq!(histogram.bin(value), bin, "{value}");
        }
        let categories = Histogram { borders: vec![], ..numbers() };
        for (value, bin) in [(0.0, 0), (1.0, 1), (2.0, 2), (9.0, 2), (f64::NAN, 3)] {
            assert_eq!(categories.bin(value), bin, "{value}");
        }
    }

    #[test]
    fn the_index_is_zero_for_the_same_shares_and_follows_the_formula_elsewhere() {
        let histogram = numbers();
        assert!(histogram.stability_index(&[1_000_000, 1_000_000, 1_000_000, 0]).unwrap() < 1e-4);
        let found = histogram.stability_index(&[600_000, 300_000, 100_000, 0]).unwrap();
        // By hand, without the half rows: (0.6 − 1/3) ln 1.8 + (0.3 − 1/3) ln 0.9 + (0.1 − 1/3) ln 0.3.
        let expected = 0.266_667 * 1.8_f64.ln() - 0.033_333 * 0.9_f64.ln() - 0.233_333 * 0.3_f64.ln();
        assert!((found - expected).abs() < 0.01, "{found} {expected}");
        assert!(histogram.stability_index(&[0, 0, 0, 50]).unwrap() > 1.0);
        assert_eq!(histogram.stability_index(&[0, 0, 0, 0]), None);
    }

    #[test]
    fn files_that_do_not_belong_to_the_schema_are_refused() {
        let schema =
            FeatureSchema::new(vec![FeatureSpec::new("x", ColumnKind::Number)], None, "y".into(), "1".into(), None).unwrap();
        let good = Reference { format_version: 1, n_rows: 300, features: vec![numbers()], scores: numbers() };
        let read = |reference: &Reference| Reference::read(&serde_json::to_vec(reference).unwrap(), &schema);
        assert_eq!(read(&good).unwrap(), good);
        let with = |histogram: Histogram| Reference { features: vec![histogram], ..good.clone() };
        for wrong in [
            Reference { format_version: 2, ..good.clone() },
            Reference { features: vec![], ..good.clone() },
            with(Histogram { name: "z".into(), ..numbers() }),
            with(Histogram { borders: vec![2.0, 1.0], ..numbers() }),
            with(Histogram { counts: vec![1], ..numbers() }),
            with(Histogram { counts: vec![u64::MAX; 3], ..numbers() }),
            Reference { scores: Histogram { counts: vec![], ..numbers() }, ..good.clone() },
        ] {
            assert!(read(&wrong).is_err(), "{wrong:?}");
        }
        assert!(Reference::read(b"{}", &schema).is_err());
    }
}
