//! A price that makes a limit last while customers come one by one.

use std::collections::VecDeque;

/// The price follows this many customers; more would be steadier and slower.
const WINDOW: usize = 512;
/// Fewer customers say too little about what there will be; until then the first price holds.
const ENOUGH: usize = 32;

/// Asks for a price that lets through as many as the rest of the period can bear.
///
/// What is left, divided by the customers who should still come, is the share that can be served. The price is what exactly
/// that share of the last 512 customers would have been worth more than, so it follows their worth up and down, needs no step
/// size, and makes up for what came too early or too late.
///
/// # Source
/// The price is the empirical dual solution of the recent past (Agrawal, Wang and Ye 2014), solved anew as the rest of the
/// capacity per customer changes (Jasin 2015).
#[derive(Debug, Clone, PartialEq)]
pub struct Pacer {
    price: f64,
    capacity: f64,
    used: f64,
    n_seen: f64,
    /// Worths as they came, and the same in order.
    recent: VecDeque<f64>,
    sorted: Vec<f64>,
}

/// Numbers that make no pacer.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PacerError {
    /// A number below 0 or none.
    #[error("{what} should be a finite number of at least 0, found {found}")]
    Number {
        /// Which.
        what: &'static str,
        /// What was found.
        found: f64,
    },
    /// A share of the period outside 0 to 1.
    #[error("the elapsed share of the period should be between 0 and 1, found {found}")]
    Elapsed {
        /// What was found.
        found: f64,
    },
}

impl Pacer {
    /// Begins a period at a price, such as the last allocation's, with `capacity` units of calls or money.
    ///
    /// # Errors
    /// [`PacerError::Number`] for numbers below 0 or not finite.
    pub fn new(price: f64, capacity: f64) -> Result<Self, PacerError> {
        let price = checked("the price", price)?;
        let capacity = checked("the capacity", capacity)?;
        Ok(Self { price, capacity, used: 0.0, n_seen: 0.0, recent: VecDeque::new(), sorted: Vec::new() })
    }

    /// What one unit costs now: a customer who is worth more per unit should be served.
    pub fn price(&self) -> f64 {
        self.price
    }

    /// What is left.
    pub fn left(&self) -> f64 {
        (self.capacity - self.used).max(0.0)
    }

    /// Whether this much is left; an action that does not fit must not be taken, whatever it is worth.
    pub fn allows(&self, units: f64) -> bool {
        self.used + units <= self.capacity
    }

    /// Tells of one customer when the share `elapsed` of the period was over; gives the new price.
    ///
    /// `worth` is what one unit would have brought for the customer beyond the best that needs none, before any price, 0 where
    /// it brings nothing; `used` is what was used, 0 for nothing.
    ///
    /// # Errors
    /// [`PacerError`] for a worth or use below 0 or not finite, or `elapsed` outside 0 to 1; the pacer is then unchanged.
    pub fn observe(&mut self, worth: f64, used: f64, elapsed: f64) -> Result<f64, PacerError> {
        let worth = checked("the worth", worth)?;
        let used = checked("the use", used)?;
        if !(0.0..=1.0).contains(&elapsed) {
            return Err(PacerError::Elapsed { found: elapsed });
        }
        self.used += used;
        self.n_seen += 1.0;
        self.remember(worth);
        if self.recent.len() >= ENOUGH {
            let n_to_come = self.n_seen * (1.0 - elapsed) / elapsed.max(f64::MIN_POSITIVE);
            self.price = self.price_of_share(self.left() / n_to_come.max(1.0));
        }
        Ok(self.price)
    }

    fn remember(&mut self, worth: f64) {
        if self.recent.len() == WINDOW {
            let oldest = self.recent.pop_front().unwrap_or(worth);
            let place = self.sorted.partition_point(|other| other.total_cmp(&oldest).is_lt());
            self.sorted.remove(place);
        }
        self.recent.push_back(worth);
        let place = self.sorted.partition_point(|other| other.total_cmp(&worth).is_lt());
        self.sorted.insert(place, worth);
    }

    /// The worth that this share of the recent customers exceeds; 0 where there is enough for all.
    fn price_of_share(&self, share: f64) -> f64 {
        let n = self.sorted.len();
        let served = share * n as f64;
        if served >= n as f64 { 0.0 } else { self.sorted[n - 1 - served as usize] }
    }
}

fn checked(what: &'static str, found: f64) -> Result<f64, PacerError> {
    if (0.0..=f64::MAX).contains(&found) { Ok(found.abs()) } else { Err(PacerError::Number { what, found }) }
}
