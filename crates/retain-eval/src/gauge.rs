//! [`Gauge`]: rows of any kind, sorted once, to be measured under any weights of their groups.

use crate::binary::BinaryGauge;
use crate::labelled::Labelled;
use crate::metrics::Metric;
use crate::outcome::Outcome;
use crate::survival::SurvivalGauge;
use crate::uplift::UpliftGauge;
use crate::values::ValueGauge;

/// Labelled rows prepared for measuring.
#[derive(Debug)]
pub(crate) enum Gauge {
    Binary(BinaryGauge),
    Value(ValueGauge),
    Survival(SurvivalGauge),
    Uplift(UpliftGauge),
}

impl Gauge {
    pub(crate) fn new(labelled: &Labelled) -> Self {
        let group_idx = labelled.group_idx();
        match labelled.outcome() {
            Outcome::Binary(events) => Self::Binary(BinaryGauge::new(events, group_idx, labelled.n_groups())),
            Outcome::Value(values) => Self::Value(ValueGauge::new(values, group_idx)),
            Outcome::Survival(curves) => Self::Survival(SurvivalGauge::new(curves, group_idx)),
            Outcome::Uplift(effects) => Self::Uplift(UpliftGauge::new(effects, group_idx)),
        }
    }

    /// The metrics of the rows as they are; none where one is not defined.
    pub(crate) fn measure_whole(&self, metrics: &[Metric], n_groups: usize) -> Vec<Option<f64>> {
        self.measure(metrics, &vec![1; n_groups], false)
    }

    /// The metrics with each row counted as often as its group was drawn.
    pub(crate) fn measure_resample(&self, metrics: &[Metric], group_weights: &[u32]) -> Vec<Option<f64>> {
        self.measure(metrics, group_weights, true)
    }

    fn measure(&self, metrics: &[Metric], group_weights: &[u32], is_resample: bool) -> Vec<Option<f64>> {
        let found = match self {
            Self::Binary(gauge) => gauge.measure(metrics, group_weights, is_resample),
            Self::Value(gauge) => gauge.measure(metrics, group_weights),
            Self::Survival(gauge) => gauge.measure(metrics, group_weights),
            Self::Uplift(gauge) => gauge.measure(metrics, group_weights),
        };
        // A total near 0 can make a share of it infinite.
        found.into_iter().map(|value| value.filter(|value| value.is_finite())).collect()
    }
}
