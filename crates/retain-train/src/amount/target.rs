//! What a part of the model learns, made from the amounts.

use retain_data::Dataset;

/// Squared residuals below this share of their mean are as good as none: the gamma deviance has no 0.
const LEAST_SPREAD: f64 = 1e-6;

/// A target made from the amount of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The amount.
    Amount,
    /// `ln(1 + amount)`.
    Log,
    /// The amount of rows that have one.
    Positive,
    /// The logarithm of the amount of rows that have one.
    LogPositive,
}

/// A column of targets in place of the amounts.
#[derive(Debug, Clone)]
pub(super) struct Target {
    values: Vec<f64>,
    /// 0 for rows that do not count; none: all count.
    weight: Option<Vec<f64>>,
    /// What a margin lacks to the logarithm of an amount.
    pub(super) offset: f64,
}

impl Form {
    /// Whether the margin speaks of rows that have an amount, so that the chance of having one comes on top.
    pub(super) fn is_conditional(self) -> bool {
        matches!(self, Self::Positive | Self::LogPositive)
    }

    /// The targets of all rows.
    ///
    /// Amounts are told in `unit`s, their mean, so that penalties and limits of the learners mean the same in any currency.
    pub(super) fn target(self, amounts: &[f64], unit: f64) -> Target {
        let some_only = || Some(amounts.iter().map(|&amount| f64::from(u8::from(amount > 0.0))).collect());
        let log = |&amount: &f64| if amount > 0.0 { libm::log(amount / unit) } else { 0.0 };
        let in_units = || amounts.iter().map(|amount| amount / unit).collect();
        let offset = libm::log(unit);
        match self {
            Self::Amount => Target { values: in_units(), weight: None, offset },
            Self::Log => {
                Target { values: amounts.iter().map(|&amount| libm::log1p(amount)).collect(), weight: None, offset: 0.0 }
            }
            Self::Positive => Target { values: in_units(), weight: some_only(), offset },
            Self::LogPositive => Target { values: amounts.iter().map(log).collect(), weight: some_only(), offset },
        }
    }
}

impl Target {
    /// 1 where there is any amount, else 0.
    pub(super) fn happened(amounts: &[f64]) -> Self {
        let values = amounts.iter().map(|&amount| f64::from(u8::from(amount > 0.0))).collect();
        Self { values, weight: None, offset: 0.0 }
    }

    /// Half of the squared residuals of the logs of amounts above 0, on rows with a log score of one that no fit has seen: its mean is
    /// what the spread of a log-normal amount adds to the log of its mean.
    ///
    /// None where there is no spread.
    pub(super) fn spread(amounts: &[f64], judged: &[usize], logs: &[f64]) -> Option<Self> {
        let mut values = vec![0.0; amounts.len()];
        let mut weight = vec![0.0; amounts.len()];
        let (mut sum, mut n) = (0.0, 0.0);
        for (&row, log) in judged.iter().zip(logs).filter(|(row, _)| amounts[**row] > 0.0) {
            let residual = libm::log(amounts[row]) - log;
            (values[row], weight[row]) = (0.5 * residual * residual, 1.0);
            sum += values[row];
            n += 1.0;
        }
        let least = LEAST_SPREAD * sum / f64::max(n, 1.0);
        for value in &mut values {
            *value = value.max(least);
        }
        (least > f64::MIN_POSITIVE && least.is_finite()).then_some(Self { values, weight: Some(weight), offset: 0.0 })
    }

    /// The table with these targets.
    pub(super) fn dataset(&self, table: &Dataset) -> Dataset {
        Dataset { target: self.values.clone(), weight: self.weight.clone(), ..table.clone() }
    }
}
