//! Which instructions evaluate a model, chosen once for it.

#[cfg(target_arch = "x86_64")]
use crate::engine::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use crate::engine::avx512::Avx512;
#[cfg(not(target_arch = "x86_64"))]
use crate::engine::no_x86::{Absent as Avx2, Absent as Avx512};
use crate::engine::parts::{Batch, Columns, Part, ROWS};
use crate::engine::plain;

/// Which instructions evaluate a model; all give the same bits.
///
/// Each is an upper limit: a processor that lacks the instructions takes the next kernel below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// What this processor does best; today AVX-512 with byte permutations, where it is there.
    Best,
    /// AVX2.
    Avx2,
    /// What every processor does.
    Portable,
}

/// The instructions that a kernel comes down to on this processor, with the proof that they exist.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Instructions {
    Portable,
    Avx2(Avx2),
    Avx512(Avx512),
}

impl Instructions {
    pub(crate) fn detect(kernel: Kernel) -> Self {
        let avx512 = || Avx512::detect().map(Self::Avx512);
        let avx2 = || Avx2::detect().map(Self::Avx2);
        let found = match kernel {
            Kernel::Best => avx512().or_else(avx2),
            Kernel::Avx2 => avx2(),
            Kernel::Portable => None,
        };
        found.unwrap_or(Self::Portable)
    }

    /// The sum of the part's trees for one row, in units.
    pub(crate) fn sum(self, part: &Part, row: &[f64]) -> i64 {
        match self {
            Self::Portable => plain::sum(part, row),
            Self::Avx2(proof) => proof.sum(part, row),
            Self::Avx512(proof) => proof.sum(part, row),
        }
    }

    /// Adds the sums of the part's trees to `sums`, for a batch.
    pub(crate) fn add_sums(self, part: &Part, batch: Batch<'_>, columns: &mut Columns, sums: &mut [i64; ROWS]) {
        match self {
            Self::Portable => plain::add_sums(part, batch, columns, sums),
            Self::Avx2(proof) => proof.add_sums(part, batch, columns, sums),
            Self::Avx512(proof) => proof.add_sums(part, batch, columns, sums),
        }
    }
}
