//! What stands in for the kernels of x86-64 on other architectures: a proof that cannot exist.

use crate::engine::parts::{Batch, Columns, Part, ROWS};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Absent {}

impl Absent {
    pub(crate) fn detect() -> Option<Self> {
        None
    }

    pub(crate) fn compiled_for<T>(self, _work: impl FnOnce() -> T) -> T {
        match self {}
    }

    pub(crate) fn sum(self, _part: &Part, _row: &[f64]) -> i64 {
        match self {}
    }

    pub(crate) fn add_sums(self, _part: &Part, _batch: Batch<'_>, _columns: &mut Columns, _sums: &mut [i64; ROWS]) {
        match self {}
    }
}
