//! CatBoost's JSON: symmetric trees, and the others it grows.
//!
//! How CatBoost asks: values and borders are `f32`, `x > border` is the right answer; a missing number counts as smaller or larger than
//! all others, as `nan_value_treatment` says; a category is one value or another, by the hash of its text. The score is
//! `scale · Σ trees + bias`.
//!
//! Features counted over the training rows (CTR), texts and embeddings are computed by tables that no tree of ours can express.
//!
//! # Source
//! L. Prokhorenkova et al., "CatBoost: unbiased boosting with categorical features" (2018); the evaluator of CatBoost 1.2.

use std::collections::HashMap;

use retain_score::{MarginModel, Test, Tree, limits};
use serde::Deserialize;

use crate::error::ImportError;
use crate::features::{Categories, ImportedFeature, ImportedKind};
use crate::float32::at_most_f32;
use crate::tree::{RawNode, RawTest, TreeMaker};
use crate::{Imported, Library, Link};

const SUPPORTED_LOSSES: &str = "`Logloss`, `CrossEntropy`, `RMSE`, `MAE`, `Quantile`, `Expectile`, `LogCosh`, `Huber`, `MAPE`, `Lq`, \
`Poisson` and `Tweedie`";
const SUPPORTED_SPLITS: &str = "numbers, and categories asked one by one, which training with `one_hot_max_size` from the largest number \
of categories on gives";
/// The deepest symmetric tree that CatBoost grows.
const MAX_SYMMETRIC_DEPTH: usize = 16;

#[derive(Deserialize)]
struct File {
    model_info: ModelInfo,
    features_info: FeaturesInfo,
    oblivious_trees: Option<Vec<SymmetricFile>>,
    trees: Option<Vec<Branch>>,
    #[serde(default)]
    scale_and_bias: Option<(f64, Bias)>,
}

#[derive(Deserialize)]
struct ModelInfo {
    params: Params,
}

#[derive(Deserialize)]
struct Params {
    loss_function: Loss,
}

#[derive(Deserialize)]
struct Loss {
    #[serde(rename = "type")]
    name: String,
}

/// A number, in newer files as a list with one for each score.
#[derive(Deserialize)]
#[serde(untagged)]
enum Bias {
    One(f64),
    Many(Vec<f64>),
}

#[derive(Deserialize)]
#[allow(clippy::struct_field_names, reason = "these are the names in the file")]
struct FeaturesInfo {
    #[serde(default)]
    float_features: Vec<FloatFeature>,
    #[serde(default)]
    categorical_features: Vec<CategoricalFeature>,
    #[serde(default)]
    text_features: Vec<OtherFeature>,
    #[serde(default)]
    embedding_features: Vec<OtherFeature>,
}

#[derive(Deserialize)]
struct FloatFeature {
    #[serde(default)]
    feature_id: String,
    flat_feature_index: usize,
    nan_value_treatment: NanTreatment,
}

/// What the answer to `x > border` is where nothing is known; a comparison with NaN is no.
#[derive(Deserialize, Clone, Copy, PartialEq)]
#[allow(clippy::enum_variant_names, reason = "these are the names in the file")]
enum NanTreatment {
    AsIs,
    AsFalse,
    AsTrue,
}

#[derive(Deserialize)]
struct CategoricalFeature {
    #[serde(default)]
    feature_id: String,
    flat_feature_index: usize,
}

#[derive(Deserialize)]
struct OtherFeature {
    #[serde(default)]
    feature_id: String,
}

#[derive(Deserialize)]
struct Split {
    #[serde(rename = "split_type")]
    kind: String,
    border: Option<f32>,
    float_feature_index: Option<usize>,
    cat_feature_index: Option<usize>,
    /// A hash, as a signed number where it is large.
    value: Option<i64>,
}

/// A tree that asks the same question everywhere on a level; bit `i` of a leaf's number is the answer to split `i`.
#[derive(Deserialize)]
struct SymmetricFile {
    #[serde(default)]
    splits: Option<Vec<Split>>,
    leaf_values: Vec<f64>,
    #[serde(default)]
    leaf_weights: Vec<f64>,
}

/// A node of another tree, with what is below it. `serde_json` reads no more than 128 levels.
#[derive(Deserialize)]
struct Branch {
    split: Option<Split>,
    left: Option<Box<Branch>>,
    right: Option<Box<Branch>>,
    value: Option<LeafValue>,
    weight: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum LeafValue {
    One(f64),
    Many(Vec<f64>),
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Imported, ImportError> {
    let file: File = serde_json::from_slice(bytes).map_err(|error| ImportError::syntax("the model", error.to_string()))?;
    let objective = file.model_info.params.loss_function.name;
    let link = link_of(&objective)?;
    let (scale, bias) = scale_and_bias(file.scale_and_bias)?;
    let mut columns = Columns::new(file.features_info)?;
    let mut maker = TreeMaker::default();
    let n_features = columns.n_features();
    let n_trees = file.oblivious_trees.as_ref().map_or(0, Vec::len) + file.trees.as_ref().map_or(0, Vec::len);
    if n_trees > limits::MAX_TREES {
        return Err(ImportError::too_large("trees", n_trees, limits::MAX_TREES));
    }
    let mut trees: Vec<Tree> = Vec::with_capacity(n_trees);
    for tree in file.oblivious_trees.iter().flatten() {
        let nodes = symmetric_nodes(trees.len(), tree, scale, &mut columns)?;
        trees.push(maker.make(trees.len(), &nodes, n_features)?);
    }
    for tree in file.trees.iter().flatten() {
        let nodes = branch_nodes(trees.len(), tree, scale, &mut columns)?;
        trees.push(maker.make(trees.len(), &nodes, n_features)?);
    }
    let margin = MarginModel { intercept: bias, terms: Vec::new(), trees };
    Ok(Imported { library: Library::CatBoost, objective, link, margin, features: columns.features(), warnings: Vec::new() })
}

fn link_of(loss: &str) -> Result<Link, ImportError> {
    match loss {
        "Logloss" | "CrossEntropy" => Ok(Link::Logistic { slope: 1.0 }),
        "RMSE" | "MAE" | "Quantile" | "Expectile" | "LogCosh" | "Huber" | "MAPE" | "Lq" => Ok(Link::Identity),
        "Poisson" | "Tweedie" => Ok(Link::Exp),
        _ => Err(ImportError::unsupported(format!("the loss function `{loss}`"), SUPPORTED_LOSSES)),
    }
}

fn scale_and_bias(found: Option<(f64, Bias)>) -> Result<(f64, f64), ImportError> {
    match found {
        None => Ok((1.0, 0.0)),
        Some((scale, Bias::One(bias))) => Ok((scale, bias)),
        Some((scale, Bias::Many(biases))) => match biases[..] {
            [] => Ok((scale, 0.0)),
            [bias] => Ok((scale, bias)),
            _ => Err(several_scores(biases.len())),
        },
    }
}

fn several_scores(found: usize) -> ImportError {
    ImportError::unsupported(format!("{found} scores for each row"), "models of one score, without classes")
}

/// A complete tree: the children of node `k` are the nodes `2k + 1` and `2k + 2`, the leaves the last level.
fn symmetric_nodes(
    position: usize,
    file: &SymmetricFile,
    scale: f64,
    columns: &mut Columns,
) -> Result<Vec<RawNode>, ImportError> {
    let place = || format!("tree {position}");
    let splits = file.splits.as_deref().unwrap_or_default();
    let depth = splits.len();
    if depth > MAX_SYMMETRIC_DEPTH {
        return Err(ImportError::value(place(), "splits", format!("at most {MAX_SYMMETRIC_DEPTH}"), &depth.to_string()));
    }
    let n_leaves = 1 << depth;
    let n_values = file.leaf_values.len();
    if n_values != n_leaves {
        return Err(if n_values > n_leaves && n_values.is_multiple_of(n_leaves) {
            several_scores(n_values / n_leaves)
        } else {
            ImportError::value(place(), "leaf_values", format!("{n_leaves} numbers"), &format!("{n_values} of them"))
        });
    }
    let questions = splits.iter().map(|split| columns.question(&place(), split)).collect::<Result<Vec<_>, _>>()?;
    let mut nodes = Vec::with_capacity(2 * n_leaves - 1);
    for (level, question) in questions.iter().enumerate() {
        let first = (1 << level) - 1;
        nodes.extend((first..first + (1 << level)).map(|node| question.node(2 * node + 1, 2 * node + 2)));
    }
    for leaf in 0..n_leaves {
        // From the root down the answers are the bits of the leaf's place from the highest on; the file has them the other way round.
        let number = if depth == 0 { 0 } else { leaf.reverse_bits() >> (usize::BITS as usize - depth) };
        let weight = file.leaf_weights.get(number).copied().unwrap_or(0.0);
        nodes.push(RawNode::Leaf { value: scale * file.leaf_values[number], weight });
    }
    Ok(nodes)
}

fn branch_nodes(position: usize, root: &Branch, scale: f64, columns: &mut Columns) -> Result<Vec<RawNode>, ImportError> {
    let place = || format!("tree {position}");
    let mut branches = vec![root];
    let mut nodes = Vec::new();
    // Branches are read in the order of their places.
    while let Some(&branch) = branches.get(nodes.len()) {
        nodes.push(match (&branch.split, &branch.left, &branch.right, &branch.value) {
            (Some(split), Some(left), Some(right), _) => {
                let first = branches.len();
                branches.extend([&**left, &**right]);
                columns.question(&place(), split)?.node(first, first + 1)
            }
            (None, None, None, Some(LeafValue::One(value))) => {
                RawNode::Leaf { value: scale * value, weight: branch.weight.unwrap_or(0.0) }
            }
            (None, None, None, Some(LeafValue::Many(values))) => return Err(several_scores(values.len())),
            _ => {
                let what = "a node should have a split, a left and a right, or a value";
                return Err(ImportError::syntax(format!("{} node {}", place(), nodes.len()), what));
            }
        });
    }
    Ok(nodes)
}

/// A question, and where a row goes that answers no.
struct Question {
    feature_idx: usize,
    test: RawTest,
    /// Whether the engine's yes is CatBoost's.
    is_yes: bool,
}

impl Question {
    fn node(&self, no: usize, yes: usize) -> RawNode {
        let (left, right) = if self.is_yes { (yes, no) } else { (no, yes) };
        RawNode::Split { feature_idx: self.feature_idx, test: self.test.clone(), left, right }
    }
}

/// The features, by their places in a row.
struct Columns {
    floats: Vec<FloatFeature>,
    categories: Vec<CategoricalFeature>,
    /// For each categorical feature the hashes that trees ask about, in order of appearance.
    hashes: Vec<Vec<u32>>,
    positions: Vec<HashMap<u32, u32>>,
}

impl Columns {
    fn new(info: FeaturesInfo) -> Result<Self, ImportError> {
        for (kind, features) in [("text", &info.text_features), ("embedding", &info.embedding_features)] {
            if let Some(feature) = features.first() {
                let found = format!("the {kind} feature `{}`", feature.feature_id);
                return Err(ImportError::unsupported(found, SUPPORTED_SPLITS));
            }
        }
        let (floats, categories) = (info.float_features, info.categorical_features);
        let n_features = floats.len() + categories.len();
        if n_features > limits::MAX_FEATURES {
            return Err(ImportError::too_large("features", n_features, limits::MAX_FEATURES));
        }
        let mut is_taken = vec![false; n_features];
        let of_floats = floats.iter().map(|feature| feature.flat_feature_index);
        for flat in of_floats.chain(categories.iter().map(|feature| feature.flat_feature_index)) {
            match is_taken.get_mut(flat) {
                Some(taken) if !*taken => *taken = true,
                _ => {
                    let expected = format!("each number below {n_features} once");
                    return Err(ImportError::value("features_info", "flat_feature_index", expected, &flat.to_string()));
                }
            }
        }
        let n_categorical = categories.len();
        Ok(Self { floats, categories, hashes: vec![Vec::new(); n_categorical], positions: vec![HashMap::new(); n_categorical] })
    }

    fn n_features(&self) -> usize {
        self.floats.len() + self.categories.len()
    }

    fn question(&mut self, place: &str, split: &Split) -> Result<Question, ImportError> {
        match split.kind.as_str() {
            "FloatFeature" => self.of_number(place, split),
            "OneHotFeature" => self.of_category(place, split),
            "OnlineCtr" => Err(self.uses_ctr()),
            other => Err(ImportError::unsupported(format!("a split of type `{other}` in {place}"), SUPPORTED_SPLITS)),
        }
    }

    fn of_number(&self, place: &str, split: &Split) -> Result<Question, ImportError> {
        let feature = split.float_feature_index.and_then(|feature_idx| self.floats.get(feature_idx));
        let (Some(feature), Some(border)) = (feature, split.border) else {
            let what = "a split should have a `border` and a `float_feature_index` of the model";
            return Err(ImportError::syntax(place, what));
        };
        if !border.is_finite() {
            return Err(ImportError::value(place, "border", "a finite number", &border.to_string()));
        }
        let test = Test::Below(at_most_f32(border));
        let missing_left = feature.nan_value_treatment != NanTreatment::AsTrue;
        let test = RawTest::Plain { test, missing_left };
        Ok(Question { feature_idx: feature.flat_feature_index, test, is_yes: false })
    }

    fn of_category(&mut self, place: &str, split: &Split) -> Result<Question, ImportError> {
        let cat_idx = split.cat_feature_index.filter(|&cat_idx| cat_idx < self.categories.len());
        let hash = split.value.filter(|value| (i64::from(i32::MIN)..=i64::from(u32::MAX)).contains(value));
        let (Some(cat_idx), Some(hash)) = (cat_idx, hash) else {
            let what = "a split should have a hash as `value` and a `cat_feature_index` of the model";
            return Err(ImportError::syntax(place, what));
        };
        let (hash, hashes) = (hash as u32, &mut self.hashes[cat_idx]);
        let position = *self.positions[cat_idx].entry(hash).or_insert_with(|| {
            hashes.push(hash);
            hashes.len() as u32 - 1
        });
        let test = RawTest::Plain { test: Test::OneOf(vec![position]), missing_left: false };
        Ok(Question { feature_idx: self.categories[cat_idx].flat_feature_index, test, is_yes: true })
    }

    fn uses_ctr(&self) -> ImportError {
        let names: Vec<String> = self.categories.iter().map(|feature| format!("`{}`", feature.feature_id)).collect();
        let found = format!("target statistics (CTR) of its categorical features, which are {}", names.join(", "));
        ImportError::unsupported(found, SUPPORTED_SPLITS)
    }

    fn features(self) -> Vec<ImportedFeature> {
        let named = |name: String, flat: usize| if name.is_empty() { flat.to_string() } else { name };
        let floats = self.floats.into_iter().map(|feature| {
            let flat = feature.flat_feature_index;
            (flat, ImportedFeature { name: named(feature.feature_id, flat), kind: ImportedKind::Number })
        });
        let categories = self.categories.into_iter().zip(self.hashes).map(|(feature, hashes)| {
            let flat = feature.flat_feature_index;
            let kind = ImportedKind::Category(Categories::Hashes(hashes));
            (flat, ImportedFeature { name: named(feature.feature_id, flat), kind })
        });
        let mut features: Vec<_> = floats.chain(categories).collect();
        features.sort_by_key(|(flat, _)| *flat);
        features.into_iter().map(|(_, feature)| feature).collect()
    }
}
