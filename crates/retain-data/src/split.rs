//! Folds for tables without dates: rows of one group stay together and every fold has its share of positives.

use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

/// Rows to learn from and rows to judge by; positions in the dataset, each list ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// Rows to fit.
    pub train: Vec<usize>,
    /// Rows that the fit does not see.
    pub validate: Vec<usize>,
}

struct Group {
    rows: Vec<usize>,
    n_positives: usize,
}

/// Divides rows into folds; every row validates once, and a group is never divided.
///
/// Groups with positives go, largest first, where the fewest positives are; the others fill up the smallest folds. The
/// seed orders groups of equal size. Group numbers count from 0; there are as many folds as asked for, at least 2, and no more
/// than groups. No fold comes back when there are fewer than two groups.
///
/// # Panics
/// When `target` and `group` differ in length.
pub fn stratified_folds(target: &[f64], group: &[u32], n_folds: usize, seed: u64) -> Vec<Fold> {
    assert_eq!(target.len(), group.len(), "every row has a label and a group");
    let mut groups = collect_groups(target, group);
    let n_folds = n_folds.max(2).min(groups.len());
    if n_folds < 2 {
        return Vec::new();
    }
    groups.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    groups.sort_by_key(|group| std::cmp::Reverse((group.n_positives, group.rows.len())));
    let mut fold_of_row = vec![0_usize; target.len()];
    let mut sizes = vec![(0_usize, 0_usize); n_folds];
    for group in &groups {
        let by_need = |fold: &usize| {
            let (n_positives, n_rows) = sizes[*fold];
            if group.n_positives > 0 { (n_positives, n_rows) } else { (n_rows, n_positives) }
        };
        let chosen = (0..n_folds).min_by_key(by_need).expect("there are at least two folds");
        sizes[chosen].0 += group.n_positives;
        sizes[chosen].1 += group.rows.len();
        group.rows.iter().for_each(|&row| fold_of_row[row] = chosen);
    }
    let side = |fold: usize, validates: bool| (0..target.len()).filter(|&row| (fold_of_row[row] == fold) == validates).collect();
    (0..n_folds).map(|fold| Fold { train: side(fold, false), validate: side(fold, true) }).collect()
}

fn collect_groups(target: &[f64], group: &[u32]) -> Vec<Group> {
    // Sorted by number, then row: no map whose order could differ from run to run.
    let mut rows: Vec<(u32, usize)> = group.iter().copied().zip(0..).collect();
    rows.sort_unstable();
    let same_group = rows.chunk_by(|a, b| a.0 == b.0);
    same_group
        .map(|members| Group {
            rows: members.iter().map(|&(_, row)| row).collect(),
            n_positives: members.iter().filter(|&&(_, row)| target[row] == 1.0).count(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn folds_divide_the_rows_and_never_a_group(
            rows in prop::collection::vec((any::<bool>(), 0_u32..40), 2..300), n_folds in 2_usize..8, seed in any::<u64>(),
        ) {
            let target: Vec<f64> = rows.iter().map(|row| f64::from(u8::from(row.0))).collect();
            let group: Vec<u32> = rows.iter().map(|row| row.1).collect();
            let folds = stratified_folds(&target, &group, n_folds, seed);
            let mut validated: Vec<usize> = folds.iter().flat_map(|fold| fold.validate.clone()).collect();
            validated.sort_unstable();
            prop_assert!(folds.is_empty() || validated == (0..rows.len()).collect::<Vec<_>>());
            for fold in &folds {
                prop_assert!(!fold.validate.is_empty());
                prop_assert!(fold.train.is_sorted() && fold.validate.is_sorted());
                prop_assert_eq!(fold.train.len() + fold.validate.len(), rows.len());
                for &row in &fold.validate {
                    prop_assert!(fold.train.iter().all(|&other| group[other] != group[row]));
                }
            }
        }
    }

    #[test]
    fn single_rows_spread_positives_evenly_and_by_seed() {
        let target: Vec<f64> = (0..1003).map(|row| f64::from(u8::from(row % 7 == 0))).collect();
        let group: Vec<u32> = (0..1003).collect();
        let folds = stratified_folds(&target, &group, 5, 7);
        for fold in &folds {
            let n_positives = fold.validate.iter().filter(|&&row| target[row] == 1.0).count();
            assert!((28..=29).contains(&n_positives), "{n_positives}");
            assert!((200..=201).contains(&fold.validate.len()), "{}", fold.validate.len());
        }
        assert_eq!(folds, stratified_folds(&target, &group, 5, 7));
        assert_ne!(folds, stratified_folds(&target, &group, 5, 8));
    }

    #[test]
    fn fewer_than_two_groups_cannot_be_divided() {
        assert!(stratified_folds(&[], &[], 5, 1).is_empty());
        assert!(stratified_folds(&[1.0, 0.0], &[3, 3], 5, 1).is_empty());
        assert_eq!(stratified_folds(&[1.0, 0.0, 0.0], &[0, 1, 2], 5, 1).len(), 3);
    }
}
