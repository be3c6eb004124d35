//! What weights do to a fit.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const ALL_ROWS: [(&str, f64); 6] =
    [("rounds", 8.0), ("learning_rate", 0.3), ("min_leaf_rows", 1.0), ("columns", 1.0), ("rows", 1.0), ("leaves", 6.0)];

/// Few distinct values, so that weights and repeated rows have the same bins.
fn coarse(n_rows: usize, seed: u64) -> Dataset {
    let mut data = mixed(n_rows, seed);
    data.columns.truncate(2);
    data.schema = FeatureSchema::new(vec![number("a"), number("b")], None, "churned".into(), "1".into(), None).unwrap();
    data.columns.iter_mut().flatten().for_each(|value| *value = (*value * 6.0).round());
    data
}

/// The rows at these positions, each as often as it is named.
fn chosen(data: &Dataset, row_idxs: &[usize]) -> Dataset {
    let of = |values: &Vec<f64>| row_idxs.iter().map(|&row_idx| values[row_idx]).collect::<Vec<f64>>();
    Dataset {
        weight: data.weight.as_ref().map(of),
        ..dataset(data.schema.features.clone(), data.columns.iter().map(of).collect(), of(&data.target))
    }
}

fn fit_loss(data: &Dataset, loss: Loss) -> MarginModel {
    let context = FitContext { loss, ..CONTEXT };
    Boosting.fit(data, &all_rows(data), &[Configuration::new(&ALL_ROWS)], &context).unwrap().remove(0)
}

proptest! {
    // The same tables each time: of some hundred, one has so many cuts that save the same that the two fits part ways.
    #![proptest_config(ProptestConfig { cases: 12, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn whole_weights_are_repeated_rows(seed in 0u64..1000, weights in proptest::collection::vec(1u8..4, 120)) {
        let data = coarse(120, seed);
        let repeated: Vec<usize> = (0..120).flat_map(|row| std::iter::repeat_n(row, usize::from(weights[row]))).collect();
        let weighted = Dataset { weight: Some(weights.iter().copied().map(f64::from).collect()), ..data.clone() };
        for loss in [Loss::Logistic, Loss::Squared, Loss::Poisson, Loss::Quantile { level: 0.6 }] {
            let (by_weight, by_row) = (fit_loss(&weighted, loss), fit_loss(&chosen(&data, &repeated), loss));
            prop_assert!((by_weight.intercept - by_row.intercept).abs() < 1e-9);
            let apart = data.all_rows().in_order().map(|row| (by_weight.margin(row) - by_row.margin(row)).abs()).sum::<f64>() / 120.0;
            // Rounding may choose another of two cuts that save the same.
            prop_assert!(apart < 0.02, "{loss:?}: {apart}");
        }
    }

    #[test]
    fn rows_of_weight_zero_change_nothing(seed in 0u64..1000, kept in proptest::collection::vec(proptest::bool::ANY, 300)) {
        let mut data = coarse(300, seed);
        data.weight = Some(kept.iter().map(|&kept| if kept { 1.5 } else { 0.0 }).collect());
        let rows: Vec<usize> = (0..300).filter(|&row| kept[row]).collect();
        prop_assert_eq!(fit(&data, &[("learning_rate", 0.3)]), fit(&chosen(&data, &rows), &[("learning_rate", 0.3)]));
    }
}

#[test]
fn weights_move_the_base_rate_and_replace_the_linear_base() {
    let mut data = mixed(400, 30);
    data.weight = Some(data.target.iter().map(|label| 1.0 + 2.0 * label).collect());
    let model = fit(&data, &[("rounds", 0.0), ("base_alpha", 1.0)]);
    let n_positives = data.n_positives() as f64;
    assert!((model.intercept - (3.0 * n_positives / (400.0 - n_positives)).ln()).abs() < 1e-12);
    assert!(model.terms.is_empty());
}

#[test]
fn weights_that_are_none_are_named() {
    let mut data = mixed(50, 31);
    let refused = |data: &Dataset| Boosting.fit(data, &all_rows(data), &[Configuration::new(&[])], &CONTEXT).unwrap_err();
    for wrong in [-1.0, f64::NAN, f64::INFINITY] {
        data.weight = Some((0..50).map(|row| if row == 7 { wrong } else { 1.0 }).collect());
        assert!(matches!(refused(&data), FitError::Weight { row: 7, .. }));
    }
    data.weight = Some(vec![0.0; 50]);
    assert!(matches!(refused(&data), FitError::NoRows { n_rows: 50 }));
}

#[test]
fn enormous_weights_and_tiny_ones_stay_finite() {
    for size in [1e-300, 1e-30, 1e30] {
        let mut data = mixed(400, 32);
        data.weight = Some((0..400).map(|row| if row % 2 == 0 { size } else { 1.0 }).collect());
        let model = fit(&data, &[("rounds", 20.0), ("l2", 0.0), ("min_hessian", 0.0), ("min_leaf_rows", 1.0)]);
        assert!(data.all_rows().in_order().all(|row| model.margin(row).is_finite()));
    }
}
