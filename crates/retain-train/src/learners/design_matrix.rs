//! A table as a matrix for linear models, and fitted coefficients back as terms.
//!
//! Everything is measured on the given rows alone: ranges, means, spreads, which values are missing, which categories occur.
//! The way back is exact: the [`Term`]s of a set of coefficients add up to `row · coefficients`, so nothing of this file is
//! needed when a model scores.

use ndarray::{Array2, ShapeBuilder};
use retain_core::{ColumnKind, FeatureSchema};
use retain_data::Dataset;
use retain_score::{Shape, Term};

/// Most categories of a feature that get a column; the rarest beyond these share the coefficient 0.
const MAX_LEVELS: usize = 100;

/// Above this skew a number that is never negative is taken in logarithms: a few very large customers would otherwise decide
/// its slope.
const MAX_SKEW: f64 = 4.0;

/// Columns of numbers, with what each stands for.
pub(super) struct DesignMatrix {
    pub(super) columns: Vec<DesignColumn>,
    codes: Vec<FeatureCode>,
    n_rows: usize,
}

/// One column of the matrix.
pub(super) struct DesignColumn {
    /// Position of the feature in the schema.
    pub(super) feature_idx: usize,
    pub(super) role: Role,
    values: Vec<f64>,
}

/// What a column says of its feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Role {
    /// The standardised number; 0 where missing.
    Linear,
    /// Its square, less what a straight line in the number explains of it, standardised; 0 where missing.
    Square { constant: f64, slope: f64, scale: f64 },
    /// 1 where the feature is missing.
    Missing,
    /// 1 where the feature is this category.
    Level(usize),
}

struct FeatureCode {
    feature_idx: usize,
    /// The feature's term with all coefficients zero.
    blank: Shape,
}

impl DesignMatrix {
    /// Measures the rows and lays out their columns.
    pub(super) fn new(dataset: &Dataset, row_idxs: &[usize]) -> Self {
        let mut matrix = Self { columns: Vec::new(), codes: Vec::new(), n_rows: row_idxs.len() };
        for (feature_idx, feature) in dataset.schema.features.iter().enumerate() {
            let values: Vec<f64> = row_idxs.iter().map(|&row_idx| dataset.columns[feature_idx][row_idx]).collect();
            if feature.kind == ColumnKind::Category {
                matrix.push_category(feature_idx, &values, feature.categories.len());
            } else {
                matrix.push_number(feature_idx, &values);
            }
        }
        matrix
    }

    /// Columns that a schema can lead to at most; at least 1.
    pub(super) fn most_columns(schema: &FeatureSchema) -> usize {
        let columns = |n_categories: usize| if n_categories == 0 { 3 } else { (n_categories + 1).min(MAX_LEVELS) + 1 };
        schema.features.iter().map(|feature| columns(feature.categories.len())).sum::<usize>().max(1)
    }

    /// The chosen columns, each contiguous in memory: the solver reads them one by one.
    pub(super) fn matrix(&self, columns: &[usize]) -> Array2<f64> {
        let mut matrix = Array2::zeros((self.n_rows, columns.len()).f());
        for (mut to, &column) in matrix.columns_mut().into_iter().zip(columns) {
            to.iter_mut().zip(&self.columns[column].values).for_each(|(to, from)| *to = *from);
        }
        matrix
    }

    /// The terms that the chosen columns' coefficients make, and what they add to the intercept.
    pub(super) fn terms(
        &self,
        columns: &[usize],
        coefficients: &[f64],
        dataset: &Dataset,
        row_idxs: &[usize],
    ) -> (f64, Vec<Term>) {
        let mut shift = 0.0;
        let mut terms = Vec::with_capacity(self.codes.len());
        for code in &self.codes {
            let mut shape = code.blank.clone();
            let (mut used, mut curved) = (false, false);
            for (&column, &coefficient) in columns.iter().zip(coefficients) {
                if self.columns[column].feature_idx == code.feature_idx {
                    shift += add_coefficient(&mut shape, self.columns[column].role, coefficient);
                    used = true;
                    curved |= matches!(self.columns[column].role, Role::Square { .. });
                }
            }
            if used {
                if !curved {
                    widen(&mut shape);
                }
                let total: f64 = row_idxs.iter().map(|&row_idx| shape.value(dataset.columns[code.feature_idx][row_idx])).sum();
                terms.push(Term { feature_idx: code.feature_idx as u32, shape, mean: total / row_idxs.len() as f64 });
            }
        }
        (shift, terms)
    }

    fn push(&mut self, feature_idx: usize, role: Role, values: Vec<f64>) {
        self.columns.push(DesignColumn { feature_idx, role, values });
    }

    fn push_number(&mut self, feature_idx: usize, values: &[f64]) {
        let present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        let missing: Vec<f64> = values.iter().map(|value| f64::from(u8::from(value.is_nan()))).collect();
        let Some(number) = NumberCode::measure(&present) else {
            // One value or none: only its absence can tell anything.
            if !present.is_empty() && present.len() < values.len() {
                self.codes.push(FeatureCode { feature_idx, blank: NumberCode::constant(present[0]).blank() });
                self.push(feature_idx, Role::Missing, missing);
            }
            return;
        };
        let standardised: Vec<f64> = values.iter().map(|&value| number.standardise(value)).collect();
        if let Some(square) = square_role(&standardised, values) {
            let curved =
                standardised.iter().zip(values).map(|(&z, value)| if value.is_nan() { 0.0 } else { square_value(square, z) });
            self.push(feature_idx, square, curved.collect());
        }
        self.push(feature_idx, Role::Linear, standardised);
        if present.len() < values.len() {
            self.push(feature_idx, Role::Missing, missing);
        }
        self.codes.push(FeatureCode { feature_idx, blank: number.blank() });
    }

    fn push_category(&mut self, feature_idx: usize, values: &[f64], n_categories: usize) {
        let level_of = |value: f64| if value.is_nan() { n_categories + 1 } else { (value as usize).min(n_categories) };
        let mut counts = vec![0_usize; n_categories + 2];
        for &value in values {
            counts[level_of(value)] += 1;
        }
        let mut levels: Vec<usize> = (0..counts.len()).filter(|&level| counts[level] > 0).collect();
        if levels.len() < 2 {
            return;
        }
        levels.sort_by_key(|&level| (usize::MAX - counts[level], level));
        levels.truncate(MAX_LEVELS);
        levels.sort_unstable();
        for level in levels {
            let role = if level == n_categories + 1 { Role::Missing } else { Role::Level(level) };
            let column = values.iter().map(|&value| f64::from(u8::from(level_of(value) == level))).collect();
            self.push(feature_idx, role, column);
        }
        self.codes
            .push(FeatureCode { feature_idx, blank: Shape::Category { values: vec![0.0; n_categories + 1], missing: 0.0 } });
    }
}

/// Lets a straight line go on for once more the range that the rows had, on either side: next year's customers are often a little
/// outside of it, and in the same direction. A curve, and a logarithm, which has no values below its lowest, stay within.
fn widen(shape: &mut Shape) {
    if let Shape::Number { low, high, log: false, .. } = shape {
        let range = *high - *low;
        if (*low - range).is_finite() && (*high + range).is_finite() {
            (*low, *high) = (*low - range, *high + range);
        }
    }
}

/// Adds one column's part to its feature's shape; returns what goes into the intercept instead.
fn add_coefficient(shape: &mut Shape, role: Role, coefficient: f64) -> f64 {
    match (shape, role) {
        (Shape::Number { linear, .. }, Role::Linear) => *linear += coefficient,
        (Shape::Number { linear, quadratic, missing, .. }, Role::Square { constant, slope, scale }) => {
            let per_unit = coefficient / scale;
            *quadratic += per_unit;
            *linear -= per_unit * slope;
            // The intercept takes the constant for every row; a row without the number must not get it.
            *missing += per_unit * constant;
            return -per_unit * constant;
        }
        (Shape::Number { missing, .. } | Shape::Category { missing, .. }, Role::Missing) => *missing += coefficient,
        (Shape::Category { values, .. }, Role::Level(level)) => values[level] += coefficient,
        // A number has no levels and a category no slope: `push_number` and `push_category` never pair them.
        (Shape::Number { .. }, Role::Level(_)) | (Shape::Category { .. }, Role::Linear | Role::Square { .. }) => {}
    }
    0.0
}

struct NumberCode {
    low: f64,
    high: f64,
    log: bool,
    center: f64,
    scale: f64,
}

impl NumberCode {
    /// The coding of present values; none where they do not differ, or differ beyond what a float can hold.
    fn measure(present: &[f64]) -> Option<Self> {
        let low = present.iter().copied().min_by(f64::total_cmp)?;
        let high = present.iter().copied().max_by(f64::total_cmp)?;
        let two_valued = present.iter().all(|&value| value == low || value == high);
        let (mean, spread, skew) = moments(present);
        let log = !two_valued && low >= 0.0 && skew > MAX_SKEW;
        let (center, scale) = if log {
            let logs: Vec<f64> = present.iter().map(|value| libm::log1p(value - low)).collect();
            let (center, scale, _) = moments(&logs);
            (center, scale)
        } else {
            (mean, spread)
        };
        // A spread that is rounding noise beside the values themselves would blow that noise up to a feature.
        let usable = scale.is_finite() && center.is_finite() && scale > 1e-12 * center.abs() && low < high;
        usable.then_some(Self { low, high, log, center, scale })
    }

    fn constant(value: f64) -> Self {
        Self { low: value, high: value, log: false, center: value, scale: 1.0 }
    }

    /// The number as the column has it: what [`Shape::Number`] calls `z`; 0, the mean, where missing.
    fn standardise(&self, value: f64) -> f64 {
        if value.is_nan() {
            return 0.0;
        }
        let shown = if self.log { libm::log1p(value - self.low) } else { value };
        (shown - self.center) / self.scale
    }

    fn blank(&self) -> Shape {
        let Self { low, high, log, center, scale } = *self;
        Shape::Number { low, high, log, center, scale, linear: 0.0, quadratic: 0.0, missing: 0.0 }
    }
}

/// Mean, standard deviation and skew.
fn moments(values: &[f64]) -> (f64, f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let spread = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    let skew = if spread > 0.0 { values.iter().map(|value| ((value - mean) / spread).powi(3)).sum::<f64>() / n } else { 0.0 };
    (mean, spread, skew)
}

/// How the square of a standardised number is freed of its straight part; none for a number of two values, whose square is a
/// straight line of it.
fn square_role(standardised: &[f64], values: &[f64]) -> Option<Role> {
    let present: Vec<f64> = standardised.iter().zip(values).filter(|(_, value)| !value.is_nan()).map(|(&z, _)| z).collect();
    let n = present.len() as f64;
    // The present z have mean 0 and spread 1, so the regression of z² on z has these two numbers.
    let (constant, slope) = (present.iter().map(|z| z * z).sum::<f64>() / n, present.iter().map(|z| z * z * z).sum::<f64>() / n);
    let residual = present.iter().map(|z| (z * z - constant - slope * z).powi(2)).sum::<f64>() / n;
    let scale = residual.sqrt();
    (scale.is_finite() && scale > 1e-6).then_some(Role::Square { constant, slope, scale })
}

fn square_value(role: Role, z: f64) -> f64 {
    match role {
        Role::Square { constant, slope, scale } => (z * z - constant - slope * z) / scale,
        Role::Linear | Role::Missing | Role::Level(_) => z,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learners::rows::tests::example;
    use retain_score::MarginModel;

    #[test]
    fn terms_add_up_to_the_dot_product() {
        let table = example(400, 3);
        let row_idxs: Vec<usize> = (0..400).filter(|row| row % 3 != 0).collect();
        let design = DesignMatrix::new(&table, &row_idxs);
        let columns: Vec<usize> = (0..design.columns.len()).collect();
        let coefficients: Vec<f64> = columns.iter().map(|&column| 0.7 * (column as f64 + 1.0).sin()).collect();
        let matrix = design.matrix(&columns);
        let (shift, terms) = design.terms(&columns, &coefficients, &table, &row_idxs);
        let model = MarginModel { intercept: -0.4 + shift, terms, trees: Vec::new() };
        let rows = table.rows(&row_idxs);
        for (row, cells) in rows.in_order().zip(matrix.rows()) {
            let expected = -0.4 + cells.iter().zip(&coefficients).map(|(cell, coefficient)| cell * coefficient).sum::<f64>();
            assert!((model.margin(row) - expected).abs() < 1e-9, "{} {expected}", model.margin(row));
        }
        for term in &model.terms {
            let mean: f64 =
                rows.in_order().map(|row| term.shape.value(row[term.feature_idx as usize])).sum::<f64>() / rows.n_rows() as f64;
            assert!((term.mean - mean).abs() < 1e-12);
        }
    }

    #[test]
    fn a_straight_line_goes_on_for_one_more_range_and_a_curve_does_not() {
        let mut table = example(300, 5);
        table.columns[0] = (0..300).map(|row| f64::from(row % 11)).collect();
        let row_idxs: Vec<usize> = (0..300).collect();
        let design = DesignMatrix::new(&table, &row_idxs);
        let of_first = |role: fn(&Role) -> bool| design.columns.iter().position(|c| c.feature_idx == 0 && role(&c.role)).unwrap();
        let (linear, square) = (of_first(|role| *role == Role::Linear), of_first(|role| matches!(role, Role::Square { .. })));
        let shape = |columns: &[usize]| design.terms(columns, &[1.0, 0.5][..columns.len()], &table, &row_idxs).1[0].shape.clone();
        let (line, curve) = (shape(&[linear]), shape(&[linear, square]));
        let step = line.value(10.0) - line.value(9.0);
        assert!((line.value(20.0) - line.value(10.0) - 10.0 * step).abs() < 1e-9);
        assert_eq!((line.value(20.0), line.value(-10.0)), (line.value(1e9), line.value(-1e9)));
        assert_eq!((curve.value(10.0), curve.value(0.0)), (curve.value(20.0), curve.value(-1e9)));
    }

    #[test]
    fn columns_are_those_the_rows_call_for() {
        let mut table = example(300, 4);
        table.columns[3] = vec![1.0; 300];
        let row_idxs: Vec<usize> = (0..300).filter(|&row| table.columns[2][row] < 2.0).collect();
        let design = DesignMatrix::new(&table, &row_idxs);
        let of = |feature_idx| design.columns.iter().filter(move |column| column.feature_idx == feature_idx);
        assert_eq!(of(0).count(), 2, "a number without missing values: line and square");
        assert!(of(1).any(|column| column.role == Role::Missing));
        assert_eq!(of(2).map(|column| column.role).collect::<Vec<_>>(), [Role::Level(0), Role::Level(1)]);
        assert_eq!(of(3).count(), 0, "a constant has no column");
        assert!(design.columns.len() <= DesignMatrix::most_columns(&table.schema));
    }

    #[test]
    fn other_rows_change_nothing() {
        let mut table = example(300, 5);
        let row_idxs: Vec<usize> = (0..200).collect();
        let before = DesignMatrix::new(&table, &row_idxs);
        for column in &mut table.columns {
            column[200..].fill(1e9);
        }
        let after = DesignMatrix::new(&table, &row_idxs);
        assert!(before.columns.iter().zip(&after.columns).all(|(a, b)| a.values == b.values && a.role == b.role));
    }

    #[test]
    fn extreme_numbers_give_finite_columns_or_none() {
        let mut table = example(100, 6);
        table.columns[0] = (0..100).map(|row| if row % 2 == 0 { 1e300 } else { -1e300 }).collect();
        table.columns[1] = (0..100).map(|row| f64::from(row) * 1e-300).collect();
        let design = DesignMatrix::new(&table, &(0..100).collect::<Vec<_>>());
        assert!(design.columns.iter().all(|column| column.values.iter().all(|value| value.is_finite())));
    }
}
