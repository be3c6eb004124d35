//! Effects of treatments: compiled arms, from an encoded row to what each treatment changes.

use retain_core::FeatureSchema;

use crate::calibrate::sigmoid;
use crate::engine::{Engine, Kernel};
use crate::explain::Explanation;
use crate::model::{Arm, EffectPart, Individual, MarginModel, UpliftModel};

/// z of a two-sided 95 % interval.
const Z_95: f64 = 1.959_963_984_540_054;

/// What one treatment changes for one customer, compared with the control. Above 0 is good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect<'a> {
    /// The treatment.
    pub treatment: &'a str,
    /// The expected change: of a chance, in its own unit, so that 0.05 is five percentage points; of an amount, in its currency or count.
    pub effect: f64,
    /// Lower end of its 95 % interval. It knows how uncertain the average is, and how much customers really differ, and takes the order of
    /// customers for given.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Whether the table told customers apart: where it did not, everybody has the same effect.
    pub conclusive: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct CompiledUplift {
    pub(crate) arms: Vec<CompiledArm>,
    limit: f64,
    /// The treatment that stands for the model whoever the customer is; none: the one that does most.
    for_all: Option<usize>,
}

#[derive(Debug, Clone)]
pub(crate) struct CompiledArm {
    name: String,
    average: f64,
    half_width: f64,
    individual: Option<CompiledIndividual>,
}

#[derive(Debug, Clone)]
struct CompiledIndividual {
    parts: Vec<CompiledPart>,
    center: f64,
    slope: f64,
    slope_half_width: f64,
}

#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a model has a handful of parts, and every call reads them")]
enum CompiledPart {
    Effect(Engine),
    Chances { weight: f64, treated: Engine, control: Engine },
}

impl CompiledUplift {
    /// Compiles a model that was checked.
    pub(crate) fn new(model: UpliftModel, schema: &FeatureSchema) -> Self {
        let for_all = (!model.chooses).then(|| model.largest_average());
        let arms = model.arms.into_iter().map(|arm| CompiledArm::new(arm, schema)).collect();
        Self { arms, limit: model.limit, for_all }
    }

    pub(crate) fn engines(&self) -> impl Iterator<Item = &Engine> {
        let parts = self.arms.iter().filter_map(|arm| arm.individual.as_ref()).flat_map(|individual| &individual.parts);
        parts.flat_map(|part| match part {
            CompiledPart::Effect(engine) => vec![engine],
            CompiledPart::Chances { treated, control, .. } => vec![treated, control],
        })
    }

    /// The effects of all arms, in their order.
    pub(crate) fn effects<'a>(&'a self, row: &[f64]) -> impl Iterator<Item = Effect<'a>> {
        self.arms.iter().map(|arm| arm.effect(row, self.limit))
    }

    /// The position and the effect of the treatment that stands for the model: the one that does most, of equals the first; the one of the
    /// largest average where nothing is chosen for each.
    pub(crate) fn best<'a>(&'a self, row: &[f64]) -> (usize, Effect<'a>) {
        if let Some(arm) = self.for_all {
            return (arm, self.arms[arm].effect(row, self.limit));
        }
        let mut best: Option<(usize, Effect<'a>)> = None;
        for (position, effect) in self.effects(row).enumerate() {
            if best.is_none_or(|(_, before)| effect.effect > before.effect) {
                best = Some((position, effect));
            }
        }
        best.expect("a checked model has an arm")
    }

    /// The same among effects that were computed already, all of them.
    pub(crate) fn best_of(&self, effects: &[Effect<'_>]) -> Option<usize> {
        let most = || (0..effects.len()).rev().max_by(|&a, &b| effects[a].effect.total_cmp(&effects[b].effect));
        self.for_all.filter(|&arm| arm < effects.len()).or_else(most)
    }

    /// Explains the effect of the treatment that stands for the model, in the unit of the effect and before it is held within its limit.
    pub(crate) fn explain(&self, row: &[f64]) -> Explanation {
        let (best, _) = self.best(row);
        self.arms[best].explain(row)
    }
}

/// The chance that an effect is above 0, by the normal distribution that its interval is of.
pub(crate) fn chance_above_zero(effect: &Effect<'_>) -> f64 {
    let deviation = (effect.high - effect.low) / (2.0 * Z_95);
    if deviation > 0.0 {
        (0.5 * libm::erfc(-effect.effect / (deviation * std::f64::consts::SQRT_2))).clamp(0.0, 1.0)
    } else if effect.effect == 0.0 {
        0.5
    } else {
        f64::from(u8::from(effect.effect > 0.0))
    }
}

impl CompiledArm {
    fn new(arm: Arm, schema: &FeatureSchema) -> Self {
        let individual = arm.individual.map(|individual| CompiledIndividual::new(individual, schema));
        Self { name: arm.name, average: arm.average, half_width: arm.half_width, individual }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn effect(&self, row: &[f64], limit: f64) -> Effect<'_> {
        let (effect, half_width) = match &self.individual {
            None => (self.average, self.half_width),
            Some(individual) => {
                let apart = individual.score(row) - individual.center;
                (self.average + individual.slope * apart, self.half_width.hypot(individual.slope_half_width * apart))
            }
        };
        let held = |value: f64| value.clamp(-limit, limit) + 0.0;
        Effect {
            treatment: &self.name,
            effect: held(effect),
            low: held(effect - half_width),
            high: held(effect + half_width),
            conclusive: self.individual.is_some(),
        }
    }

    fn explain(&self, row: &[f64]) -> Explanation {
        let mut whole = Explanation { margin: 0.0, base_margin: 0.0, contributions: vec![0.0; row.len()] };
        let Some(individual) = &self.individual else {
            (whole.margin, whole.base_margin) = (self.average, self.average);
            return whole;
        };
        for part in &individual.parts {
            match part {
                CompiledPart::Effect(engine) => whole.add_bent(&engine.explain(row), |margin| margin),
                CompiledPart::Chances { weight, treated, control } => {
                    whole.add_bent(&treated.explain(row), |margin| weight * sigmoid(margin));
                    whole.add_bent(&control.explain(row), |margin| -weight * sigmoid(margin));
                }
            }
        }
        let placed = |score: f64| self.average + individual.slope * (score - individual.center);
        (whole.margin, whole.base_margin) = (placed(whole.margin), placed(whole.base_margin));
        whole.contributions.iter_mut().for_each(|contribution| *contribution *= individual.slope);
        whole
    }
}

impl CompiledIndividual {
    fn new(model: Individual, schema: &FeatureSchema) -> Self {
        let engine = |margin: MarginModel| Engine::of_checked(margin, schema, Kernel::Best);
        let part = |part: EffectPart| match part {
            EffectPart::Effect(margin) => CompiledPart::Effect(engine(margin)),
            EffectPart::Chances { weight, treated, control } => {
                CompiledPart::Chances { weight, treated: engine(treated), control: engine(control) }
            }
        };
        Self {
            parts: model.parts.into_iter().map(part).collect(),
            center: model.center,
            slope: model.slope,
            slope_half_width: model.slope_half_width,
        }
    }

    fn score(&self, row: &[f64]) -> f64 {
        let of_part = |part: &CompiledPart| match part {
            CompiledPart::Effect(engine) => engine.margin(row),
            CompiledPart::Chances { weight, treated, control } => {
                weight * (sigmoid(treated.margin(row)) - sigmoid(control.margin(row)))
            }
        };
        self.parts.iter().map(of_part).sum()
    }
}
