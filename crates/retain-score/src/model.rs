//! What learners hand over and a bundle holds: margins made of an intercept, additive terms and trees, calibrators, and how they answer
//! together.
//!
//! Every learner compiles into a [`MarginModel`]: a logistic regression has terms and no trees, a forest or a boosted model has
//! trees and no terms, boosting on top of a logistic margin has both, a blend has the scaled parts of its members. So there is
//! one scorer, one explainer and one file format. [`MarginModel::check`] is the gate through which untrusted models pass:
//! what it accepts, the engine evaluates without a further check.

use crate::calibrate::Calibrator;

/// A learned model, by what it answers.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there is one for each bundle, never a list")]
pub enum Model {
    /// Whether it happens within the horizon.
    Event(Head),
    /// When it happens.
    Hazard(HazardModel),
    /// How much comes within the horizon.
    Amount(AmountModel),
    /// What treatments change within the horizon.
    Uplift(UpliftModel),
}

/// A margin and what it means: log-odds from features, then a probability from log-odds.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Features to margin.
    pub margin: MarginModel,
    /// Margin to probability.
    pub calibrator: Calibrator,
}

/// The chance of leaving in each period for a customer who has come that far: a discrete-time hazard.
#[derive(Debug, Clone, PartialEq)]
pub struct HazardModel {
    /// Where the periods end, in days from the start of the duration: rising, above 0, at most [`limits::MAX_PERIODS`].
    pub period_ends: Vec<f64>,
    /// The day up to which [`crate::Prediction::probability`] counts, above 0 and not after the last period.
    pub horizon_days: f64,
    /// The ways of leaving, at least one. Their margins read one number behind the features of the schema: the position of the
    /// period, counted from 0.
    pub causes: Vec<Cause>,
}

/// One way of leaving.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// Its name: the target's value.
    pub name: String,
    /// The chance of leaving this way within a period.
    pub hazard: Head,
}

/// The chance of any amount, and how much is expected.
#[derive(Debug, Clone, PartialEq)]
pub struct AmountModel {
    /// The chance that the amount is above 0.
    pub occurrence: Head,
    /// The expected amount.
    pub value: ValueHead,
    /// The chance that the amount falls to half of what it was, or less; only where the task names what it was.
    pub decline: Option<Head>,
}

/// An expected amount: `exp(calibrate(margin + occurrence_weight · ln(occurrence) + exp(spread)))`.
///
/// With [`Calibrator::Logarithm`] that is the margin itself, as models trained elsewhere on amounts as they stand have it.
/// A model of the mean has a weight of 0 and no spread; a hurdle has the weight 1, its margin is the log of the mean among amounts
/// above 0; a zero-inflated log-normal has the spread `ln(σ² / 2)` too; a blend in the logarithm has weights in between.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueHead {
    /// Features to the log of the amount.
    pub margin: MarginModel,
    /// How much of the log chance of any amount is added, from 0.
    pub occurrence_weight: f64,
    /// Features to the log of what the spread of amounts adds to the log of their mean.
    pub spread: Option<MarginModel>,
    /// From the log that the parts give to the log of the expected amount.
    pub calibrator: Calibrator,
    /// Within which limits the amount will lie.
    pub interval: Option<Interval>,
}

/// Limits of the amount, by the size of the expected amount; on the scale `ln(1 + amount)`.
///
/// Split conformal prediction in bins of the prediction: Vovk et al. (2005), Lei et al. (2018).
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    /// Expected amounts at which the bins change, rising; one fewer than bins.
    pub borders: Vec<f64>,
    /// What is added to `ln(1 + expected)` for the lower limit, by bin.
    pub low: Vec<f64>,
    /// What is added for the upper limit; not below `low`.
    pub high: Vec<f64>,
}

/// What each treatment changes, compared with the control.
#[derive(Debug, Clone, PartialEq)]
pub struct UpliftModel {
    /// The treatments, at least one.
    pub arms: Vec<Arm>,
    /// Whether who gets what is chosen for each customer; otherwise the treatment of the largest average stands for the model: choosing did
    /// not bring more than giving it to all.
    pub chooses: bool,
    /// No effect is larger, whatever its sign: 1 of chances, the largest amount there was of amounts. Above 0.
    pub limit: f64,
}

/// The effect of one treatment: `average + slope · (score − center)`, or the average alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// The value of the treatment column.
    pub name: String,
    /// The effect on average.
    pub average: f64,
    /// Half the width of the average's 95 % interval, from 0.
    pub half_width: f64,
    /// How customers differ; none where the table did not tell them apart: everybody has the average.
    pub individual: Option<Individual>,
}

/// How the effect of a treatment differs from customer to customer.
#[derive(Debug, Clone, PartialEq)]
pub struct Individual {
    /// What adds up to the score, at least one.
    pub parts: Vec<EffectPart>,
    /// The mean score in training.
    pub center: f64,
    /// What a difference in scores is as a difference in effects, from 0 to 100.
    pub slope: f64,
    /// Half the width of the slope's 95 % interval, from 0.
    pub slope_half_width: f64,
}

/// A part of a score, in the unit of the effect.
#[derive(Debug, Clone, PartialEq)]
pub enum EffectPart {
    /// The margin itself.
    Effect(MarginModel),
    /// `weight · (sigmoid(treated) − sigmoid(control))`: a difference of chances.
    Chances {
        /// How much it counts.
        weight: f64,
        /// Log-odds with the treatment.
        treated: MarginModel,
        /// Log-odds without it.
        control: MarginModel,
    },
}

/// A sum of parts, in log-odds: `intercept + Σ term(feature) + Σ tree(row)`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MarginModel {
    /// The constant part.
    pub intercept: f64,
    /// Functions of one feature each.
    pub terms: Vec<Term>,
    /// Trees, each adding the value of the leaf that a row falls in.
    pub trees: Vec<Tree>,
}

/// A function of one feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// Position of the feature in the schema.
    pub feature_idx: u32,
    /// What it adds.
    pub shape: Shape,
    /// The mean of what it adds over the training rows: contributions are told against it.
    pub mean: f64,
}

/// How a term turns its feature into log-odds.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Numbers, booleans and dates.
    ///
    /// With `u = clamp(x, low, high)`, or `ln(1 + u − low)` where `log` is set, and `z = (u − center) / scale`, it adds
    /// `linear · z + quadratic · z²`. The clamp keeps a number far outside the training range from running away.
    Number {
        /// Smallest value that counts.
        low: f64,
        /// Largest value that counts.
        high: f64,
        /// Take the logarithm of the distance from `low` first.
        log: bool,
        /// Subtracted before scaling.
        center: f64,
        /// Divides; positive.
        scale: f64,
        /// Slope.
        linear: f64,
        /// Curvature.
        quadratic: f64,
        /// What a missing value adds.
        missing: f64,
    },
    /// Categories: one number for each, in schema order, and one more for a category never seen.
    Category {
        /// `n_categories + 1` numbers, the last for an unseen category.
        values: Vec<f64>,
        /// What a missing value adds.
        missing: f64,
    },
}

/// A binary tree; node 0 is the root and children stand after their parent.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// The nodes.
    pub nodes: Vec<Node>,
}

/// A leaf or a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Weight of the training rows that passed here; a parent's is the sum of its children's. Explanations need it.
    pub cover: f64,
    /// What stands here.
    pub kind: NodeKind,
}

/// What stands at a node.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    /// The end of a path.
    Leaf {
        /// What the tree adds to the margin.
        value: f64,
    },
    /// A question about one feature.
    Split {
        /// Position of the feature in the schema.
        feature_idx: u32,
        /// The question; yes goes left.
        test: Test,
        /// Whether a missing value goes left.
        missing_left: bool,
        /// Position of the left child, greater than this node's.
        left: u32,
        /// Position of the right child, greater than this node's.
        right: u32,
    },
}

/// A yes-or-no question about one encoded value.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// Is the number below this threshold? A threshold of infinity asks only whether the value is present.
    Below(f64),
    /// Is the category one of these? Positions in the schema's list, sorted, each once; the position `n_categories` stands for
    /// every unseen category.
    OneOf(Vec<u32>),
}

/// Largest numbers that a model may have; a file that claims more is refused before anything is allocated.
pub mod limits {
    /// Trees in a model.
    pub const MAX_TREES: usize = 100_000;
    /// Nodes in all trees together.
    pub const MAX_NODES: usize = 50_000_000;
    /// Longest path from a root to a leaf.
    pub const MAX_DEPTH: usize = 256;
    /// Features of a model.
    pub const MAX_FEATURES: usize = 100_000;
    /// Categories of one feature.
    pub const MAX_CATEGORIES: usize = 1_000_000;
    /// Periods of a hazard.
    pub const MAX_PERIODS: usize = 36;
    /// Ways of leaving.
    pub const MAX_CAUSES: usize = 20;
    /// Treatments of a model.
    pub const MAX_ARMS: usize = 20;
    /// Parts of the score of a treatment.
    pub const MAX_PARTS: usize = 50;
    /// Bins of an interval.
    pub const MAX_BINS: usize = 1_000;
}

/// What is wrong with a model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A number that has to be finite is not.
    #[error("{place}: `{what}` should be a finite number, found `{found}`")]
    NotFinite {
        /// Where: `intercept`, `term 3`, `tree 5 node 7`, `calibrator`.
        place: String,
        /// Which number.
        what: &'static str,
        /// Its value.
        found: f64,
    },
    /// A feature position outside the schema.
    #[error("{place}: feature {found} of a schema with {n_features}")]
    FeatureIdx {
        /// Where.
        place: String,
        /// The position.
        found: u32,
        /// Features in the schema.
        n_features: usize,
    },
    /// The kind of test or term does not fit the feature's kind, or its categories.
    #[error("{place}: {what}")]
    Mismatch {
        /// Where.
        place: String,
        /// What does not fit.
        what: &'static str,
    },
    /// A tree that is not a tree: a child before its parent, two parents, a node nobody leads to.
    #[error("tree {tree} node {node}: {what}")]
    Structure {
        /// The tree.
        tree: usize,
        /// The node.
        node: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// Larger than [`limits`] allow.
    #[error("the model has {found} {what}, more than the {limit} allowed")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many may be.
        limit: usize,
    },
}

impl Model {
    /// The calibrator of what the model is for: the event, the hazard of the first cause, or the expected amount; effects have none.
    pub fn calibrator(&self) -> &Calibrator {
        match self {
            Self::Event(head) => &head.calibrator,
            // The check of a model asks for a cause.
            Self::Hazard(hazard) => hazard.causes.first().map_or(&Calibrator::Identity, |cause| &cause.hazard.calibrator),
            Self::Amount(amount) => &amount.value.calibrator,
            Self::Uplift(_) => &Calibrator::Identity,
        }
    }
}

impl UpliftModel {
    /// The position of the treatment whose effect on average is the largest, of equals the first.
    pub fn largest_average(&self) -> usize {
        let averages = self.arms.iter().map(|arm| arm.average).enumerate();
        averages.rev().max_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(position, _)| position)
    }

    /// The position of the treatment that stands for the model where there is room for one only: the first whose effect differs from customer to
    /// customer, else the first.
    pub fn leading(&self) -> usize {
        self.arms.iter().position(|arm| arm.individual.is_some()).unwrap_or(0)
    }
}

impl Head {
    /// The probability of one encoded row, read straight off the parts: the plain version of what [`crate::Predictor`] does.
    ///
    /// # Panics
    /// When the model was not checked against the schema that encoded the row.
    pub fn probability(&self, row: &[f64]) -> f64 {
        self.calibrator.probability(self.margin.margin(row))
    }
}

impl Tree {
    /// A tree of one leaf.
    pub fn leaf(value: f64, cover: f64) -> Self {
        Self { nodes: vec![Node { cover, kind: NodeKind::Leaf { value } }] }
    }

    /// Number of leaves.
    pub fn n_leaves(&self) -> usize {
        self.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Leaf { .. })).count()
    }
}

impl MarginModel {
    /// The margin of one encoded row, read straight off the parts: the plain version of what [`crate::Engine`] does fast.
    ///
    /// The parts are added in their order, as floating-point numbers; the engine's sum is the more exact one, and differs by that rounding.
    ///
    /// # Panics
    /// When the model was not checked against the schema that encoded the row.
    pub fn margin(&self, row: &[f64]) -> f64 {
        let terms = self.terms.iter().fold(self.intercept, |sum, term| sum + term.shape.value(row[term.feature_idx as usize]));
        self.trees.iter().fold(terms, |sum, tree| sum + tree.value(row))
    }
}

impl Shape {
    /// What the term adds for an encoded value.
    pub fn value(&self, encoded: f64) -> f64 {
        match self {
            Self::Number { missing, .. } | Self::Category { missing, .. } if encoded.is_nan() => *missing,
            Self::Number { low, high, log, center, scale, linear, quadratic, .. } => {
                let clamped = encoded.clamp(*low, *high);
                let u = if *log { libm::log1p(clamped - low) } else { clamped };
                let z = (u - center) / scale;
                z * (linear + quadratic * z)
            }
            Self::Category { values, .. } => values[(encoded as usize).min(values.len() - 1)],
        }
    }
}

impl Tree {
    /// The value of the leaf that an encoded row falls in.
    pub fn value(&self, row: &[f64]) -> f64 {
        let mut position = 0;
        loop {
            match &self.nodes[position].kind {
                NodeKind::Leaf { value } => return *value,
                NodeKind::Split { feature_idx, test, missing_left, left, right } => {
                    let goes_left = test.goes_left(row[*feature_idx as usize], *missing_left);
                    position = if goes_left { *left } else { *right } as usize;
                }
            }
        }
    }
}

impl Test {
    /// Whether a row with this encoded value goes left.
    pub fn goes_left(&self, encoded: f64, missing_left: bool) -> bool {
        if encoded.is_nan() {
            return missing_left;
        }
        match self {
            Self::Below(threshold) => encoded < *threshold,
            Self::OneOf(categories) => categories.binary_search(&(encoded as u32)).is_ok(),
        }
    }
}
