//! Churn rates of one period as rates of another.

/// The churn over several periods that the same churn in each of them comes to; both are shares from 0 to 1.
///
/// It holds for a base that is replaced by customers like it. The retention of a cohort of new customers falls faster at first and is
/// another number, so the two are never compared.
pub fn churn_over(churn_per_period: f64, periods: f64) -> f64 {
    1.0 - (1.0 - churn_per_period.clamp(0.0, 1.0)).powf(periods.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::churn_over;

    #[test]
    fn months_make_quarters_and_years() {
        let cases = [(0.052, 3.0, 0.148), (0.052, 12.0, 0.473), (0.035, 3.0, 0.101), (0.035, 12.0, 0.348), (0.05, 12.0, 0.460)];
        for (monthly, months, expected) in cases {
            assert!((churn_over(monthly, months) - expected).abs() < 5e-4, "{monthly} over {months}");
        }
        // 5 % a year is 0.43 % a month.
        assert!((churn_over(0.05, 1.0 / 12.0) - 0.0043).abs() < 5e-5);
        assert_eq!(churn_over(0.0, 12.0), 0.0);
    }
}
