//! Features of customers as they were known on a day, and what the days after brought.

use retain_core::Day;

use super::error::TransactionError;
use super::log::{Customer, PurchaseDay, TransactionLog};

/// Windows that features look back over, in days; only those that the log reaches back to on the first observation date.
const WINDOWS: [i32; 5] = [7, 28, 91, 182, 365];
/// An observation date further behind the end of the log is refused, a nearer one gets a word from the caller.
const MAX_SILENT_DAYS: i32 = 31;

/// Lays out the table for observation dates of one log.
#[derive(Debug)]
pub struct CustomerTable<'l> {
    log: &'l TransactionLog,
    origins: Vec<i32>,
    horizon_days: u32,
    windows: Vec<i32>,
}

/// A customer's purchases up to a day; times in days, amounts as paid before refunds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PurchaseSummary {
    /// Purchase days after the first.
    pub frequency: u32,
    /// From the first purchase day to the last.
    pub recency_days: u32,
    /// From the first purchase day to the observation date.
    pub t_days: u32,
    /// Repeat purchase days with an amount above zero.
    pub n_paid_repeats: u32,
    /// Mean amount of those; none where there is none.
    pub monetary: Option<f64>,
}

/// What a customer did in the horizon after the observation date.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Sum of all amounts, refunds included: below zero where these are larger.
    pub value: f64,
    /// Days with a purchase.
    pub purchases: u32,
}

impl<'l> CustomerTable<'l> {
    /// A table of `n_origins` observation dates, the last of them `observe_at` and `every_days` between them.
    ///
    /// # Errors
    /// [`TransactionError`] when nobody had bought by the first of them, or the log ends long before the last.
    pub fn new(
        log: &'l TransactionLog,
        observe_at: Day,
        horizon_days: u32,
        every_days: u32,
        n_origins: u32,
    ) -> Result<Self, TransactionError> {
        let last = observe_at.days().floor();
        let (log_first, log_last) = log.range;
        let silent_days = last - log_last.days();
        if silent_days > f64::from(MAX_SILENT_DAYS) {
            return Err(TransactionError::EndsBefore { observe_at, last: log_last, days: silent_days as i64 });
        }
        let first = last - f64::from(every_days) * f64::from(n_origins.saturating_sub(1));
        let purchases = log.customers.iter().flat_map(|customer| &customer.days).filter(|day| day.is_purchase());
        let first_purchase = purchases.map(|day| day.day).min();
        let Some(first_purchase) = first_purchase else {
            return Err(TransactionError::NoPurchases { n_refunds: log.counts.n_refunds });
        };
        if f64::from(first_purchase) > first {
            return Err(TransactionError::NobodyYet { observe_at: Day::from_days(first), first: log_first, last: log_last });
        }
        // Between two days of the log, or little later, so the casts keep every digit.
        let origins = (0..n_origins).map(|step| (first + f64::from(every_days) * f64::from(step)) as i32).collect();
        let reach = first - log_first.days() + 1.0;
        let windows = WINDOWS.into_iter().filter(|window| f64::from(*window) <= reach).collect();
        Ok(Self { log, origins, horizon_days, windows })
    }

    /// The observation dates, as days since 1970-01-01, in order of time.
    pub fn origins(&self) -> &[i32] {
        &self.origins
    }

    /// Days from the end of the log to the last observation date; zero where the log goes on.
    pub fn silent_days(&self) -> i32 {
        let last = self.origins.last().copied().unwrap_or_default();
        (last - self.log.range.1.days() as i32).max(0)
    }

    /// Whether the log reaches to the end of the horizon of this observation date.
    pub fn has_outcomes(&self, origin: i32) -> bool {
        f64::from(origin) + f64::from(self.horizon_days) <= self.log.range.1.days()
    }

    /// Names of the feature columns, in the order of [`CustomerTable::features`].
    pub fn feature_names(&self) -> Vec<String> {
        let mut names: Vec<String> = [
            "frequency",
            "recency_days",
            "t_days",
            "days_since_last",
            "monetary",
            "total_spend",
            "total_refunds",
            "mean_amount",
            "max_amount",
            "first_amount",
            "last_amount",
            "amount_sd",
            "rows_per_purchase",
            "days_between_mean",
            "days_between_sd",
            "overdue_ratio",
            "purchases_per_day",
            "spend_per_day",
        ]
        .map(str::to_owned)
        .to_vec();
        names.extend(self.windows.iter().flat_map(|days| [format!("purchases_{days}d"), format!("spend_{days}d")]));
        names
            .extend(self.trends().flat_map(|(short, long)| {
                [format!("purchases_trend_{short}d_{long}d"), format!("spend_trend_{short}d_{long}d")]
            }));
        names
    }

    /// Neighbouring windows.
    fn trends(&self) -> impl Iterator<Item = (i32, i32)> {
        self.windows.windows(2).map(|pair| (pair[0], pair[1]))
    }

    /// One row of features; a value that does not exist, such as the time between purchases of who bought once, is NaN.
    ///
    /// None for customers who had bought nothing by that day.
    pub fn features(&self, customer: &Customer, origin: i32) -> Option<Vec<f64>> {
        let summary = PurchaseSummary::of(customer, origin)?;
        let known = known(customer, origin);
        let amounts: Vec<f64> = known.iter().map(|day| day.paid).filter(|paid| *paid > 0.0).collect();
        let days: Vec<f64> = purchase_days(known).map(|day| f64::from(day.day)).collect();
        let gaps: Vec<f64> = days.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let spend: f64 = known.iter().map(|day| day.net).sum();
        let paid: f64 = known.iter().map(|day| day.paid).sum();
        let n_rows: f64 = known.iter().map(|day| f64::from(day.n_rows)).sum();
        let since_last = f64::from(summary.t_days - summary.recency_days);
        let age = f64::from(summary.t_days) + 1.0;
        let mut row = vec![
            f64::from(summary.frequency),
            f64::from(summary.recency_days),
            f64::from(summary.t_days),
            since_last,
            summary.monetary.unwrap_or(f64::NAN),
            spend,
            paid - spend,
            mean(&amounts),
            amounts.iter().copied().reduce(f64::max).unwrap_or(f64::NAN),
            amounts.first().copied().unwrap_or(f64::NAN),
            amounts.last().copied().unwrap_or(f64::NAN),
            deviation(&amounts),
            n_rows / days.len() as f64,
            mean(&gaps),
            deviation(&gaps),
            since_last / mean(&gaps),
            days.len() as f64 / age,
            spend / age,
        ];
        let windows: Vec<(f64, f64)> = self.windows.iter().map(|days| within(known, origin - days)).collect();
        row.extend(windows.iter().flat_map(|&(purchases, spend)| [purchases, spend]));
        for (pair, (short, long)) in windows.windows(2).zip(self.trends()) {
            let expected = f64::from(short) / f64::from(long);
            row.extend([trend(pair[0].0, pair[1].0, expected), trend(pair[0].1, pair[1].1, expected)]);
        }
        Some(row)
    }

    /// What the customer did in the horizon after `origin`; days of the horizon beyond the log count as empty.
    pub fn outcome(&self, customer: &Customer, origin: i32) -> Outcome {
        let end = i64::from(origin) + i64::from(self.horizon_days);
        let next = customer.days.iter().filter(|day| day.day > origin && i64::from(day.day) <= end);
        next.fold(Outcome { value: 0.0, purchases: 0 }, |outcome, day| Outcome {
            value: outcome.value + day.net,
            purchases: outcome.purchases + u32::from(day.is_purchase()),
        })
    }

    /// Purchases of every customer known on that day, in the order of the log.
    pub fn summaries(&self, origin: i32) -> Vec<PurchaseSummary> {
        self.log.customers.iter().filter_map(|customer| PurchaseSummary::of(customer, origin)).collect()
    }

    /// Part of what was paid by that day that refunds left, from 0 to 1; one where nothing was paid.
    pub fn kept_share(&self, origin: i32) -> f64 {
        let days = self.log.customers.iter().flat_map(|customer| known(customer, origin));
        let (paid, net) = days.fold((0.0, 0.0), |(paid, net), day| (paid + day.paid, net + day.net));
        if paid > 0.0 { (net / paid).clamp(0.0, 1.0) } else { 1.0 }
    }

    /// The log behind the table.
    pub fn log(&self) -> &'l TransactionLog {
        self.log
    }
}

impl PurchaseSummary {
    /// A customer's purchases up to and including a day; none without any.
    pub fn of(customer: &Customer, origin: i32) -> Option<Self> {
        let mut days = purchase_days(known(customer, origin));
        let first = days.next()?;
        let (mut frequency, mut last, mut n_paid, mut paid) = (0, first.day, 0_u32, 0.0);
        for day in days {
            frequency += 1;
            last = day.day;
            n_paid += u32::from(day.paid > 0.0);
            paid += day.paid;
        }
        Some(Self {
            frequency,
            recency_days: last.abs_diff(first.day),
            t_days: origin.abs_diff(first.day),
            n_paid_repeats: n_paid,
            monetary: (n_paid > 0).then(|| paid / f64::from(n_paid)),
        })
    }
}

fn known(customer: &Customer, origin: i32) -> &[PurchaseDay] {
    &customer.days[..customer.days.partition_point(|day| day.day <= origin)]
}

fn purchase_days(days: &[PurchaseDay]) -> impl Iterator<Item = &PurchaseDay> {
    days.iter().filter(|day| day.is_purchase())
}

/// Purchases and spend after the day `start`.
fn within(known: &[PurchaseDay], start: i32) -> (f64, f64) {
    let recent = &known[known.partition_point(|day| day.day <= start)..];
    (purchase_days(recent).count() as f64, recent.iter().fold(0.0, |spend, day| spend + day.net))
}

/// The short window's share of the long one, over the share of time: one is steady, above is rising. Missing without anything in the long.
fn trend(short: f64, long: f64, expected: f64) -> f64 {
    if long > 0.0 { short / long / expected } else { f64::NAN }
}

/// Missing of nothing.
fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { f64::NAN } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The standard deviation of a sample; missing of fewer than two.
fn deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::NAN;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}
