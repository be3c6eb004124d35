//! LightGBM's text format, versions 3 and 4.
//!
//! How LightGBM asks: numbers by `x <= threshold` in `f64`; categories, whole numbers from 0, by a set of those that go left, where
//! everything else goes right, missing values too. What is missing depends on the node: with missing type None a NaN counts as 0, with
//! type NaN it goes by default, with type Zero it goes by default together with zero. Zero is everything within `1e-35`, since
//! `predict` drops such numbers from a row before any tree sees them.
//!
//! # Source
//! `Tree::NumericalDecision` and `Tree::CategoricalDecision` of LightGBM 4.7 (`include/LightGBM/tree.h`), G. Ke et al., "LightGBM: a
//! highly efficient gradient boosting decision tree" (2017).

use std::collections::BTreeSet;

use retain_score::{MarginModel, Test, limits};
use serde::Deserialize;

use crate::error::ImportError;
use crate::features::{Categories, ImportedFeature, ImportedKind, list_codes};
use crate::lightgbm_text::{Block, TextModel};
use crate::tree::{RawNode, RawTest, TreeMaker, ZERO_BAND};
use crate::{Imported, Library, Link};

const SUPPORTED_OBJECTIVES: &str = "`binary`, `cross_entropy`, `regression`, `regression_l1`, `huber`, `fair`, `quantile`, `mape`, \
`poisson`, `gamma` and `tweedie`";

/// Bits of a node's `decision_type`.
const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;
/// What stands in the bits above.
const MISSING_NONE: u8 = 0;
const MISSING_ZERO: u8 = 1;
const MISSING_NAN: u8 = 2;

pub(crate) fn parse(bytes: &[u8]) -> Result<Imported, ImportError> {
    let model = TextModel::parse(bytes)?;
    let (objective, link) = read_objective(&model.header)?;
    refuse_several_scores(&model.header)?;
    let names = read_names(&model.header)?;
    if model.trees.len() > limits::MAX_TREES {
        return Err(ImportError::too_large("trees", model.trees.len(), limits::MAX_TREES));
    }
    if let Some(sizes) = model.header.get("tree_sizes") {
        let expected = sizes.split_ascii_whitespace().count();
        if expected != model.trees.len() {
            let found = format!("{} trees", model.trees.len());
            return Err(model.header.bad("tree_sizes", format!("{expected} trees, as it has sizes"), &found));
        }
    }
    // A random forest's score is the mean of its trees'.
    let divisor = if model.header.has("average_output") { model.trees.len().max(1) as f64 } else { 1.0 };
    let mut columns = Columns::new(&model, names.len())?;
    let mut maker = TreeMaker::default();
    let mut trees = Vec::with_capacity(model.trees.len());
    for (position, block) in model.trees.iter().enumerate() {
        let nodes = read_nodes(block, divisor, &mut columns)?;
        trees.push(maker.make(position, &nodes, names.len())?);
    }
    let mut features = columns.features(names, model.pandas_categorical)?;
    list_codes(&mut trees, &mut features);
    let margin = MarginModel { intercept: 0.0, terms: Vec::new(), trees };
    Ok(Imported { library: Library::LightGbm, objective, link, margin, features, warnings: Vec::new() })
}

fn read_objective(header: &Block<'_>) -> Result<(String, Link), ImportError> {
    let Some(line) = header.get("objective").filter(|line| !line.is_empty()) else {
        return Err(ImportError::unsupported("no `objective`, so its scores have no meaning", SUPPORTED_OBJECTIVES));
    };
    let mut words = line.split_ascii_whitespace();
    let name = words.next().unwrap_or_default();
    let options: Vec<&str> = words.collect();
    let unsupported = || Err(ImportError::unsupported(format!("the objective `{line}`"), SUPPORTED_OBJECTIVES));
    let link = match name {
        "binary" => Link::Logistic { slope: sigmoid_slope(header, &options)? },
        "cross_entropy" | "xentropy" => Link::Logistic { slope: 1.0 },
        // Predictions of the root's root are squared: no link of ours.
        _ if options.contains(&"sqrt") => return unsupported(),
        "regression" | "regression_l2" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" => Link::Identity,
        "poisson" | "gamma" | "tweedie" => Link::Exp,
        _ => return unsupported(),
    };
    Ok((line.to_owned(), link))
}

fn sigmoid_slope(header: &Block<'_>, options: &[&str]) -> Result<f64, ImportError> {
    let Some(text) = options.iter().find_map(|option| option.strip_prefix("sigmoid:")) else { return Ok(1.0) };
    let slope = text.parse().ok().filter(|slope: &f64| slope.is_finite() && *slope > 0.0);
    slope.ok_or_else(|| header.bad("objective", "a positive `sigmoid`", text))
}

fn refuse_several_scores(header: &Block<'_>) -> Result<(), ImportError> {
    for key in ["num_class", "num_tree_per_iteration"] {
        let found: usize = header.number(key)?;
        if found != 1 {
            return Err(ImportError::unsupported(format!("`{key}={found}`"), "models of one score, without classes"));
        }
    }
    Ok(())
}

fn read_names(header: &Block<'_>) -> Result<Vec<String>, ImportError> {
    let n_features = header.number::<usize>("max_feature_idx")?.saturating_add(1);
    let names: Vec<String> = header.text("feature_names")?.split_ascii_whitespace().map(str::to_owned).collect();
    if names.len() != n_features {
        return Err(header.bad("feature_names", format!("{n_features} names"), &format!("{} of them", names.len())));
    }
    if n_features > limits::MAX_FEATURES {
        return Err(ImportError::too_large("features", n_features, limits::MAX_FEATURES));
    }
    Ok(names)
}

/// The nodes of a tree: the splits in their order, the leaves behind them.
fn read_nodes(block: &Block<'_>, divisor: f64, columns: &mut Columns) -> Result<Vec<RawNode>, ImportError> {
    if block.get("is_linear").is_some_and(|flag| flag != "0") {
        return Err(ImportError::unsupported("linear trees (`linear_tree`)", "trees of constant leaves"));
    }
    let n_leaves: usize = block.number("num_leaves")?;
    if n_leaves == 0 {
        return Err(block.bad("num_leaves", "at least 1", "0"));
    }
    let values: Vec<f64> = block.numbers("leaf_value", n_leaves)?;
    let n_splits = n_leaves - 1;
    // A tree of one leaf does not say how many rows it had.
    let weights: Vec<f64> =
        if block.has("leaf_count") && n_splits > 0 { block.numbers("leaf_count", n_leaves)? } else { vec![0.0; n_leaves] };
    let mut nodes = if n_splits == 0 { Vec::new() } else { read_splits(block, n_splits, columns)? };
    let leaf = |(value, weight): (f64, f64)| RawNode::Leaf { value: value / divisor, weight };
    nodes.extend(values.into_iter().zip(weights).map(leaf));
    Ok(nodes)
}

fn read_splits(block: &Block<'_>, n_splits: usize, columns: &mut Columns) -> Result<Vec<RawNode>, ImportError> {
    let features: Vec<usize> = block.numbers("split_feature", n_splits)?;
    let thresholds: Vec<f64> = block.numbers("threshold", n_splits)?;
    let decisions: Vec<u8> = block.numbers("decision_type", n_splits)?;
    let lefts: Vec<i64> = block.numbers("left_child", n_splits)?;
    let rights: Vec<i64> = block.numbers("right_child", n_splits)?;
    let mut sets = CategorySets::new(block)?;
    let mut nodes = Vec::with_capacity(2 * n_splits + 1);
    for split in 0..n_splits {
        let (feature_idx, decision) = (features[split], decisions[split]);
        let (test, is_turned) = if decision & CATEGORICAL == 0 {
            numerical(block, thresholds[split], decision)?
        } else {
            let set = sets.take(block, thresholds[split])?;
            columns.note_category(feature_idx);
            (RawTest::Plain { test: Test::OneOf(set), missing_left: false }, false)
        };
        // Leaves are counted from −1 downwards; a child that is neither is refused with the tree.
        let place = |child: i64| if child >= 0 { (child as usize).min(n_splits) } else { n_splits + (-1 - child) as usize };
        let outside = |child: i64| child >= n_splits as i64;
        if outside(lefts[split]) || outside(rights[split]) {
            let found = format!("{} and {}", lefts[split], rights[split]);
            return Err(block.bad("left_child", format!("children below {n_splits}"), &found));
        }
        let (left, right) = (place(lefts[split]), place(rights[split]));
        let (left, right) = if is_turned { (right, left) } else { (left, right) };
        nodes.push(RawNode::Split { feature_idx, test, left, right });
    }
    Ok(nodes)
}

/// The question of a split, and whether its answers change places.
fn numerical(block: &Block<'_>, threshold: f64, decision: u8) -> Result<(RawTest, bool), ImportError> {
    if threshold.is_nan() {
        return Err(block.bad("threshold", "a number", "NaN"));
    }
    let default_left = decision & DEFAULT_LEFT != 0;
    let missing_left = match decision >> 2 & 3 {
        // NaN is 0 there.
        MISSING_NONE => 0.0 <= threshold,
        MISSING_NAN => default_left,
        MISSING_ZERO if threshold == f64::INFINITY && default_left => true,
        MISSING_ZERO => return Ok((RawTest::ZeroMissing { threshold, default_left }, false)),
        other => return Err(block.bad("decision_type", "a missing type from 0 to 2", &other.to_string())),
    };
    // `x <= ∞` asks whether there is a value. No `x < threshold` is true of infinity, so the question is turned round: nothing lies below
    // −∞, and only what is missing goes left.
    if threshold == f64::INFINITY {
        return Ok((RawTest::Plain { test: Test::Below(f64::NEG_INFINITY), missing_left: !missing_left }, true));
    }
    Ok((RawTest::Plain { test: Test::Below(edge(threshold)), missing_left }, false))
}

/// The boundary `b` for which `x < b` is LightGBM's `x <= threshold`, with everything within [`ZERO_BAND`] taken for 0.
fn edge(threshold: f64) -> f64 {
    if !(-ZERO_BAND..=ZERO_BAND).contains(&threshold) {
        threshold.next_up()
    } else if threshold < 0.0 {
        -ZERO_BAND
    } else {
        ZERO_BAND.next_up()
    }
}

/// The bit sets of a tree's categorical splits.
struct CategorySets {
    boundaries: Vec<usize>,
    words: Vec<u32>,
    is_taken: Vec<bool>,
}

impl CategorySets {
    fn new(block: &Block<'_>) -> Result<Self, ImportError> {
        let n_sets: usize = if block.has("num_cat") { block.number("num_cat")? } else { 0 };
        if n_sets == 0 {
            return Ok(Self { boundaries: Vec::new(), words: Vec::new(), is_taken: Vec::new() });
        }
        let boundaries: Vec<usize> = block.numbers("cat_boundaries", n_sets.saturating_add(1))?;
        let n_words = boundaries.last().copied().unwrap_or(0);
        if boundaries[0] != 0 || !boundaries.is_sorted() {
            return Err(block.bad("cat_boundaries", "numbers that rise from 0", block.text("cat_boundaries")?));
        }
        Ok(Self { words: block.numbers("cat_threshold", n_words)?, boundaries, is_taken: vec![false; n_sets] })
    }

    /// The categories of the set that a split names by its threshold; each set belongs to one split.
    fn take(&mut self, block: &Block<'_>, threshold: f64) -> Result<Vec<u32>, ImportError> {
        let position = threshold as usize;
        if position as f64 != threshold || self.is_taken.get(position) != Some(&false) {
            let expected = format!("a set from 0 to below {}, each once", self.is_taken.len());
            return Err(block.bad("threshold", expected, &threshold.to_string()));
        }
        self.is_taken[position] = true;
        let words = &self.words[self.boundaries[position]..self.boundaries[position + 1]];
        if words.len() > limits::MAX_CATEGORIES / 32 {
            let (found, limit) = (words.len().saturating_mul(32), limits::MAX_CATEGORIES);
            return Err(ImportError::too_large("categories of one feature", found, limit));
        }
        let of_word =
            |(at, &word): (usize, &u32)| (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at as u32 * 32 + bit);
        Ok(words.iter().enumerate().flat_map(of_word).collect())
    }
}

/// What the file says of its columns.
struct Columns {
    /// Columns that hold categories.
    categorical: BTreeSet<usize>,
    /// The codes of each column that training rows had.
    codes: Vec<Vec<u32>>,
}

impl Columns {
    fn new(model: &TextModel<'_>, n_features: usize) -> Result<Self, ImportError> {
        let mut columns = Self { categorical: BTreeSet::new(), codes: vec![Vec::new(); n_features] };
        let listed = model.parameters.get("categorical_feature").copied().unwrap_or_default();
        let listed = listed.split(',').filter_map(|column| column.trim().parse::<usize>().ok());
        columns.categorical.extend(listed.filter(|&column| column < n_features));
        let infos: Vec<&str> = model.header.get("feature_infos").unwrap_or_default().split_ascii_whitespace().collect();
        if !infos.is_empty() && infos.len() != n_features {
            let found = format!("{} of them", infos.len());
            return Err(model.header.bad("feature_infos", format!("{n_features} columns"), &found));
        }
        for (column, info) in infos.iter().enumerate().filter(|(_, info)| !info.starts_with('[') && **info != "none") {
            columns.categorical.insert(column);
            // Categories of the training rows, −1 where they were missing.
            columns.codes[column] = info.split(':').filter_map(|code| code.parse().ok()).collect();
        }
        Ok(columns)
    }

    /// Features outside the model are refused with the tree.
    fn note_category(&mut self, column: usize) {
        if column < self.codes.len() {
            self.categorical.insert(column);
        }
    }

    fn features(self, names: Vec<String>, pandas: Option<&str>) -> Result<Vec<ImportedFeature>, ImportError> {
        let lists = read_pandas(pandas)?;
        if !lists.is_empty() && lists.len() != self.categorical.len() {
            let found = format!("{} lists of pandas categories for {} categorical features", lists.len(), self.categorical.len());
            let supported = "either all categorical features of pandas' unordered category type, or none";
            return Err(ImportError::unsupported(found, supported));
        }
        let mut lists = lists.into_iter();
        let feature = |((column, name), codes): ((usize, String), Vec<u32>)| {
            let kind = if self.categorical.contains(&column) {
                let codes = Categories::Codes(codes);
                ImportedKind::Category(lists.next().filter(|list| !list.is_empty()).map_or(codes, Categories::Texts))
            } else {
                ImportedKind::Number
            };
            ImportedFeature { name, kind }
        };
        Ok(names.into_iter().enumerate().zip(self.codes).map(feature).collect())
    }
}

/// A category as pandas had it.
#[derive(Deserialize)]
#[serde(untagged)]
enum PandasCategory {
    Text(String),
    Boolean(bool),
    Whole(i64),
    Number(f64),
}

impl PandasCategory {
    /// As pandas writes it into a CSV file.
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Boolean(yes) => if yes { "True" } else { "False" }.to_owned(),
            Self::Whole(number) => number.to_string(),
            Self::Number(number) => format!("{number:?}"),
        }
    }
}

/// The lists of categories that the Python package leaves behind the model, one for each column of a category type.
fn read_pandas(json: Option<&str>) -> Result<Vec<Vec<String>>, ImportError> {
    let Some(json) = json else { return Ok(Vec::new()) };
    let lists: Option<Vec<Vec<PandasCategory>>> =
        serde_json::from_str(json).map_err(|error| ImportError::syntax("pandas_categorical", error.to_string()))?;
    let texts = |list: Vec<PandasCategory>| list.into_iter().map(PandasCategory::text).collect();
    Ok(lists.unwrap_or_default().into_iter().map(texts).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_becomes_below_and_tiny_numbers_are_zero() {
        let at_most = |x: f64, threshold: f64| (if x.abs() <= ZERO_BAND { 0.0 } else { x }) <= threshold;
        let tiny = [0.0, -0.0, 1e-35, -1e-35, ZERO_BAND, -ZERO_BAND, 5e-324, -5e-324, 1e-40, -1e-40];
        let values: Vec<f64> = tiny.into_iter().chain([1.5, -1.5, 1e300, f64::MAX, f64::MIN]).collect();
        for &threshold in &values {
            for x in values.iter().flat_map(|x| [x.next_down(), *x, x.next_up()]) {
                assert_eq!(x < edge(threshold), at_most(x, threshold), "{x:e} <= {threshold:e}");
            }
        }
    }

    #[test]
    fn values_that_are_there_are_told_from_missing_ones() {
        let tree = |decision: u8| {
            let text = format!(
                "tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nobjective=regression\nfeature_names=a\n\nTree=0\n\
                 num_leaves=2\nsplit_feature=0\nthreshold=inf\ndecision_type={decision}\nleft_child=-1\nright_child=-2\n\
                 leaf_value=1 2\nleaf_count=5 6\n\nend of trees\n"
            );
            parse(text.as_bytes()).unwrap().margin.trees.remove(0)
        };
        // Missing type and direction, then the leaves of −∞, 0, ∞ and NaN.
        let (none, zero, nan) = (0, MISSING_ZERO << 2, MISSING_NAN << 2);
        for (decision, leaves) in [
            (none, [1.0, 1.0, 1.0, 1.0]),
            (nan, [1.0, 1.0, 1.0, 2.0]),
            (nan | DEFAULT_LEFT, [1.0, 1.0, 1.0, 1.0]),
            (zero, [1.0, 2.0, 1.0, 2.0]),
            (zero | DEFAULT_LEFT, [1.0, 1.0, 1.0, 1.0]),
        ] {
            let tree = tree(decision);
            let found = [f64::NEG_INFINITY, 0.0, f64::INFINITY, f64::NAN].map(|x| tree.value(&[x]));
            assert_eq!(found, leaves, "decision type {decision}");
        }
    }
}
