//! `model.bin`: the model's own format, little-endian, version 4.
//!
//! ```text
//! file       = magic "RETAINMB", version u32, n_features u32, model, end of file
//! model      = 0 u8, head | 1 u8, hazard | 2 u8, amount | 3 u8, uplift      (version 1: head; uplift: from version 4 on)
//! head       = margin, calibrator
//! hazard     = n_periods u32, end f64…, horizon f64, n_causes u32, cause…
//! cause      = n_bytes u32, name in UTF-8, head
//! amount     = head, value, has_decline u8, head if so
//! value      = margin, occurrence_weight f64, has_spread u8, margin if so, calibrator, has_interval u8, interval if so
//! interval   = n_bins u32, border f64 × (n_bins − 1), low f64 × n_bins, high f64 × n_bins
//! uplift     = limit f64, chooses u8, n_arms u32, arm…
//! arm        = n_bytes u32, name in UTF-8, average f64, half_width f64, is_individual u8, individual if so
//! individual = center f64, slope f64, slope_half_width f64, n_parts u32, part…
//! part       = 0 u8, margin | 1 u8, weight f64, margin of treated, margin of controls
//! margin     = intercept f64, n_terms u32, term…, n_trees u32, tree…
//! term       = feature_idx u32, mean f64, shape
//! shape      = 0 u8, low f64, high f64, log u8, center f64, scale f64, linear f64, quadratic f64, missing f64
//!            | 1 u8, missing f64, n_values u32, value f64…
//! tree       = n_nodes u32, node…
//! node       = 0 u8, cover f64, value f64
//!            | 1 u8, cover f64, split, threshold f64
//!            | 2 u8, cover f64, split, n_categories u32, category u32…
//! split      = feature_idx u32, missing_left u8, left u32, right u32
//! calibrator = 0 u8 | 1 u8, slope f64, intercept f64 | 2 u8, n u32, margin f64 × n, log_odds f64 × n
//!            | 3 u8, rise f64, fall f64, intercept f64 | 4 u8                     (4: from version 3 on)
//! ```
//!
//! A count is believed only as far as the bytes that are left could hold it, so a hostile file cannot ask for memory that it did
//! not bring. Decoding checks the syntax; [`Model::check`] checks the meaning.

use crate::calibrate::Calibrator;
use crate::model::{
    AmountModel, Arm, Cause, EffectPart, HazardModel, Head, Individual, Interval, MarginModel, Model, Node, NodeKind, Shape,
    Term, Test, Tree, UpliftModel, ValueHead, limits,
};

const MAGIC: &[u8; 8] = b"RETAINMB";

/// The newest version that this build reads. It writes the oldest that can say what the model is, so that bundles of models without
/// anything new keep their bytes.
pub const MODEL_FORMAT_VERSION: u32 = 4;
/// The version before effects.
const UPLIFT_FREE_VERSION: u32 = 3;
/// The version before amounts could be margins.
const LOGARITHM_FREE_VERSION: u32 = 2;
/// The first version: one head and nothing before it.
const HEAD_ONLY_VERSION: u32 = 1;
/// Longest name of a cause, in bytes.
const MAX_NAME_BYTES: usize = 10_000;

/// What is wrong with the bytes of a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Not a model file at all.
    #[error("the file does not begin with `RETAINMB`")]
    Magic,
    /// Written by a newer build.
    #[error("the model's format version is {found}, this build reads up to {supported}")]
    Newer {
        /// The file's version.
        found: u32,
        /// The newest known.
        supported: u32,
    },
    /// The file ends too soon, or claims more than it holds.
    #[error("byte {offset}: {what} needs more bytes than the {left} that are left")]
    Truncated {
        /// Where.
        offset: usize,
        /// What was being read.
        what: &'static str,
        /// Bytes that are left.
        left: usize,
    },
    /// A tag or flag that means nothing.
    #[error("byte {offset}: {what} should be one of {expected}, found {found}")]
    Tag {
        /// Where.
        offset: usize,
        /// What was being read.
        what: &'static str,
        /// The values that mean something.
        expected: &'static str,
        /// The value found.
        found: u8,
    },
    /// A count above what a model may have.
    #[error("byte {offset}: {found} {what}, more than the {limit} allowed")]
    TooMany {
        /// Where.
        offset: usize,
        /// What there is too much of.
        what: &'static str,
        /// The count.
        found: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A text that is not UTF-8.
    #[error("byte {offset}: {what} is not UTF-8")]
    Text {
        /// Where it begins.
        offset: usize,
        /// What was being read.
        what: &'static str,
    },
    /// Bytes after the end.
    #[error("byte {offset}: {left} bytes follow the end of the model")]
    Trailing {
        /// Where the model ends.
        offset: usize,
        /// Bytes after it.
        left: usize,
    },
}

impl Model {
    /// Writes the model as the bytes of `model.bin`.
    ///
    /// `n_features` is stored so that a model is never read with another schema.
    pub fn encode(&self, n_features: usize) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        put_u32(&mut out, self.format_version());
        put_count(&mut out, n_features);
        match self {
            Self::Event(head) => {
                out.push(0);
                put_head(&mut out, head);
            }
            Self::Hazard(hazard) => {
                out.push(1);
                put_hazard(&mut out, hazard);
            }
            Self::Amount(amount) => {
                out.push(2);
                put_amount(&mut out, amount);
            }
            Self::Uplift(uplift) => {
                out.push(3);
                put_uplift(&mut out, uplift);
            }
        }
        out
    }

    fn format_version(&self) -> u32 {
        match self {
            Self::Uplift(_) => MODEL_FORMAT_VERSION,
            // Chances have no logarithm: see [`Model::check`].
            _ if matches!(self.calibrator(), Calibrator::Logarithm) => UPLIFT_FREE_VERSION,
            _ => LOGARITHM_FREE_VERSION,
        }
    }

    /// Reads the bytes of `model.bin`, and the number of features it was written with.
    ///
    /// The result is well formed but not yet believed: see [`Model::check`].
    ///
    /// # Errors
    /// [`FormatError`] with the place where the bytes stop making sense.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), FormatError> {
        let mut reader = Reader { bytes, offset: 0 };
        if reader.take(MAGIC.len(), "the magic").map_err(|_| FormatError::Magic)? != MAGIC {
            return Err(FormatError::Magic);
        }
        let found = reader.u32("the format version")?;
        if !(HEAD_ONLY_VERSION..=MODEL_FORMAT_VERSION).contains(&found) {
            return Err(FormatError::Newer { found, supported: MODEL_FORMAT_VERSION });
        }
        let n_features = reader.u32("the number of features")? as usize;
        let model = if found == HEAD_ONLY_VERSION { Self::Event(reader.head()?) } else { reader.model()? };
        let left = reader.left();
        if left > 0 {
            return Err(FormatError::Trailing { offset: reader.offset, left });
        }
        Ok((model, n_features))
    }
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Counts beyond `u32` cannot arise: the limits of a model lie far below.
fn put_count(out: &mut Vec<u8>, count: usize) {
    put_u32(out, u32::try_from(count).unwrap_or(u32::MAX));
}

fn put_f64(out: &mut Vec<u8>, number: f64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_f64s<'a>(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = &'a f64>) {
    for &number in numbers {
        put_f64(out, number);
    }
}

fn put_head(out: &mut Vec<u8>, head: &Head) {
    put_margin(out, &head.margin);
    put_calibrator(out, &head.calibrator);
}

fn put_margin(out: &mut Vec<u8>, margin: &MarginModel) {
    out.reserve(64 + margin.trees.iter().map(|tree| tree.nodes.len() * 40).sum::<usize>());
    put_f64(out, margin.intercept);
    put_count(out, margin.terms.len());
    margin.terms.iter().for_each(|term| put_term(out, term));
    put_count(out, margin.trees.len());
    for tree in &margin.trees {
        put_count(out, tree.nodes.len());
        tree.nodes.iter().for_each(|node| put_node(out, node));
    }
}

fn put_hazard(out: &mut Vec<u8>, hazard: &HazardModel) {
    put_count(out, hazard.period_ends.len());
    put_f64s(out, &hazard.period_ends);
    put_f64(out, hazard.horizon_days);
    put_count(out, hazard.causes.len());
    for cause in &hazard.causes {
        put_name(out, &cause.name);
        put_head(out, &cause.hazard);
    }
}

fn put_name(out: &mut Vec<u8>, name: &str) {
    put_count(out, name.len());
    out.extend_from_slice(name.as_bytes());
}

fn put_uplift(out: &mut Vec<u8>, uplift: &UpliftModel) {
    put_f64(out, uplift.limit);
    out.push(u8::from(uplift.chooses));
    put_count(out, uplift.arms.len());
    for arm in &uplift.arms {
        put_name(out, &arm.name);
        put_f64s(out, [&arm.average, &arm.half_width]);
        out.push(u8::from(arm.individual.is_some()));
        arm.individual.iter().for_each(|individual| put_individual(out, individual));
    }
}

fn put_individual(out: &mut Vec<u8>, individual: &Individual) {
    put_f64s(out, [&individual.center, &individual.slope, &individual.slope_half_width]);
    put_count(out, individual.parts.len());
    for part in &individual.parts {
        match part {
            EffectPart::Effect(margin) => {
                out.push(0);
                put_margin(out, margin);
            }
            EffectPart::Chances { weight, treated, control } => {
                out.push(1);
                put_f64(out, *weight);
                put_margin(out, treated);
                put_margin(out, control);
            }
        }
    }
}

fn put_amount(out: &mut Vec<u8>, amount: &AmountModel) {
    put_head(out, &amount.occurrence);
    put_value(out, &amount.value);
    out.push(u8::from(amount.decline.is_some()));
    amount.decline.iter().for_each(|head| put_head(out, head));
}

fn put_value(out: &mut Vec<u8>, value: &ValueHead) {
    put_margin(out, &value.margin);
    put_f64(out, value.occurrence_weight);
    out.push(u8::from(value.spread.is_some()));
    value.spread.iter().for_each(|spread| put_margin(out, spread));
    put_calibrator(out, &value.calibrator);
    out.push(u8::from(value.interval.is_some()));
    if let Some(interval) = &value.interval {
        put_count(out, interval.low.len());
        put_f64s(out, interval.borders.iter().chain(&interval.low).chain(&interval.high));
    }
}

fn put_term(out: &mut Vec<u8>, term: &Term) {
    put_u32(out, term.feature_idx);
    put_f64(out, term.mean);
    match &term.shape {
        Shape::Number { low, high, log, center, scale, linear, quadratic, missing } => {
            out.push(0);
            put_f64(out, *low);
            put_f64(out, *high);
            out.push(u8::from(*log));
            put_f64s(out, [center, scale, linear, quadratic, missing]);
        }
        Shape::Category { values, missing } => {
            out.push(1);
            put_f64(out, *missing);
            put_count(out, values.len());
            put_f64s(out, values);
        }
    }
}

fn put_node(out: &mut Vec<u8>, node: &Node) {
    match &node.kind {
        NodeKind::Leaf { value } => {
            out.push(0);
            put_f64(out, node.cover);
            put_f64(out, *value);
        }
        NodeKind::Split { feature_idx, test, missing_left, left, right } => {
            out.push(if matches!(test, Test::Below(_)) { 1 } else { 2 });
            put_f64(out, node.cover);
            put_u32(out, *feature_idx);
            out.push(u8::from(*missing_left));
            put_u32(out, *left);
            put_u32(out, *right);
            match test {
                Test::Below(threshold) => put_f64(out, *threshold),
                Test::OneOf(set) => {
                    put_count(out, set.len());
                    for &category in set {
                        put_u32(out, category);
                    }
                }
            }
        }
    }
}

fn put_calibrator(out: &mut Vec<u8>, calibrator: &Calibrator) {
    match calibrator {
        Calibrator::Identity => out.push(0),
        Calibrator::Sigmoid { slope, intercept } => {
            out.push(1);
            put_f64(out, *slope);
            put_f64(out, *intercept);
        }
        Calibrator::Beta { rise, fall, intercept } => {
            out.push(3);
            put_f64s(out, [rise, fall, intercept]);
        }
        Calibrator::Logarithm => out.push(4),
        Calibrator::Isotonic { margins, log_odds } => {
            out.push(2);
            put_count(out, margins.len());
            put_f64s(out, margins.iter().chain(log_odds));
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.offset
    }

    fn take(&mut self, n_bytes: usize, what: &'static str) -> Result<&'a [u8], FormatError> {
        let left = self.left();
        if n_bytes > left {
            return Err(FormatError::Truncated { offset: self.offset, what, left });
        }
        let taken = &self.bytes[self.offset..self.offset + n_bytes];
        self.offset += n_bytes;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, FormatError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, FormatError> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn f64(&mut self, what: &'static str) -> Result<f64, FormatError> {
        self.array(what).map(f64::from_le_bytes)
    }

    fn flag(&mut self, what: &'static str) -> Result<bool, FormatError> {
        let offset = self.offset;
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(FormatError::Tag { offset, what, expected: "0, 1", found }),
        }
    }

    /// A count of things that take at least `min_bytes` each.
    fn count(&mut self, what: &'static str, min_bytes: usize, limit: usize) -> Result<usize, FormatError> {
        let offset = self.offset;
        let found = self.u32(what)? as usize;
        if found > limit {
            return Err(FormatError::TooMany { offset, what, found, limit });
        }
        if found.saturating_mul(min_bytes) > self.left() {
            return Err(FormatError::Truncated { offset, what, left: self.left() });
        }
        Ok(found)
    }

    fn f64s(&mut self, n: usize, what: &'static str) -> Result<Vec<f64>, FormatError> {
        (0..n).map(|_| self.f64(what)).collect()
    }

    fn model(&mut self) -> Result<Model, FormatError> {
        let offset = self.offset;
        match self.u8("the model's form")? {
            0 => Ok(Model::Event(self.head()?)),
            1 => Ok(Model::Hazard(self.hazard()?)),
            2 => Ok(Model::Amount(self.amount()?)),
            3 => Ok(Model::Uplift(self.uplift()?)),
            found => Err(FormatError::Tag { offset, what: "the model's form", expected: "0, 1, 2, 3", found }),
        }
    }

    fn head(&mut self) -> Result<Head, FormatError> {
        Ok(Head { margin: self.margin()?, calibrator: self.calibrator()? })
    }

    fn margin(&mut self) -> Result<MarginModel, FormatError> {
        let intercept = self.f64("the intercept")?;
        let n_terms = self.count("terms", 21, limits::MAX_FEATURES)?;
        let terms = (0..n_terms).map(|_| self.term()).collect::<Result<_, _>>()?;
        let n_trees = self.count("trees", 21, limits::MAX_TREES)?;
        let trees = (0..n_trees).map(|_| self.tree()).collect::<Result<_, _>>()?;
        Ok(MarginModel { intercept, terms, trees })
    }

    fn hazard(&mut self) -> Result<HazardModel, FormatError> {
        let n_periods = self.count("periods", 8, limits::MAX_PERIODS)?;
        let period_ends = self.f64s(n_periods, "the end of a period")?;
        let horizon_days = self.f64("the horizon")?;
        let n_causes = self.count("causes", 20, limits::MAX_CAUSES)?;
        let causes = (0..n_causes).map(|_| Ok(Cause { name: self.name()?, hazard: self.head()? }));
        Ok(HazardModel { period_ends, horizon_days, causes: causes.collect::<Result<_, _>>()? })
    }

    fn uplift(&mut self) -> Result<UpliftModel, FormatError> {
        let limit = self.f64("the limit of effects")?;
        let chooses = self.flag("chooses")?;
        let n_arms = self.count("treatments", 21, limits::MAX_ARMS)?;
        Ok(UpliftModel { limit, chooses, arms: (0..n_arms).map(|_| self.arm()).collect::<Result<_, _>>()? })
    }

    fn arm(&mut self) -> Result<Arm, FormatError> {
        let (name, average) = (self.name()?, self.f64("an average effect")?);
        let half_width = self.f64("half the width of an average")?;
        let individual = if self.flag("is_individual")? { Some(self.individual()?) } else { None };
        Ok(Arm { name, average, half_width, individual })
    }

    fn individual(&mut self) -> Result<Individual, FormatError> {
        let (center, slope) = (self.f64("the center")?, self.f64("the slope")?);
        let slope_half_width = self.f64("half the width of a slope")?;
        let n_parts = self.count("parts of a score", 17, limits::MAX_PARTS)?;
        let parts = (0..n_parts).map(|_| self.part()).collect::<Result<_, _>>()?;
        Ok(Individual { parts, center, slope, slope_half_width })
    }

    fn part(&mut self) -> Result<EffectPart, FormatError> {
        let offset = self.offset;
        match self.u8("a part's kind")? {
            0 => Ok(EffectPart::Effect(self.margin()?)),
            1 => Ok(EffectPart::Chances { weight: self.f64("a weight")?, treated: self.margin()?, control: self.margin()? }),
            found => Err(FormatError::Tag { offset, what: "a part's kind", expected: "0, 1", found }),
        }
    }

    fn name(&mut self) -> Result<String, FormatError> {
        let n_bytes = self.count("bytes of a name", 1, MAX_NAME_BYTES)?;
        let offset = self.offset;
        let bytes = self.take(n_bytes, "a name")?;
        // Replacing what is none would make the name longer than a name may be.
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| FormatError::Text { offset, what: "a name" })
    }

    fn amount(&mut self) -> Result<AmountModel, FormatError> {
        let (occurrence, value) = (self.head()?, self.value()?);
        let decline = if self.flag("has_decline")? { Some(self.head()?) } else { None };
        Ok(AmountModel { occurrence, value, decline })
    }

    fn value(&mut self) -> Result<ValueHead, FormatError> {
        let margin = self.margin()?;
        let occurrence_weight = self.f64("the weight of the occurrence")?;
        let spread = if self.flag("has_spread")? { Some(self.margin()?) } else { None };
        let calibrator = self.calibrator()?;
        let interval = if self.flag("has_interval")? { Some(self.interval()?) } else { None };
        Ok(ValueHead { margin, occurrence_weight, spread, calibrator, interval })
    }

    fn interval(&mut self) -> Result<Interval, FormatError> {
        let n_bins = self.count("bins of the interval", 16, limits::MAX_BINS)?;
        Ok(Interval {
            borders: self.f64s(n_bins.saturating_sub(1), "a border")?,
            low: self.f64s(n_bins, "a lower limit")?,
            high: self.f64s(n_bins, "an upper limit")?,
        })
    }

    fn term(&mut self) -> Result<Term, FormatError> {
        let feature_idx = self.u32("a term's feature")?;
        let mean = self.f64("a term's mean")?;
        let offset = self.offset;
        let shape = match self.u8("a term's shape")? {
            0 => Shape::Number {
                low: self.f64("low")?,
                high: self.f64("high")?,
                log: self.flag("log")?,
                center: self.f64("center")?,
                scale: self.f64("scale")?,
                linear: self.f64("linear")?,
                quadratic: self.f64("quadratic")?,
                missing: self.f64("missing")?,
            },
            1 => {
                let missing = self.f64("missing")?;
                let n_values = self.count("category values", 8, limits::MAX_CATEGORIES + 1)?;
                Shape::Category { values: self.f64s(n_values, "a category's value")?, missing }
            }
            found => return Err(FormatError::Tag { offset, what: "a term's shape", expected: "0, 1", found }),
        };
        Ok(Term { feature_idx, shape, mean })
    }

    fn tree(&mut self) -> Result<Tree, FormatError> {
        let n_nodes = self.count("nodes", 17, limits::MAX_NODES)?;
        // The bytes of so many nodes are there, or it was refused.
        let mut nodes = Vec::with_capacity(n_nodes);
        for _ in 0..n_nodes {
            nodes.push(self.node()?);
        }
        Ok(Tree { nodes })
    }

    fn node(&mut self) -> Result<Node, FormatError> {
        let offset = self.offset;
        let tag = self.u8("a node's kind")?;
        let cover = self.f64("a node's cover")?;
        if tag == 0 {
            return Ok(Node { cover, kind: NodeKind::Leaf { value: self.f64("a leaf's value")? } });
        }
        let feature_idx = self.u32("a split's feature")?;
        let missing_left = self.flag("missing_left")?;
        let left = self.u32("a left child")?;
        let right = self.u32("a right child")?;
        let test = match tag {
            1 => Test::Below(self.f64("a threshold")?),
            2 => {
                let n_categories = self.count("categories", 4, limits::MAX_CATEGORIES + 1)?;
                Test::OneOf((0..n_categories).map(|_| self.u32("a category")).collect::<Result<_, _>>()?)
            }
            found => return Err(FormatError::Tag { offset, what: "a node's kind", expected: "0, 1, 2", found }),
        };
        Ok(Node { cover, kind: NodeKind::Split { feature_idx, test, missing_left, left, right } })
    }

    fn calibrator(&mut self) -> Result<Calibrator, FormatError> {
        let offset = self.offset;
        match self.u8("the calibrator's kind")? {
            0 => Ok(Calibrator::Identity),
            1 => Ok(Calibrator::Sigmoid { slope: self.f64("the slope")?, intercept: self.f64("the shift")? }),
            2 => {
                let n_points = self.count("calibration points", 16, limits::MAX_NODES)?;
                let margins = self.f64s(n_points, "a margin")?;
                Ok(Calibrator::Isotonic { margins, log_odds: self.f64s(n_points, "log-odds")? })
            }
            3 => Ok(Calibrator::Beta { rise: self.f64("rise")?, fall: self.f64("fall")?, intercept: self.f64("the shift")? }),
            4 => Ok(Calibrator::Logarithm),
            found => Err(FormatError::Tag { offset, what: "the calibrator's kind", expected: "0, 1, 2, 3, 4", found }),
        }
    }
}
