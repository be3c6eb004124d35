//! The gate through which untrusted models pass: after it, the engine indexes without a further check.

use retain_core::{ColumnKind, FeatureSchema, FeatureSpec, SchemaError};

use crate::calibrate::Calibrator;
use crate::model::{
    Arm, EffectPart, HazardModel, Head, Individual, Interval, MarginModel, Model, ModelError, Node, NodeKind, Shape, Term, Test,
    Tree, UpliftModel, ValueHead, limits,
};

/// The name of the number behind the features of a hazard; names of columns do not begin with a blank.
const PERIOD: &str = " period";

/// Children's covers may miss their parent's by this share: sums of many weights round.
const COVER_TOLERANCE: f64 = 1e-6;

/// The largest size that all parts of a margin may have together: far from where sums and what is made of them end at infinity, from
/// which it is one step to what is no number.
const MAX_SIZE: f64 = 1e305;

impl Model {
    /// Checks that every number is finite, every position inside its table and every tree a tree.
    ///
    /// # Errors
    /// [`ModelError`] names the first thing that is not.
    pub fn check(&self, schema: &FeatureSchema) -> Result<(), ModelError> {
        match self {
            Self::Event(head) => head.check(schema),
            Self::Hazard(hazard) => check_hazard(hazard, schema),
            Self::Amount(amount) => {
                amount.occurrence.check(schema)?;
                amount.value.check(schema)?;
                amount.decline.iter().try_for_each(|head| head.check(schema))
            }
            Self::Uplift(uplift) => uplift.check(schema),
        }
    }
}

impl Head {
    fn check(&self, schema: &FeatureSchema) -> Result<(), ModelError> {
        self.margin.check(schema)?;
        if self.calibrator == Calibrator::Logarithm {
            let what = "the logarithm makes expected amounts, and this is a chance";
            return Err(ModelError::Mismatch { place: "calibrator".to_owned(), what });
        }
        self.calibrator.check()
    }
}

impl UpliftModel {
    fn check(&self, schema: &FeatureSchema) -> Result<(), ModelError> {
        let mismatch = |what| Err(ModelError::Mismatch { place: "uplift".to_owned(), what });
        at_most("treatments", self.arms.len(), limits::MAX_ARMS)?;
        if self.arms.is_empty() {
            return mismatch("there should be at least one treatment");
        }
        let is_repeated = |(position, arm): (usize, &Arm)| self.arms[..position].iter().any(|other| other.name == arm.name);
        if self.arms.iter().enumerate().any(is_repeated) {
            return mismatch("each treatment should stand there once");
        }
        if !(self.limit > 0.0 && self.limit <= MAX_EFFECT) {
            return mismatch("the limit of effects should lie above 0 and not above 1e100");
        }
        self.arms.iter().try_for_each(|arm| arm.check(schema))
    }
}

impl Arm {
    fn check(&self, schema: &FeatureSchema) -> Result<(), ModelError> {
        let place = || format!("treatment `{}`", self.name);
        check_effect(place, "average", self.average, -MAX_EFFECT)?;
        check_effect(place, "half_width", self.half_width, 0.0)?;
        self.individual.iter().try_for_each(|individual| individual.check(place, schema))
    }
}

impl Individual {
    fn check(&self, place: impl Fn() -> String, schema: &FeatureSchema) -> Result<(), ModelError> {
        at_most("parts of a score", self.parts.len(), limits::MAX_PARTS)?;
        if self.parts.is_empty() {
            return Err(ModelError::Mismatch { place: place(), what: "a score should have at least one part" });
        }
        check_effect(&place, "center", self.center, -MAX_EFFECT)?;
        check_effect(&place, "slope_half_width", self.slope_half_width, 0.0)?;
        if !(0.0..=MAX_SLOPE).contains(&self.slope) {
            return Err(ModelError::Mismatch { place: place(), what: "the slope should lie within 0 and 100" });
        }
        self.parts.iter().try_for_each(|part| match part {
            EffectPart::Effect(margin) => {
                margin.check(schema)?;
                // What a margin may be, and effects may not: squares of these have to stay finite.
                let is_large = size_of_margin(margin) > MAX_EFFECT;
                let what = "the parts of an effect should not add up to more than 1e100";
                if is_large { Err(ModelError::Mismatch { place: place(), what }) } else { Ok(()) }
            }
            EffectPart::Chances { weight, treated, control } => {
                check_effect(&place, "weight", *weight, -MAX_EFFECT)?;
                treated.check(schema)?;
                control.check(schema)
            }
        })
    }
}

/// Scores are in the unit of the effect: a larger slope would make noise of it.
const MAX_SLOPE: f64 = 100.0;

/// Effects up to here can be multiplied without leaving the numbers.
const MAX_EFFECT: f64 = 1e100;

fn check_effect(place: impl Fn() -> String, what: &'static str, found: f64, least: f64) -> Result<(), ModelError> {
    finite(&place, what, found)?;
    let what = if least < 0.0 { "a number of an effect lies beyond 1e100" } else { "half a width should lie within 0 and 1e100" };
    if (least..=MAX_EFFECT).contains(&found) { Ok(()) } else { Err(ModelError::Mismatch { place: place(), what }) }
}

fn check_hazard(model: &HazardModel, schema: &FeatureSchema) -> Result<(), ModelError> {
    let mismatch = |what| Err(ModelError::Mismatch { place: "hazard".to_owned(), what });
    at_most("periods", model.period_ends.len(), limits::MAX_PERIODS)?;
    at_most("causes", model.causes.len(), limits::MAX_CAUSES)?;
    let Some(&last) = model.period_ends.last() else { return mismatch("there should be at least one period") };
    if !rises(&model.period_ends) || model.period_ends[0] <= 0.0 {
        return mismatch("the ends of the periods should be finite, above 0 and rise strictly");
    }
    if !(model.horizon_days > 0.0 && model.horizon_days <= last) {
        return mismatch("the horizon should lie above 0 and not after the last period");
    }
    if model.causes.is_empty() {
        return mismatch("there should be at least one cause");
    }
    let schema = with_period(schema).map_err(|_| ModelError::Mismatch {
        place: "hazard".to_owned(),
        what: "a feature has the name that stands for the period",
    })?;
    model.causes.iter().try_for_each(|cause| cause.hazard.check(&schema))
}

/// The schema of a hazard's rows: the features, and behind them the position of the period.
///
/// # Errors
/// [`SchemaError`] when a feature has the period's name.
pub fn with_period(schema: &FeatureSchema) -> Result<FeatureSchema, SchemaError> {
    let mut extended = schema.clone();
    extended.features.push(FeatureSpec::new(PERIOD, ColumnKind::Number));
    extended.indexed()
}

impl ValueHead {
    fn check(&self, schema: &FeatureSchema) -> Result<(), ModelError> {
        self.margin.check(schema)?;
        self.spread.iter().try_for_each(|spread| spread.check(schema))?;
        self.calibrator.check()?;
        finite(|| "value".to_owned(), "occurrence_weight", self.occurrence_weight)?;
        if self.occurrence_weight < 0.0 {
            return Err(ModelError::Mismatch {
                place: "value".to_owned(),
                what: "the weight of the occurrence should not be negative",
            });
        }
        self.interval.iter().try_for_each(Interval::check)
    }
}

impl Interval {
    fn check(&self) -> Result<(), ModelError> {
        let mismatch = |what| Err(ModelError::Mismatch { place: "interval".to_owned(), what });
        at_most("bins", self.low.len(), limits::MAX_BINS)?;
        if self.low.len() != self.borders.len() + 1 || self.high.len() != self.low.len() {
            return mismatch("there should be one bin more than borders");
        }
        if !rises(&self.borders) {
            return mismatch("the borders should be finite and rise strictly");
        }
        if self.low.iter().zip(&self.high).any(|(low, high)| !(low.is_finite() && high.is_finite() && low <= high)) {
            return mismatch("the limits should be finite, the lower not above the upper");
        }
        Ok(())
    }
}

fn rises(values: &[f64]) -> bool {
    values.iter().all(|value| value.is_finite()) && values.windows(2).all(|pair| pair[0] < pair[1])
}

impl MarginModel {
    /// Checks the parts of the margin against the features they read.
    ///
    /// # Errors
    /// [`ModelError`] names the first thing that does not hold.
    pub fn check(&self, schema: &FeatureSchema) -> Result<(), ModelError> {
        at_most("features", schema.n_features(), limits::MAX_FEATURES)?;
        at_most("trees", self.trees.len(), limits::MAX_TREES)?;
        at_most("nodes", self.trees.iter().map(|tree| tree.nodes.len()).sum(), limits::MAX_NODES)?;
        finite(|| "intercept".to_owned(), "intercept", self.intercept)?;
        for (position, term) in self.terms.iter().enumerate() {
            check_term(position, term, schema)?;
        }
        self.trees.iter().enumerate().try_for_each(|(position, tree)| check_tree(position, tree, schema))?;
        let size = size_of_margin(self);
        if size.is_nan() || size > MAX_SIZE {
            return Err(ModelError::Mismatch {
                place: "margin".to_owned(),
                what: "its parts should not add up to more than 1e305 for any row",
            });
        }
        Ok(())
    }
}

/// No row makes a margin larger.
fn size_of_margin(margin: &MarginModel) -> f64 {
    let terms = margin.terms.iter().map(|term| size_of_shape(&term.shape) + term.mean.abs());
    margin.intercept.abs() + terms.sum::<f64>() + margin.trees.iter().map(size_of_tree).sum::<f64>()
}

/// No value of a feature makes a term larger.
fn size_of_shape(shape: &Shape) -> f64 {
    match shape {
        Shape::Number { low, high, log, center, scale, linear, quadratic, missing } => {
            // As `Shape::value` has it; between the ends `z` is smaller.
            let z = |clamped: f64| ((if *log { libm::log1p(clamped - low) } else { clamped }) - center).abs() / scale;
            let z = z(*low).max(z(*high));
            missing.abs() + z * (linear.abs() + quadratic.abs() * z)
        }
        Shape::Category { values, missing } => values.iter().fold(missing.abs(), |size, value| size.max(value.abs())),
    }
}

fn size_of_tree(tree: &Tree) -> f64 {
    let value = |kind: &NodeKind| if let NodeKind::Leaf { value } = kind { value.abs() } else { 0.0 };
    tree.nodes.iter().map(|node| value(&node.kind)).fold(0.0, f64::max)
}

fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), ModelError> {
    if found > limit { Err(ModelError::TooLarge { what, found, limit }) } else { Ok(()) }
}

fn finite(place: impl Fn() -> String, what: &'static str, found: f64) -> Result<(), ModelError> {
    if found.is_finite() { Ok(()) } else { Err(ModelError::NotFinite { place: place(), what, found }) }
}

fn feature_kind(place: impl Fn() -> String, found: u32, schema: &FeatureSchema) -> Result<(ColumnKind, usize), ModelError> {
    match schema.features.get(found as usize) {
        Some(feature) => Ok((feature.kind, feature.categories.len())),
        None => Err(ModelError::FeatureIdx { place: place(), found, n_features: schema.n_features() }),
    }
}

fn check_term(position: usize, term: &Term, schema: &FeatureSchema) -> Result<(), ModelError> {
    let place = || format!("term {position}");
    let mismatch = |what| Err(ModelError::Mismatch { place: place(), what });
    let (kind, n_categories) = feature_kind(place, term.feature_idx, schema)?;
    finite(place, "mean", term.mean)?;
    match &term.shape {
        Shape::Number { low, high, center, scale, linear, quadratic, missing, .. } => {
            if kind == ColumnKind::Category {
                return mismatch("a term for numbers stands at a category feature");
            }
            for (what, number) in [("low", low), ("high", high), ("center", center), ("scale", scale)] {
                finite(place, what, *number)?;
            }
            for (what, number) in [("linear", linear), ("quadratic", quadratic), ("missing", missing)] {
                finite(place, what, *number)?;
            }
            if low > high || *scale <= 0.0 {
                return mismatch("`low` should not exceed `high`, and `scale` should be positive");
            }
            Ok(())
        }
        Shape::Category { values, missing } => {
            if kind != ColumnKind::Category || values.len() != n_categories + 1 {
                return mismatch("a term for categories should have one value per category and one for unseen ones");
            }
            finite(place, "missing", *missing)?;
            values.iter().try_for_each(|value| finite(place, "value", *value))
        }
    }
}

fn check_tree(tree_idx: usize, tree: &Tree, schema: &FeatureSchema) -> Result<(), ModelError> {
    let wrong = |node: usize, what| Err(ModelError::Structure { tree: tree_idx, node, what });
    if tree.nodes.is_empty() {
        return wrong(0, "the tree has no nodes");
    }
    // Depth of each node, 0 until a parent has claimed it; the root is claimed from the start.
    let mut depth = vec![0_usize; tree.nodes.len()];
    depth[0] = 1;
    for (position, node) in tree.nodes.iter().enumerate() {
        if depth[position] == 0 {
            return wrong(position, "no path from the root leads here");
        }
        check_node(tree_idx, position, node, schema)?;
        let NodeKind::Split { left, right, .. } = node.kind else { continue };
        for child in [left as usize, right as usize] {
            if child <= position || child >= tree.nodes.len() {
                return wrong(position, "a child should stand after its parent and inside the tree");
            }
            if depth[child] != 0 {
                return wrong(child, "the node has two parents");
            }
            depth[child] = depth[position] + 1;
            if depth[child] > limits::MAX_DEPTH {
                return wrong(child, "the path from the root is longer than 256 nodes");
            }
        }
        let children = tree.nodes[left as usize].cover + tree.nodes[right as usize].cover;
        if (children - node.cover).abs() > COVER_TOLERANCE * node.cover {
            return wrong(position, "the cover should be the sum of the children's");
        }
    }
    Ok(())
}

fn check_node(tree_idx: usize, position: usize, node: &Node, schema: &FeatureSchema) -> Result<(), ModelError> {
    let place = || format!("tree {tree_idx} node {position}");
    let mismatch = |what| Err(ModelError::Mismatch { place: place(), what });
    if !(node.cover.is_finite() && node.cover > 0.0) {
        return mismatch("the cover should be positive and finite");
    }
    match &node.kind {
        NodeKind::Leaf { value } => finite(place, "leaf value", *value),
        NodeKind::Split { feature_idx, test, .. } => {
            let (kind, n_categories) = feature_kind(place, *feature_idx, schema)?;
            match test {
                Test::Below(threshold) if threshold.is_nan() => mismatch("the threshold is not a number"),
                Test::Below(threshold) if kind == ColumnKind::Category && threshold.is_finite() => {
                    mismatch("a threshold stands at a category feature")
                }
                Test::OneOf(_) if kind != ColumnKind::Category => {
                    mismatch("a set of categories stands at a feature of another kind")
                }
                Test::OneOf(set) if set.iter().any(|&category| category as usize > n_categories) => {
                    mismatch("a category of the set is not in the schema")
                }
                Test::OneOf(set) if !set.is_sorted_by(|a, b| a < b) => {
                    mismatch("the set of categories should be sorted, each once")
                }
                Test::Below(_) | Test::OneOf(_) => Ok(()),
            }
        }
    }
}
