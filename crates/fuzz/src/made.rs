//! Models made as bytes say, so that they hold together: damaged files seldom pass the check, and it is behind the check that
//! kernels and explanations begin.

use retain_core::{FeatureSchema, FeatureSpec};
use retain_score::{
    AmountModel, Arm, Calibrator, Cause, EffectPart, HazardModel, Head, Individual, Interval, MarginModel, Model, Node, NodeKind,
    Shape, Term, Test, Tree, UpliftModel, ValueHead, with_period,
};

use super::model::{self, category, number, schema};

const N_CATEGORIES: [usize; 8] = [1, 2, 3, 40, 64, 65, 130, 300];
const N_LEAVES: [usize; 16] = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 32, 33, 63, 64, 65];
/// Numbers that come before the bytes of any number: of thresholds, leaves and weights.
const NUMBERS: [f64; 16] =
    [0.0, 1.0, -1.0, 0.5, -0.5, 2.0, 3.0, -3.0, 0.1, 1e-35, -0.0, 1e-12, 1e6, 1e30, f64::MIN_POSITIVE, 5e-324];
const COVERS: [f64; 8] = [1.0, 2.0, 10.0, 1000.0, 0.25, 1e-12, 1e12, 1e-300];
/// Most nodes of a model: a few bytes may ask for many trees.
const MAX_NODES: usize = 3_000;

pub(crate) fn check(bytes: &[u8]) {
    let mut choices = Choices { bytes, n_nodes: 0 };
    let schema = choices.schema();
    let model = choices.model(&schema);
    match model.check(&schema) {
        Ok(()) => model::check(&model, &schema),
        Err(_) => assert!(retain_score::Predictor::new(&model, &schema).is_err(), "compiled although it was refused"),
    }
    model::check_file(&model.encode(schema.n_features()));
}

/// Bytes as choices; where they end everything is the first.
struct Choices<'a> {
    bytes: &'a [u8],
    n_nodes: usize,
}

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((&first, rest)) => {
                self.bytes = rest;
                first
            }
            None => 0,
        }
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Any number but NaN.
    fn number(&mut self) -> f64 {
        let choice = self.byte();
        match choice {
            0..=127 => NUMBERS[usize::from(choice) % NUMBERS.len()],
            128..=223 => f64::from(choice) / 16.0 - 11.0,
            _ => {
                let bits = f64::from_le_bytes(std::array::from_fn(|_| self.byte()));
                if bits.is_nan() { f64::INFINITY } else { bits }
            }
        }
    }

    fn schema(&mut self) -> FeatureSchema {
        let n_features = 1 + self.below(7);
        let feature = |position: usize| {
            let name = format!("f{position}");
            let choice = self.byte();
            if choice & 1 == 0 {
                number(&name)
            } else {
                category(&name, N_CATEGORIES[usize::from(choice / 2) % N_CATEGORIES.len()])
            }
        };
        schema((0..n_features).map(feature).collect::<Vec<FeatureSpec>>())
    }

    fn model(&mut self, schema: &FeatureSchema) -> Model {
        match self.below(5) {
            0 | 1 => Model::Event(self.head(schema)),
            2 => Model::Hazard(self.hazard(schema)),
            3 => Model::Uplift(self.uplift(schema)),
            _ => {
                let occurrence = self.head(schema);
                let value = self.value(schema);
                let decline = self.flag().then(|| self.head(schema));
                Model::Amount(AmountModel { occurrence, value, decline })
            }
        }
    }

    fn uplift(&mut self, schema: &FeatureSchema) -> UpliftModel {
        let n_arms = 1 + self.below(3);
        let arms = (0..n_arms).map(|arm| Arm {
            name: format!("treatment {arm}"),
            average: self.number(),
            half_width: self.number().abs(),
            individual: self.flag().then(|| self.individual(schema)),
        });
        let arms = arms.collect();
        UpliftModel { arms, limit: self.number().abs(), chooses: self.flag() }
    }

    fn individual(&mut self, schema: &FeatureSchema) -> Individual {
        let n_parts = 1 + self.below(3);
        let parts = (0..n_parts).map(|_| {
            if self.flag() {
                EffectPart::Effect(self.margin(schema))
            } else {
                EffectPart::Chances { weight: self.number(), treated: self.margin(schema), control: self.margin(schema) }
            }
        });
        let parts = parts.collect();
        Individual { parts, center: self.number(), slope: self.number(), slope_half_width: self.number().abs() }
    }

    fn hazard(&mut self, schema: &FeatureSchema) -> HazardModel {
        let n_periods = 1 + self.below(5);
        let mut period_ends: Vec<f64> = (0..n_periods).map(|_| self.number().abs()).collect();
        period_ends.sort_by(f64::total_cmp);
        period_ends.dedup();
        let horizon_days = if self.flag() { self.number() } else { period_ends[period_ends.len() - 1] };
        let extended = with_period(schema).expect("no feature has the period's name");
        let n_causes = 1 + self.below(3);
        let causes = (0..n_causes).map(|cause| Cause { name: format!("cause {cause}"), hazard: self.head(&extended) });
        HazardModel { period_ends, horizon_days, causes: causes.collect() }
    }

    fn value(&mut self, schema: &FeatureSchema) -> ValueHead {
        let margin = self.margin(schema);
        let occurrence_weight = self.number();
        let spread = self.flag().then(|| self.margin(schema));
        let calibrator = if self.flag() { Calibrator::Logarithm } else { self.calibrator() };
        let interval = self.flag().then(|| {
            let borders = self.rising();
            let low: Vec<f64> = (0..=borders.len()).map(|_| self.number()).collect();
            let high = low.iter().map(|low| low + self.number().abs()).collect();
            Interval { borders, low, high }
        });
        ValueHead { margin, occurrence_weight, spread, calibrator, interval }
    }

    fn head(&mut self, schema: &FeatureSchema) -> Head {
        Head { margin: self.margin(schema), calibrator: self.calibrator() }
    }

    fn calibrator(&mut self) -> Calibrator {
        match self.below(4) {
            0 => Calibrator::Identity,
            1 => Calibrator::Sigmoid { slope: self.number(), intercept: self.number() },
            2 => Calibrator::Beta { rise: self.number(), fall: self.number(), intercept: self.number() },
            _ => {
                let (margins, mut log_odds) = (self.rising(), self.rising());
                log_odds.truncate(margins.len());
                Calibrator::Isotonic { margins, log_odds }
            }
        }
    }

    fn rising(&mut self) -> Vec<f64> {
        let n = 1 + self.below(4);
        let mut numbers: Vec<f64> = (0..n).map(|_| self.number()).collect();
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        numbers
    }

    fn margin(&mut self, schema: &FeatureSchema) -> MarginModel {
        let intercept = self.number();
        let n_terms = self.below(3);
        let terms = (0..n_terms).map(|_| self.term(schema)).collect();
        let n_trees = self.below(9);
        let mut trees: Vec<Tree> = (0..n_trees).map(|_| self.tree(schema)).collect();
        // Trees stand side by side in sixty-fours.
        let n_copies = [0, 0, 1, 7, 8, 20, 40, 64][self.below(8)];
        for _ in 0..n_copies {
            for position in 0..n_trees {
                let tree = trees[position].clone();
                self.n_nodes += tree.nodes.len();
                if self.n_nodes < MAX_NODES {
                    trees.push(tree);
                }
            }
        }
        MarginModel { intercept, terms, trees }
    }

    fn term(&mut self, schema: &FeatureSchema) -> Term {
        let feature_idx = self.below(schema.n_features());
        let n_categories = schema.features[feature_idx].categories.len();
        let shape = if n_categories > 0 {
            let values = [self.number(), self.number(), self.number()];
            Shape::Category { values: (0..=n_categories).map(|category| values[category % 3]).collect(), missing: self.number() }
        } else {
            let (low, high) = (self.number(), self.number());
            Shape::Number {
                low: low.min(high),
                high: low.max(high),
                log: self.flag(),
                center: self.number(),
                scale: self.number().abs(),
                linear: self.number(),
                quadratic: self.number(),
                missing: self.number(),
            }
        };
        Term { feature_idx: feature_idx as u32, shape, mean: self.number() }
    }

    fn tree(&mut self, schema: &FeatureSchema) -> Tree {
        let mut nodes = vec![self.leaf()];
        let choice = self.byte();
        if choice & 1 == 0 {
            self.grow_leafwise(schema, N_LEAVES[usize::from(choice / 2) % N_LEAVES.len()], &mut nodes);
        } else {
            self.grow_symmetric(schema, usize::from(choice / 2) % 10, &mut nodes);
        }
        self.n_nodes += nodes.len();
        // Children stand behind their parents.
        for position in (0..nodes.len()).rev() {
            if let NodeKind::Split { left, right, .. } = nodes[position].kind {
                nodes[position].cover = nodes[left as usize].cover + nodes[right as usize].cover;
            }
        }
        Tree { nodes }
    }

    fn grow_leafwise(&mut self, schema: &FeatureSchema, n_leaves: usize, nodes: &mut Vec<Node>) {
        let mut leaves = vec![0];
        while leaves.len() < n_leaves && self.n_nodes + nodes.len() < MAX_NODES {
            let place = self.below(leaves.len());
            let parent: usize = leaves.swap_remove(place);
            let (left, right) = (nodes.len(), nodes.len() + 1);
            let kind = self.split(schema, left, right);
            nodes.extend([self.leaf(), self.leaf()]);
            nodes[parent].kind = kind;
            leaves.extend([left, right]);
        }
    }

    fn grow_symmetric(&mut self, schema: &FeatureSchema, depth: usize, nodes: &mut Vec<Node>) {
        let levels: Vec<NodeKind> = (0..depth).map(|_| self.split(schema, 0, 0)).collect();
        for (level, question) in levels.iter().enumerate() {
            if self.n_nodes + nodes.len() > MAX_NODES {
                return;
            }
            for parent in (1 << level) - 1..(2 << level) - 1 {
                let first = nodes.len() as u32;
                nodes.extend([self.leaf(), self.leaf()]);
                let mut kind = question.clone();
                if let NodeKind::Split { left, right, .. } = &mut kind {
                    (*left, *right) = (first, first + 1);
                }
                nodes[parent].kind = kind;
            }
        }
    }

    fn leaf(&mut self) -> Node {
        Node { cover: COVERS[self.below(COVERS.len())], kind: NodeKind::Leaf { value: self.number() } }
    }

    fn split(&mut self, schema: &FeatureSchema, left: usize, right: usize) -> NodeKind {
        let feature_idx = self.below(schema.n_features());
        let n_categories = schema.features[feature_idx].categories.len() as u32;
        let choice = self.byte();
        let test = if n_categories == 0 || choice >= 250 {
            let limits = [f64::INFINITY, f64::NEG_INFINITY];
            Test::Below(if choice >= 224 { limits[usize::from(choice & 1)] } else { self.number() })
        } else {
            // The last one stands for unseen categories.
            let (all, border) = (0..=n_categories, u32::from(choice / 4));
            match choice % 4 {
                0 => Test::OneOf(all.filter(|&category| category < border).collect()),
                1 => Test::OneOf(all.filter(|&category| category >= border).collect()),
                2 => Test::OneOf(all.filter(|&category| category == border % (n_categories + 1)).collect()),
                _ => Test::OneOf(all.filter(|&category| category.wrapping_mul(2 * border + 1) & 4 == 0).collect()),
            }
        };
        let missing_left = self.flag();
        NodeKind::Split { feature_idx: feature_idx as u32, test, missing_left, left: left as u32, right: right as u32 }
    }
}
