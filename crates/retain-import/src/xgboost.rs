//! XGBoost's JSON and UBJSON, from version 1.0 on.
//!
//! How XGBoost asks: values and thresholds are `f32`, `x < threshold` goes left, a missing value by default; categories go right that are
//! in the node's set, all others left. The score starts at `base_score`, which is stored as a prediction.
//!
//! # Source
//! T. Chen and C. Guestrin, "XGBoost: a scalable tree boosting system" (2016); the model schema of XGBoost 3.2 (`doc/model.schema`).

use retain_score::{MarginModel, Shape, Term, Test, limits};
use serde::{Deserialize, Deserializer};

use crate::error::ImportError;
use crate::features::{Categories, ImportedFeature, ImportedKind, list_codes};
use crate::float32::below_f32;
use crate::tree::{RawNode, RawTest, TreeMaker};
use crate::xgboost_categories::CategoryFile;
use crate::{Imported, Library, Link, ubjson};

const SUPPORTED_OBJECTIVES: &str = "`binary:logistic`, `binary:logitraw`, `reg:logistic`, `reg:squarederror`, `reg:absoluteerror`, \
`reg:pseudohubererror`, `reg:quantileerror`, `reg:squaredlogerror`, `reg:gamma`, `reg:tweedie` and `count:poisson`";
const SUPPORTED_BOOSTERS: &str = "`gbtree`, `dart` and `gblinear`";

#[derive(Deserialize)]
struct File {
    learner: Learner,
}

#[derive(Deserialize)]
struct Learner {
    #[serde(default)]
    attributes: Attributes,
    #[serde(default)]
    feature_names: Vec<String>,
    #[serde(default)]
    feature_types: Vec<String>,
    gradient_booster: Booster,
    #[serde(rename = "learner_model_param")]
    params: LearnerParams,
    objective: Objective,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Attributes {
    best_iteration: Option<String>,
}

#[derive(Deserialize)]
struct LearnerParams {
    base_score: String,
    num_feature: String,
    #[serde(default)]
    num_class: Option<String>,
    #[serde(default)]
    num_target: Option<String>,
}

#[derive(Deserialize)]
struct Objective {
    name: String,
}

#[derive(Deserialize)]
struct Booster {
    name: String,
    model: Option<BoosterModel>,
    /// `dart` keeps its trees here.
    gbtree: Option<InnerBooster>,
    weight_drop: Option<Vec<f32>>,
}

#[derive(Deserialize)]
struct InnerBooster {
    model: BoosterModel,
}

#[derive(Deserialize)]
struct BoosterModel {
    #[serde(default)]
    trees: Vec<TreeFile>,
    #[serde(default)]
    cats: CategoryFile,
    /// `gblinear`: a weight for each feature, and the intercept.
    #[serde(default)]
    weights: Vec<f32>,
}

/// A tree as columns of its nodes.
#[derive(Deserialize)]
struct TreeFile {
    left_children: Vec<i64>,
    right_children: Vec<i64>,
    split_indices: Vec<usize>,
    /// Thresholds; at a leaf its value.
    split_conditions: Vec<f32>,
    default_left: Vec<Flag>,
    sum_hessian: Vec<f32>,
    /// 1 where categories are asked; absent before version 1.3.
    #[serde(default)]
    split_type: Vec<u8>,
    #[serde(default)]
    categories: Vec<u32>,
    #[serde(default)]
    categories_nodes: Vec<usize>,
    #[serde(default)]
    categories_segments: Vec<usize>,
    #[serde(default)]
    categories_sizes: Vec<usize>,
    tree_param: TreeParams,
}

#[derive(Deserialize)]
struct TreeParams {
    #[serde(default)]
    size_leaf_vector: Option<String>,
}

/// 0 and 1, or, in old files, a boolean.
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelling {
            Boolean(bool),
            Number(u8),
        }
        Ok(Self(match Spelling::deserialize(deserializer)? {
            Spelling::Boolean(yes) => yes,
            Spelling::Number(number) => number != 0,
        }))
    }
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Imported, ImportError> {
    let learner = read_file(bytes)?.learner;
    let (link, start) = link_of(&learner.objective.name)?;
    refuse_several_scores(&learner.params)?;
    let n_features = number("learner_model_param", "num_feature", &learner.params.num_feature)?;
    let names = names(&learner, n_features)?;
    let intercept = start.margin(base_score(&learner.params.base_score)?);
    let (model, drops) = match (learner.gradient_booster.name.as_str(), learner.gradient_booster.model) {
        ("gbtree" | "gblinear", Some(model)) => (model, None),
        ("dart", _) => match learner.gradient_booster.gbtree {
            Some(inner) => (inner.model, learner.gradient_booster.weight_drop),
            None => return Err(ImportError::syntax("gradient_booster", "there is no `gbtree`")),
        },
        ("gbtree" | "gblinear", None) => return Err(ImportError::syntax("gradient_booster", "there is no `model`")),
        (other, _) => return Err(ImportError::unsupported(format!("the booster `{other}`"), SUPPORTED_BOOSTERS)),
    };
    let mut categorical = Categorical::new(&learner.feature_types, n_features);
    let mut margin = if learner.gradient_booster.name == "gblinear" {
        linear(&model.weights, n_features)?
    } else {
        MarginModel { trees: read_trees(&model.trees, drops.as_deref(), &mut categorical)?, ..MarginModel::default() }
    };
    margin.intercept += intercept;
    let warnings = learner.attributes.best_iteration.iter().filter_map(|best| early_stop(best, margin.trees.len())).collect();
    let mut features = categorical.features(names, &model.cats)?;
    list_codes(&mut margin.trees, &mut features);
    Ok(Imported { library: Library::XgBoost, objective: learner.objective.name, link, margin, features, warnings })
}

fn read_file(bytes: &[u8]) -> Result<File, ImportError> {
    let first = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    let is_ubjson = bytes.get(first) == Some(&b'{') && bytes.get(first + 1).is_some_and(|byte| b"iUIlL$#N".contains(byte));
    let parsed = if is_ubjson { serde_json::from_str(&ubjson::to_json(bytes)?) } else { serde_json::from_slice(bytes) };
    parsed.map_err(|error| ImportError::syntax(if is_ubjson { "as JSON" } else { "the model" }, error.to_string()))
}

/// The scale on which `base_score` is stored.
#[derive(Clone, Copy)]
enum Start {
    Probability,
    Amount,
    Margin,
}

impl Start {
    /// In `f32`, as XGBoost computes it.
    fn margin(self, base_score: f32) -> f64 {
        f64::from(match self {
            Self::Probability => -libm::logf(1.0 / base_score - 1.0),
            Self::Amount => libm::logf(base_score),
            Self::Margin => base_score,
        })
    }
}

fn link_of(objective: &str) -> Result<(Link, Start), ImportError> {
    match objective {
        "binary:logistic" | "reg:logistic" | "binary:logitraw" => Ok((Link::Logistic { slope: 1.0 }, Start::Probability)),
        "reg:squarederror"
        | "reg:linear"
        | "reg:absoluteerror"
        | "reg:pseudohubererror"
        | "reg:quantileerror"
        | "reg:squaredlogerror" => Ok((Link::Identity, Start::Margin)),
        "reg:gamma" | "reg:tweedie" | "count:poisson" => Ok((Link::Exp, Start::Amount)),
        _ => Err(ImportError::unsupported(format!("the objective `{objective}`"), SUPPORTED_OBJECTIVES)),
    }
}

fn refuse_several_scores(params: &LearnerParams) -> Result<(), ImportError> {
    for (key, value) in [("num_class", &params.num_class), ("num_target", &params.num_target)] {
        let found: usize = value.as_deref().map_or(Ok(0), |text| number("learner_model_param", key, text))?;
        if found > 1 {
            return Err(ImportError::unsupported(format!("`{key}` {found}"), "models of one score, without classes"));
        }
    }
    Ok(())
}

fn number<T: std::str::FromStr>(place: &str, key: &str, text: &str) -> Result<T, ImportError> {
    text.parse().map_err(|_| ImportError::value(place, key, "a number", text))
}

/// Written as a number; from version 3.1 on as a list of one.
fn base_score(text: &str) -> Result<f32, ImportError> {
    let one = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let score: f32 = number("learner_model_param", "base_score", one.trim())?;
    if score.is_finite() {
        Ok(score)
    } else {
        Err(ImportError::value("learner_model_param", "base_score", "a finite number", text))
    }
}

fn names(learner: &Learner, n_features: usize) -> Result<Vec<String>, ImportError> {
    if n_features > limits::MAX_FEATURES {
        return Err(ImportError::too_large("features", n_features, limits::MAX_FEATURES));
    }
    for (key, list) in [("feature_names", &learner.feature_names), ("feature_types", &learner.feature_types)] {
        if !list.is_empty() && list.len() != n_features {
            let found = format!("{} of them", list.len());
            return Err(ImportError::value("learner", key, format!("{n_features} entries"), &found));
        }
    }
    // XGBoost's own names where it was given none.
    Ok(if learner.feature_names.is_empty() {
        (0..n_features).map(|feature_idx| format!("f{feature_idx}")).collect()
    } else {
        learner.feature_names.clone()
    })
}

fn early_stop(best_iteration: &str, n_trees: usize) -> Option<String> {
    let n_best: usize = best_iteration.parse::<usize>().ok()?.checked_add(1)?;
    (n_best < n_trees).then(|| {
        format!(
            "training stopped early: all {n_trees} trees count, as in `Booster.predict`; scikit-learn's wrapper predicts with the first \
            {n_best} rounds, which `booster[:{n_best}].save_model` keeps alone"
        )
    })
}

fn linear(weights: &[f32], n_features: usize) -> Result<MarginModel, ImportError> {
    let Some((&bias, weights)) = weights.split_last().filter(|(_, weights)| weights.len() == n_features) else {
        let expected = format!("{n_features} weights and the intercept");
        return Err(ImportError::value("gblinear", "weights", expected, &format!("{} numbers", weights.len())));
    };
    let term = |(feature_idx, &weight): (usize, &f32)| Term {
        feature_idx: feature_idx as u32,
        shape: Shape::Number {
            // Values are `f32` there; beyond, products and their sum could leave the numbers.
            low: f64::from(f32::MIN),
            high: f64::from(f32::MAX),
            log: false,
            center: 0.0,
            scale: 1.0,
            linear: f64::from(weight),
            quadratic: 0.0,
            missing: 0.0,
        },
        mean: 0.0,
    };
    let used = weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
    Ok(MarginModel { intercept: f64::from(bias), terms: used.map(term).collect(), trees: Vec::new() })
}

fn read_trees(
    files: &[TreeFile],
    drops: Option<&[f32]>,
    categorical: &mut Categorical,
) -> Result<Vec<retain_score::Tree>, ImportError> {
    if files.len() > limits::MAX_TREES {
        return Err(ImportError::too_large("trees", files.len(), limits::MAX_TREES));
    }
    if let Some(drops) = drops.filter(|drops| drops.len() != files.len()) {
        let found = format!("{} of them", drops.len());
        return Err(ImportError::value("dart", "weight_drop", format!("{} weights", files.len()), &found));
    }
    let mut maker = TreeMaker::default();
    let tree = |(position, file): (usize, &TreeFile)| {
        // A dropped tree counts by its weight.
        let weight = drops.map_or(1.0, |drops| drops[position]);
        let nodes = read_nodes(position, file, weight, categorical)?;
        maker.make(position, &nodes, categorical.0.len())
    };
    files.iter().enumerate().map(tree).collect()
}

fn read_nodes(position: usize, file: &TreeFile, weight: f32, categorical: &mut Categorical) -> Result<Vec<RawNode>, ImportError> {
    check_lengths(position, file)?;
    let mut sets = category_sets(position, file)?;
    let mut nodes = Vec::with_capacity(file.left_children.len());
    for (node, &left) in file.left_children.iter().enumerate() {
        let (right, condition) = (file.right_children[node], file.split_conditions[node]);
        if left == -1 {
            nodes.push(RawNode::Leaf { value: f64::from(condition * weight), weight: f64::from(file.sum_hessian[node]) });
            continue;
        }
        let place = |child: i64| usize::try_from(child).unwrap_or(usize::MAX);
        let (feature_idx, default_left) = (file.split_indices[node], file.default_left[node].0);
        nodes.push(if file.split_type.get(node) == Some(&1) {
            let set = sets[node].take().unwrap_or_default();
            categorical.note(feature_idx);
            // What is in the set goes right there, and left here.
            let test = RawTest::Plain { test: Test::OneOf(set), missing_left: !default_left };
            RawNode::Split { feature_idx, test, left: place(right), right: place(left) }
        } else {
            if condition.is_nan() {
                return Err(ImportError::no_tree(position, node, "the threshold is not a number"));
            }
            let test = RawTest::Plain { test: Test::Below(below_f32(condition)), missing_left: default_left };
            RawNode::Split { feature_idx, test, left: place(left), right: place(right) }
        });
    }
    Ok(nodes)
}

fn check_lengths(position: usize, file: &TreeFile) -> Result<(), ImportError> {
    let place = format!("tree {position}");
    if file.tree_param.size_leaf_vector.as_deref().is_some_and(|size| !matches!(size, "0" | "1")) {
        return Err(ImportError::unsupported(format!("leaves of several values in {place}"), "trees of one score"));
    }
    let n_nodes = file.left_children.len();
    let lengths = [
        ("right_children", file.right_children.len()),
        ("split_indices", file.split_indices.len()),
        ("split_conditions", file.split_conditions.len()),
        ("default_left", file.default_left.len()),
        ("sum_hessian", file.sum_hessian.len()),
    ];
    let types = (!file.split_type.is_empty()).then_some(("split_type", file.split_type.len()));
    match lengths.into_iter().chain(types).find(|(_, length)| *length != n_nodes) {
        Some((key, length)) => {
            Err(ImportError::value(place, key, format!("{n_nodes} entries, one for each node"), &format!("{length} of them")))
        }
        None => Ok(()),
    }
}

/// The set of each node that asks categories.
fn category_sets(position: usize, file: &TreeFile) -> Result<Vec<Option<Vec<u32>>>, ImportError> {
    let mut sets = vec![None; if file.split_type.is_empty() { 0 } else { file.left_children.len() }];
    let place = || format!("tree {position}");
    let n_sets = file.categories_nodes.len();
    if file.categories_segments.len() != n_sets || file.categories_sizes.len() != n_sets {
        let found = format!("{} and {}", file.categories_segments.len(), file.categories_sizes.len());
        return Err(ImportError::value(place(), "categories_segments", format!("{n_sets} segments and sizes"), &found));
    }
    // Sets that share categories could ask for far more memory than the file has.
    let n_categories = file.categories_sizes.iter().fold(0_usize, |sum, &size| sum.saturating_add(size));
    if n_categories > file.categories.len() {
        let expected = format!("at most {} in all", file.categories.len());
        return Err(ImportError::value(place(), "categories_sizes", expected, &n_categories.to_string()));
    }
    for (segment, &node) in file.categories_nodes.iter().enumerate() {
        let (start, size) = (file.categories_segments[segment], file.categories_sizes[segment]);
        let end = start.saturating_add(size);
        let (Some(set), Some(categories)) = (sets.get_mut(node), file.categories.get(start..end)) else {
            let expected = "a node of the tree and a segment of its categories";
            return Err(ImportError::value(place(), "categories_nodes", expected, &format!("node {node}, {start} to {end}")));
        };
        let mut categories = categories.to_vec();
        categories.sort_unstable();
        categories.dedup();
        *set = Some(categories);
    }
    Ok(sets)
}

/// Which columns hold categories.
struct Categorical(Vec<bool>);

impl Categorical {
    fn new(feature_types: &[String], n_features: usize) -> Self {
        let is_category = |feature_idx| feature_types.get(feature_idx).is_some_and(|kind| kind == "c");
        Self((0..n_features).map(is_category).collect())
    }

    /// Features outside the model are refused with the tree.
    fn note(&mut self, feature_idx: usize) {
        if let Some(is_category) = self.0.get_mut(feature_idx) {
            *is_category = true;
        }
    }

    fn features(self, names: Vec<String>, texts: &CategoryFile) -> Result<Vec<ImportedFeature>, ImportError> {
        let feature = |(feature_idx, name): (usize, String)| {
            let kind = if self.0[feature_idx] {
                ImportedKind::Category(texts.texts(feature_idx)?.map_or(Categories::Codes(Vec::new()), Categories::Texts))
            } else {
                ImportedKind::Number
            };
            Ok(ImportedFeature { name, kind })
        };
        names.into_iter().enumerate().map(feature).collect()
    }
}
