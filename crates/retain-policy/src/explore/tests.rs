use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;

fn beliefs(numbers: &[(f64, f64)]) -> Vec<Normal> {
    numbers.iter().map(|&(mean, sd)| Normal::new(mean, sd).unwrap()).collect()
}

#[track_caller]
fn check_best(numbers: &[(f64, f64)], expected: &[f64]) {
    let found = best_probabilities(&beliefs(numbers));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 2e-7, "{numbers:?}: {found} is not {expected}");
    }
}

/// The probability that a normal number of this mean and spread is above 0.
fn above(mean: f64, sd: f64) -> f64 {
    1.0 - Normal::new(mean, sd).unwrap().below_zero()
}

#[test]
fn two_numbers_have_the_closed_form() {
    for (a, b) in [((0.0, 1.0), (0.3, 2.0)), ((5.0, 0.01), (5.01, 3.0)), ((-2.0, 1e-6), (-2.0, 1.0)), ((1e6, 3.0), (1e6, 4.0))] {
        let a_is_best = above(a.0 - b.0, f64::hypot(a.1, b.1));
        check_best(&[a, b], &[a_is_best, 1.0 - a_is_best]);
    }
}

#[test]
fn equal_numbers_are_equally_often_best() {
    for n in [1, 2, 3, 20, 200] {
        check_best(&vec![(3.0, 0.7); n], &vec![1.0 / n as f64; n]);
        check_best(&vec![(3.0, 0.0); n], &vec![1.0 / n as f64; n]);
    }
}

#[test]
fn certain_numbers_stop_the_others() {
    let third = above(1.0, 2.0);
    check_best(&[(0.0, 0.0), (-1.0, 0.0), (1.0, 2.0)], &[1.0 - third, 0.0, third]);
    check_best(&[(0.0, 0.0), (0.0, 0.0), (-40.0, 2.0)], &[0.5, 0.5, 0.0]);
    check_best(&[(0.0, 0.0), (40.0, 2.0)], &[0.0, 1.0]);
    assert!(best_probabilities(&[]).is_empty());
}

#[test]
fn far_apart_spreads_agree_with_fine_integration() {
    let numbers = [(0.0, 1.0), (0.5, 0.001), (0.4, 0.1), (-3.0, 10.0), (0.2, 0.5), (0.501, 0.0005)];
    let mut expected = [0.0; 6];
    // One step of 2e-5 everywhere: fine for the narrowest number, slow and simple.
    for step in 0..3_500_000 {
        let x = -4.0 + 2e-5 * (f64::from(step) + 0.5);
        let below: Vec<f64> = numbers.iter().map(|&(mean, sd)| above(x - mean, sd)).collect();
        for (idx, &(mean, sd)) in numbers.iter().enumerate() {
            let z: f64 = (x - mean) / sd;
            let density = (-z * z / 2.0).exp() / (std::f64::consts::TAU.sqrt() * sd);
            let others: f64 = below.iter().enumerate().filter(|(other, _)| *other != idx).map(|(_, below)| below).product();
            expected[idx] += 2e-5 * density * others;
        }
    }
    check_best(&numbers, &expected);
}

#[test]
fn extreme_beliefs_still_give_probabilities() {
    let tiny_and_huge: Vec<(f64, f64)> = (-300..300).step_by(20).map(|power| (0.0, 10_f64.powi(power))).collect();
    for numbers in [
        tiny_and_huge,
        vec![(1e300, 1e-300), (-1e300, 1e300)],
        vec![(0.0, 1e-310), (0.0, 5e-324)],
        vec![(0.0, 1e-289), (0.0, 1.0)],
        vec![(4e307, 1e306), (-4e307, 1e306), (0.0, 0.0)],
    ] {
        let found = thompson(&beliefs(&numbers), 0.01);
        assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{found:?}");
        assert!(found.iter().all(|probability| (0.0..=1.0).contains(probability)), "{found:?}");
    }
    for (mean, sd) in [(f64::NAN, 1.0), (0.0, -1.0), (f64::INFINITY, 1.0), (0.0, f64::NAN), (0.0, f64::INFINITY)] {
        assert!(Normal::new(mean, sd).is_err());
    }
}

#[test]
fn floors_are_kept_and_the_rest_is_shared() {
    let values = beliefs(&[(0.0, 0.0), (100.0, 1.0), (-100.0, 1.0)]);
    assert_eq!(thompson(&values, 0.05), [0.05, 0.05 + (1.0 - 0.05 * 3.0), 0.05]);
    let mixed = with_floors(&best_probabilities(&values), &[0.01, 0.01, 0.0]);
    assert_eq!((mixed[0], mixed[2]), (0.01, 0.0));
    for floor in [0.5, 7.0, f64::INFINITY] {
        assert!(thompson(&values, floor).iter().all(|probability| (probability - 1.0 / 3.0).abs() < 1e-15));
    }
    assert_eq!(thompson(&values, f64::NAN), [0.0, 1.0, 0.0]);
    assert_eq!(thompson(&values, -1.0), [0.0, 1.0, 0.0]);
}

#[test]
fn inverse_gaps_are_the_formula() {
    let found = inverse_gap(&[1.0, 3.0, 2.5], 10.0, 0.0);
    assert_eq!(found, [1.0 / 23.0, 1.0 - (1.0 / 23.0 + 1.0 / 8.0), 1.0 / 8.0]);
    let tied = inverse_gap(&[3.0, 3.0, 2.0], 7.0, 0.0);
    assert_eq!((tied[0], tied[2]), (0.45, 0.1));
    assert_eq!(inverse_gap(&[1.0, 2.0, 3.0, 4.0], 0.0, 0.0), [0.25; 4]);
    assert_eq!(inverse_gap(&[f64::NAN, 1.0, f64::INFINITY], 1.0, 0.1)[1], 0.1 + (1.0 - 0.1 * 3.0));
    assert_eq!(inverse_gap(&[f64::NAN, f64::NAN], 1.0, 0.1), [0.5, 0.5]);
    assert!(inverse_gap(&[], 1.0, 0.1).is_empty());
}

#[test]
fn draws_follow_the_probabilities() {
    let values = beliefs(&[(0.0, 0.0), (0.5, 1.0), (-0.5, 2.0), (0.3, 0.4), (-9.0, 0.1), (0.2, 1.5)]);
    for probabilities in [thompson(&values, 0.01), inverse_gap(&[0.0, 0.5, -0.5, 0.3, -9.0, 0.2], 4.0, 0.01)] {
        let mut generator = Xoshiro256PlusPlus::seed_from_u64(11);
        let mut counts = [0.0; 6];
        for _ in 0..200_000 {
            counts[draw(&probabilities, generator.random())] += 1.0;
        }
        let chi_square: f64 = counts
            .iter()
            .zip(&probabilities)
            .map(|(count, probability)| (count - 200_000.0 * probability).powi(2) / (200_000.0 * probability))
            .sum();
        // The 99.9 % point of chi-square with 5 degrees of freedom.
        assert!(chi_square < 20.52, "{chi_square}: {counts:?} of {probabilities:?}");
    }
}

#[test]
fn the_best_of_drawn_numbers_is_as_often_best_as_said() {
    let numbers = [(0.0, 1.0), (0.5, 0.2), (-0.5, 2.0), (0.3, 0.4)];
    let probabilities = best_probabilities(&beliefs(&numbers));
    let mut generator = Xoshiro256PlusPlus::seed_from_u64(3);
    let mut counts = [0.0; 4];
    for _ in 0..200_000 {
        let mut normal = || {
            let radius = (-2.0 * (1.0 - generator.random::<f64>()).ln()).sqrt();
            radius * (std::f64::consts::TAU * generator.random::<f64>()).cos()
        };
        let drawn: Vec<f64> = numbers.iter().map(|&(mean, sd)| mean + sd * normal()).collect();
        let best = (0..4).max_by(|&a, &b| drawn[a].total_cmp(&drawn[b])).unwrap();
        counts[best] += 1.0;
    }
    let chi_square: f64 =
        counts.iter().zip(&probabilities).map(|(count, p)| (count - 200_000.0 * p).powi(2) / (200_000.0 * p)).sum();
    // The 99.9 % point of chi-square with 3 degrees of freedom.
    assert!(chi_square < 16.27, "{chi_square}");
}

#[test]
fn an_impossible_action_is_never_drawn() {
    assert_eq!(draw(&[0.0, 0.5, 0.5, 0.0], 0.0), 1);
    assert_eq!(draw(&[0.0, 0.5, 0.499_999, 0.0], 0.999_999_9), 2);
    assert_eq!(draw(&[], 0.3), 0);
    assert_eq!(draw(&[0.2, 0.8], f64::NAN), 1);
}
