//! Numbers of one chunk of a column, as narrow as they allow: every one comes back to its last bit.

/// Numbers, of which NaN means that there is none.
#[derive(Debug)]
pub(super) enum Packed {
    /// The same in all rows.
    Same(f64),
    /// Whole numbers in some unit, as what they are above the least of them; the largest word means that there is none.
    Bytes(Unit, Box<[u8]>),
    Shorts(Unit, Box<[u16]>),
    Words(Unit, Box<[u32]>),
    /// Numbers that were single to begin with.
    Singles(Box<[f32]>),
    Doubles(Box<[f64]>),
}

/// What whole numbers above nothing mean: `(least + above) / divisor`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    least: f64,
    divisor: f64,
}

/// Whole numbers, and prices with one to three decimals: a division by these gives the double that their text would.
const DIVISORS: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];
/// Whole numbers up to here are exact.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

impl Packed {
    pub(super) fn of(numbers: &[f64]) -> Self {
        let first = numbers.first().copied().unwrap_or(f64::NAN);
        if numbers.iter().all(|&number| is_same(number, first)) {
            return Self::Same(first);
        }
        let whole = DIVISORS.iter().find_map(|&divisor| pack_whole(numbers, divisor));
        whole.unwrap_or_else(|| {
            if numbers.iter().all(|&number| is_same(f64::from(number as f32), number)) {
                return Self::Singles(numbers.iter().map(|&number| number as f32).collect());
            }
            Self::Doubles(numbers.into())
        })
    }

    /// The number of a row.
    ///
    /// # Panics
    /// When there is no such row.
    pub(super) fn get(&self, row: usize) -> f64 {
        match self {
            Self::Same(number) => *number,
            Self::Bytes(unit, above) => unit.number(u32::from(above[row]), u32::from(u8::MAX)),
            Self::Shorts(unit, above) => unit.number(u32::from(above[row]), u32::from(u16::MAX)),
            Self::Words(unit, above) => unit.number(above[row], u32::MAX),
            Self::Singles(numbers) => f64::from(numbers[row]),
            Self::Doubles(numbers) => numbers[row],
        }
    }

    /// Bytes that they take beside the enum itself.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Self::Same(_) => 0,
            Self::Bytes(_, above) => size_of_val(&**above),
            Self::Shorts(_, above) => size_of_val(&**above),
            Self::Words(_, above) => size_of_val(&**above),
            Self::Singles(numbers) => size_of_val(&**numbers),
            Self::Doubles(numbers) => size_of_val(&**numbers),
        }
    }
}

/// The same bits, or both no number.
fn is_same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

fn pack_whole(numbers: &[f64], divisor: f64) -> Option<Packed> {
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for &number in numbers.iter().filter(|number| !number.is_nan()) {
        let whole = (number * divisor).round();
        // Zero with a sign would lose it.
        let exact = whole.abs() <= MAX_WHOLE && (whole / divisor).to_bits() == number.to_bits();
        if !exact || (whole == 0.0 && whole.is_sign_negative()) {
            return None;
        }
        (least, most) = (least.min(whole), most.max(whole));
    }
    let unit = Unit { least, divisor };
    let above = numbers.iter().map(|&number| (!number.is_nan()).then(|| (number * divisor).round() - least));
    Some(match most - least {
        range if range < f64::from(u8::MAX) => {
            Packed::Bytes(unit, above.map(|above| above.map_or(u8::MAX, |above| above as u8)).collect())
        }
        range if range < f64::from(u16::MAX) => {
            Packed::Shorts(unit, above.map(|above| above.map_or(u16::MAX, |above| above as u16)).collect())
        }
        range if range < f64::from(u32::MAX) => {
            Packed::Words(unit, above.map(|above| above.map_or(u32::MAX, |above| above as u32)).collect())
        }
        _ => return None,
    })
}

impl Unit {
    fn number(self, above: u32, none: u32) -> f64 {
        if above == none { f64::NAN } else { (self.least + f64::from(above)) / self.divisor }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(numbers: &[f64], n_bytes: usize) {
        let packed = Packed::of(numbers);
        let back: Vec<u64> = (0..numbers.len()).map(|row| packed.get(row).to_bits()).collect();
        assert_eq!(back, numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>(), "{packed:?}");
        assert_eq!(packed.memory_bytes(), n_bytes, "{packed:?}");
    }

    #[test]
    fn numbers_come_back_from_the_narrowest_form() {
        check(&[], 0);
        check(&[f64::NAN, f64::NAN], 0);
        check(&[7.5, 7.5, 7.5], 0);
        check(&[0.0, 254.0, f64::NAN], 3);
        check(&[-100.0, 154.0], 2);
        check(&[0.0, 255.0], 4);
        check(&[19_700.0, 20_300.0, f64::NAN], 6);
        check(&[0.0, 4_294_967_294.0], 8);
        check(&[0.0, 4_294_967_295.0], 8 + 8);
        check(&[29.85, 56.95, 108.15, f64::NAN], 2 * 4);
        check(&[0.1, 0.2, 0.7], 3);
        check(&[f64::from(0.1_f32), f64::from(1e-3_f32)], 8);
        check(&[0.1 + 0.2, 1.0], 16);
    }

    #[test]
    fn what_only_a_double_holds_is_held_in_one() {
        check(&[-0.0, 1.0], 8);
        check(&[-0.0, 0.1], 16);
        check(&[f64::INFINITY, 0.1], 16);
        check(&[f64::MAX, f64::MIN_POSITIVE], 16);
        check(&[9_007_199_254_740_996.0, 1.0], 16);
    }

    proptest! {
        #[test]
        fn every_number_comes_back(numbers in prop::collection::vec(
            prop_oneof![any::<f64>(), Just(f64::NAN), (-1e6..1e6_f64).prop_map(|x| (x * 100.0).round() / 100.0), (-300_i32..300).prop_map(f64::from)],
            0..50,
        )) {
            let packed = Packed::of(&numbers);
            for (row, number) in numbers.iter().enumerate() {
                prop_assert!(is_same(packed.get(row), *number), "{packed:?} {row} {number}");
            }
        }
    }
}
