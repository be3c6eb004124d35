//! How many customers an experiment needs, and how small an effect so many could show.

use retain_eval::two_sided_z;

/// More customers than there are people are no plan.
const MOST_CUSTOMERS: f64 = 1e12;

/// What is measured of each customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measure {
    /// Whether something happens, at this rate without treatment.
    Rate {
        /// Between 0 and 1, both excluded.
        base: f64,
    },
    /// An amount of this spread.
    Amount {
        /// Standard deviation between customers, above 0.
        sd: f64,
    },
}

/// How an experiment is set up.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    /// What is measured.
    pub measure: Measure,
    /// The share of customers in each arm, the control first; they sum to 1.
    pub shares: Vec<f64>,
    /// The chance of seeing an effect in an arm where there is none, 0.05 if nothing speaks against it; divided by the number of
    /// treated arms, so that it holds for all of them together.
    pub alpha: f64,
    /// The chance of seeing the effect if it is there: 0.5 to 0.9999, usually 0.8.
    pub power: f64,
    /// The correlation of the outcome with a measurement from before, by which it will be adjusted; 0 without.
    pub covariate_correlation: f64,
}

/// What an experiment needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Customers in each arm, the control first.
    pub customers: Vec<u64>,
    /// Days until as many have come; absent where it was not said how many come a day.
    pub days: Option<u64>,
}

impl Plan {
    /// Customers in all arms.
    pub fn total(&self) -> u64 {
        self.customers.iter().sum()
    }
}

/// A design or a question that cannot be planned.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DesignError {
    /// A number outside its range.
    #[error("{what} should be {expected}, found {found}")]
    Number {
        /// Which number.
        what: &'static str,
        /// Which range.
        expected: &'static str,
        /// What was found.
        found: f64,
    },
    /// Too few arms.
    #[error("should have a control and at least one other arm, found {found} arms")]
    Arms {
        /// What was found.
        found: usize,
    },
    /// No number of customers shows it.
    #[error("no number of customers up to 1e12 would do")]
    TooManyCustomers,
}

impl Design {
    /// Two arms of the same size at the usual levels: 5 % and 80 %.
    pub fn even(measure: Measure) -> Self {
        Self { measure, shares: vec![0.5, 0.5], alpha: 0.05, power: 0.8, covariate_correlation: 0.0 }
    }

    /// How many customers it takes to see an effect of this size, below 0 for a decrease, in every arm that has it.
    ///
    /// Shares stay as designed, so the smallest treated arm decides. `customers_per_day` come into all arms together.
    ///
    /// # Errors
    /// [`DesignError`] for numbers out of range, an effect of 0 or one that takes the rate out of 0 to 1, or more than 1e12
    /// customers.
    ///
    /// # Source
    /// Two proportions with the pooled variance under no effect (Fleiss 1981, without continuity correction); two means by the
    /// normal approximation. The covariate takes `correlation²` of the variance away (Deng, Xu, Kohavi and Walker 2013).
    pub fn customers_for(&self, effect: f64, customers_per_day: Option<f64>) -> Result<Plan, DesignError> {
        self.check()?;
        self.check_effect(effect)?;
        let needed = self.treated().map(|share| self.needed(effect, share)).fold(0.0, f64::max);
        if needed > MOST_CUSTOMERS {
            return Err(DesignError::TooManyCustomers);
        }
        let customers: Vec<u64> = self.shares.iter().map(|share| (needed * share).ceil() as u64).collect();
        let plan = Plan { customers, days: None };
        match customers_per_day {
            None => Ok(plan),
            Some(found) if !(found > 0.0 && found.is_finite()) => {
                Err(DesignError::Number { what: "customers per day", expected: "above 0", found })
            }
            Some(per_day) => Ok(Plan { days: Some((plan.total() as f64 / per_day).ceil() as u64), ..plan }),
        }
    }

    /// The smallest increase that so many customers in all arms would show in every arm that has it; decreases of rates below a half are a
    /// little easier to see.
    ///
    /// # Errors
    /// [`DesignError`] for numbers out of range, or where even a rate of 1 would not be seen.
    pub fn detectable_effect(&self, n_customers: u64) -> Result<f64, DesignError> {
        self.check()?;
        let most = match self.measure {
            Measure::Rate { base } => 1.0 - base,
            Measure::Amount { sd } => sd * 1e6,
        };
        let enough = |effect: f64| self.treated().all(|share| self.needed(effect, share) <= n_customers as f64);
        if !enough(most * (1.0 - 1e-9)) {
            return Err(DesignError::TooManyCustomers);
        }
        let (mut low, mut high) = (0.0, most);
        for _ in 0..200 {
            let middle = 0.5 * (low + high);
            if enough(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        Ok(high)
    }

    /// Customers of all arms that one treated arm of this share asks for.
    fn needed(&self, effect: f64, share: f64) -> f64 {
        let ratio = self.shares[0] / share;
        let n_treated = self.shares.len() as f64 - 1.0;
        let z_alpha = two_sided_z(1.0 - self.alpha / n_treated);
        let z_power = two_sided_z(2.0 * self.power - 1.0);
        let (null, alternative) = match self.measure {
            Measure::Amount { sd } => (sd * (1.0 + 1.0 / ratio).sqrt(), sd * (1.0 + 1.0 / ratio).sqrt()),
            Measure::Rate { base } => {
                let treated = base + effect;
                let pooled = (treated + ratio * base) / (1.0 + ratio);
                let null = pooled * (1.0 - pooled) * (1.0 + 1.0 / ratio);
                (null.sqrt(), (treated * (1.0 - treated) + base * (1.0 - base) / ratio).sqrt())
            }
        };
        let unexplained = 1.0 - self.covariate_correlation * self.covariate_correlation;
        let root = (z_alpha * null + z_power * alternative) / effect;
        unexplained * root * root / share
    }

    fn treated(&self) -> impl Iterator<Item = f64> {
        self.shares[1..].iter().copied()
    }

    fn check(&self) -> Result<(), DesignError> {
        let within = |what, found: f64, low: f64, high: f64, expected| {
            if found > low && found < high { Ok(()) } else { Err(DesignError::Number { what, expected, found }) }
        };
        if self.shares.len() < 2 {
            return Err(DesignError::Arms { found: self.shares.len() });
        }
        for &share in &self.shares {
            within("an arm's share", share, 0.0, 1.0, "between 0 and 1")?;
        }
        within("the sum of the shares", self.shares.iter().sum(), 1.0 - 1e-9, 1.0 + 1e-9, "1")?;
        within("alpha", self.alpha, 1e-9, 0.5, "between 1e-9 and 0.5")?;
        within("power", self.power, 0.499_999, 0.999_901, "between 0.5 and 0.9999")?;
        within("the correlation", self.covariate_correlation, -1.0, 1.0, "between -1 and 1")?;
        match self.measure {
            Measure::Rate { base } => within("the base rate", base, 0.0, 1.0, "between 0 and 1"),
            Measure::Amount { sd } => within("the standard deviation", sd, 0.0, f64::MAX, "above 0"),
        }
    }

    fn check_effect(&self, found: f64) -> Result<(), DesignError> {
        let wrong = |expected| Err(DesignError::Number { what: "the effect", expected, found });
        if found == 0.0 || !found.is_finite() {
            return wrong("a number other than 0");
        }
        match self.measure {
            Measure::Rate { base } if !(0.0..=1.0).contains(&(base + found)) => wrong("within what the base rate leaves"),
            Measure::Rate { .. } | Measure::Amount { .. } => Ok(()),
        }
    }
}
