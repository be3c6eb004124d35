//! Histograms of tables of several panels against sums over the rows one by one.

use super::*;
use crate::boosting::histogram::{Derived, FixedPoint, Layout, Pair};

/// Columns that fill one panel and part of another, with 2 to 240 values.
const N_COLUMNS: usize = 75;

fn wide(n_rows: usize) -> Dataset {
    let value = |row: usize, column: usize| (row.wrapping_mul(2 * column + 7) / 3 % (2 + 3 * column + column / 2)) as f64;
    let column = |column: usize| (0..n_rows).map(|row| value(row, column).min(239.0)).collect();
    let features = (0..N_COLUMNS).map(|column| number(&format!("x{column}"))).collect();
    dataset(features, (0..N_COLUMNS).map(column).collect(), (0..n_rows).map(|row| (row % 2) as f64).collect())
}

/// Whole gradients and hessians: sums of them are the same in any order.
fn pairs(n_rows: usize) -> Vec<Pair> {
    (0..n_rows).map(|row| [(row % 17) as f32 - 8.0, (row % 5) as f32]).collect()
}

/// Compares the histogram of every `step`th row over some columns with sums of the bins as the table gives them one by one.
fn check(table: &BinnedTable, step: usize, columns: &[usize]) {
    let pairs = pairs(table.n_rows);
    let derived = Derived { pairs: &pairs, fixed: FixedPoint::new(table.n_rows, [8.0, 4.0]) };
    let rows: Vec<u32> = (0..table.n_rows as u32).rev().step_by(step).collect();
    let layout = Layout::new(table, columns);
    let histogram = layout.histogram(&rows, &derived);
    for (place, &column) in columns.iter().enumerate() {
        let mut expected = [(0.0, 0.0, 0); 256];
        for &row in &rows {
            let sums = &mut expected[usize::from(table.bin(column, row))];
            let [gradient, hessian] = pairs[row as usize].map(f64::from);
            *sums = (sums.0 + gradient, sums.1 + hessian, sums.2 + 1);
        }
        let found = layout.sums(&histogram, place, &derived.fixed).map(|sums| (sums.gradient, sums.hessian, sums.n_rows));
        assert_eq!(found, expected, "column {column} of {} rows", rows.len());
    }
}

#[test]
fn histograms_are_the_sums_of_the_rows() {
    let data = wide(40_000);
    let table = BinnedTable::new(&data, &all_rows(&data));
    assert_eq!(table.columns.len(), N_COLUMNS);
    let all: Vec<usize> = (0..N_COLUMNS).collect();
    let some: Vec<usize> = all.iter().copied().filter(|column| column % 3 != 1 && !(16..32).contains(column)).collect();
    for n_threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        // More rows than a run, than a strip, and few.
        pool.install(|| {
            for step in [1, 5, 30, 900] {
                check(&table, step, &all);
                check(&table, step, &some);
            }
            check(&table, 7, &[70]);
        });
    }
}

#[test]
fn bins_are_those_of_the_values_in_every_panel() {
    let data = wide(8_200);
    let table = BinnedTable::new(&data, &all_rows(&data));
    for (column, values) in data.columns.iter().enumerate() {
        let mut distinct = values.clone();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        for (row, value) in values.iter().enumerate() {
            let expected = distinct.partition_point(|other| other < value);
            assert_eq!(usize::from(table.bin(column, row as u32)), expected, "row {row} of column {column}");
        }
    }
}
