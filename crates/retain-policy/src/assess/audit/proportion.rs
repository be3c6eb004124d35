//! [`Proportion`]: a share of rows with Wilson's interval, honest about rows of the same customer.

use retain_eval::wilson;
use serde::Serialize;

/// A share of rows and the range that the share behind them may lie in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Proportion {
    /// Rows that count.
    pub n_hits: usize,
    /// All rows.
    pub n_rows: usize,
    /// The share; absent without rows.
    pub value: Option<f64>,
    /// Lower end of Wilson's interval; 0 without rows.
    pub low: f64,
    /// Upper end; 1 without rows.
    pub high: f64,
    /// The number of independent rows that would know as much; smaller than `n_rows` where customers have several.
    pub n_effective: f64,
}

/// Whose row is whose, numbered without gaps.
#[derive(Debug)]
pub(in crate::assess) struct Customers {
    idx: Vec<u32>,
    n: usize,
    confidence: f64,
}

impl Customers {
    pub(in crate::assess) fn new(customer: &[u32], confidence: f64) -> Self {
        let mut known = customer.to_vec();
        known.sort_unstable();
        known.dedup();
        let idx = customer.iter().map(|number| known.partition_point(|other| other < number) as u32).collect();
        let confidence = if confidence.is_nan() { 0.95 } else { confidence.clamp(0.5, 0.9999) };
        Self { idx, n: known.len(), confidence }
    }

    /// The position of a row's customer.
    pub(in crate::assess) fn of_row(&self, row_idx: usize) -> usize {
        self.idx[row_idx] as usize
    }

    pub(in crate::assess) fn len(&self) -> usize {
        self.n
    }

    /// The share of the rows for which `answer` is yes, among those for which it is known.
    ///
    /// # Source
    /// Wilson (1927), with the rows divided by the design effect of a ratio over clusters (Kish 1965; Korn and Graubard 1998).
    pub(in crate::assess) fn share(&self, answer: impl Fn(usize) -> Option<bool>) -> Proportion {
        let mut counts = vec![(0_usize, 0_usize); self.n];
        for row_idx in 0..self.idx.len() {
            if let Some(yes) = answer(row_idx) {
                let (hits, rows) = &mut counts[self.of_row(row_idx)];
                *hits += usize::from(yes);
                *rows += 1;
            }
        }
        counts.retain(|&(_, rows)| rows > 0);
        let (n_hits, n_rows) = counts.iter().fold((0, 0), |(a, b), &(hits, rows)| (a + hits, b + rows));
        if n_rows == 0 {
            return Proportion { n_hits, n_rows, value: None, low: 0.0, high: 1.0, n_effective: 0.0 };
        }
        let value = n_hits as f64 / n_rows as f64;
        let n_effective = effective_rows(&counts, value, n_rows as f64);
        let (low, high) = wilson(value, n_effective, self.confidence);
        Proportion { n_hits, n_rows, value: Some(value), low, high, n_effective }
    }
}

fn effective_rows(counts: &[(usize, usize)], rate: f64, n_rows: f64) -> f64 {
    let n_customers = counts.len() as f64;
    if n_customers == n_rows || n_customers == 1.0 || rate == 0.0 || rate == 1.0 {
        return n_customers;
    }
    let square = |&(hits, rows): &(usize, usize)| (hits as f64 - rate * rows as f64).powi(2);
    let variance = counts.iter().map(square).sum::<f64>() * n_customers / (n_customers - 1.0) / (n_rows * n_rows);
    // Rows of one customer may even tell more than strangers; that much is not believed.
    if variance > 0.0 { (rate * (1.0 - rate) / variance).clamp(1.0, n_rows) } else { n_rows }
}

#[cfg(test)]
mod tests {
    use super::Customers;

    #[test]
    fn rows_of_one_customer_count_less() {
        let alone: Vec<u32> = (0..40).collect();
        let answer = |row_idx: usize| Some(row_idx.is_multiple_of(4));
        let apart = Customers::new(&alone, 0.95).share(answer);
        assert_eq!((apart.n_hits, apart.n_rows, apart.n_effective), (10, 40, 40.0));
        // Newcombe (1998) gives Wilson's interval of 10 in 40 as 0.1419 to 0.4019.
        assert!((apart.low - 0.1419).abs() < 1e-4 && (apart.high - 0.4019).abs() < 1e-4, "{apart:?}");
        // The same answer four times over from ten customers is worth ten answers, less the one for their mean.
        let fours: Vec<u32> = (0..40).map(|row_idx| row_idx / 4).collect();
        let together = Customers::new(&fours, 0.95).share(|row_idx| Some((row_idx / 4).is_multiple_of(4)));
        assert_eq!((together.n_hits, together.n_rows), (12, 40));
        assert!((together.n_effective - 9.0).abs() < 1e-9, "{together:?}");
    }

    #[test]
    fn without_rows_nothing_is_known() {
        let none = Customers::new(&[1, 2], 0.95).share(|_| None);
        assert_eq!((none.value, none.low, none.high), (None, 0.0, 1.0));
    }
}
