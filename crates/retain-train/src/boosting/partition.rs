//! Parts the rows of a leaf, each side in its order, on several threads where there are many.

use rayon::prelude::*;

use super::bins::BinSet;

/// Rows that a thread parts at a time.
const ROWS_PER_TASK: usize = 1 << 14;
/// Rows whose bins are read together.
const ROWS_PER_STRIP: usize = 1 << 10;

/// Moves the rows whose bin is in `left` to the front, both sides in their order, and returns how many they are; `scratch` is as
/// long.
pub(super) fn partition(rows: &mut [u32], scratch: &mut [u32], bin: impl Fn(u32) -> u8 + Sync, left: &BinSet) -> usize {
    let part = |(rows, scratch): (&[u32], &mut [u32])| part_run(rows, scratch, &bin, left);
    let runs = rows.par_chunks(ROWS_PER_TASK).zip(scratch.par_chunks_mut(ROWS_PER_TASK));
    let n_left: Vec<usize> = if rows.len() < 2 * ROWS_PER_TASK {
        rows.chunks(ROWS_PER_TASK).zip(scratch.chunks_mut(ROWS_PER_TASK)).map(part).collect()
    } else {
        runs.map(part).collect()
    };
    let all_left = n_left.iter().sum();
    let (mut left, mut right) = rows.split_at_mut(all_left);
    let mut moves = Vec::with_capacity(n_left.len());
    for (run, n_left) in scratch.chunks(ROWS_PER_TASK).zip(n_left) {
        let (to_left, left_of_others) = left.split_at_mut(n_left);
        let (to_right, right_of_others) = right.split_at_mut(run.len() - n_left);
        (left, right) = (left_of_others, right_of_others);
        moves.push((run, to_left, to_right));
    }
    let copy = |(run, to_left, to_right): (&[u32], &mut [u32], &mut [u32])| {
        let (left, right) = run.split_at(to_left.len());
        to_left.copy_from_slice(left);
        to_right.iter_mut().zip(right.iter().rev()).for_each(|(to, &row)| *to = row);
    };
    if moves.len() > 1 {
        moves.into_par_iter().for_each(copy);
    } else {
        moves.into_iter().for_each(copy);
    }
    all_left
}

/// Writes the rows that go left from the front and the others from the back; returns how many go left.
fn part_run(rows: &[u32], scratch: &mut [u32], bin: &impl Fn(u32) -> u8, left: &BinSet) -> usize {
    let mut bins = [0; ROWS_PER_STRIP];
    let (mut n_left, mut n_right) = (0, 0);
    for rows in rows.chunks(ROWS_PER_STRIP) {
        // In a loop of its own, so short that the processor waits for many rows at once: they lie anywhere in the table.
        bins.iter_mut().zip(rows).for_each(|(to, &row)| *to = bin(row));
        for (&row, &bin) in rows.iter().zip(&bins) {
            let is_left = left.contains(bin);
            // A store whose place depends on the answer, not a branch: the answer cannot be foreseen.
            let to = if is_left { n_left } else { scratch.len() - 1 - n_right };
            scratch[to] = row;
            n_left += usize::from(is_left);
            n_right += usize::from(!is_left);
        }
    }
    n_left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_keep_their_order() {
        for n_rows in [0, 1, 2, 1000, 3 * ROWS_PER_TASK + 5] {
            for divisor in [1, 2, 7, 255] {
                let bin = |row: u32| (row % divisor) as u8;
                let mut only_0 = BinSet::default();
                only_0.insert(0);
                let given: Vec<u32> = (0..n_rows as u32).map(|row| row.wrapping_mul(2_654_435_761)).collect();
                let (mut rows, mut scratch) = (given.clone(), vec![0; n_rows]);
                let n_left = partition(&mut rows, &mut scratch, bin, &only_0);
                let (left, right): (Vec<u32>, Vec<u32>) = given.into_iter().partition(|&row| bin(row) == 0);
                assert_eq!(n_left, left.len());
                assert_eq!(rows, [left, right].concat());
            }
        }
    }
}
