//! What stands in for the AVX-512 kernels on other architectures: a proof that cannot exist.

use crate::engine::parts::Part;

/// As many as on processors that have the instructions.
pub(crate) const ROWS: usize = 256;

pub(crate) type Columns = Vec<[u8; ROWS]>;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Avx512 {}

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        None
    }

    pub(crate) fn compiled_for<T>(self, _work: impl FnOnce() -> T) -> T {
        match self {}
    }

    pub(crate) fn sum(self, _part: &Part, _row: &[f64]) -> i64 {
        match self {}
    }

    pub(crate) fn add_sums(
        self,
        _part: &Part,
        _rows: &[f64],
        _n_features: usize,
        _columns: &mut Columns,
        _sums: &mut [i64; ROWS],
    ) {
        match self {}
    }
}
