//! [`Scale`]: how a value becomes points.

/// How a value becomes points.
#[derive(Debug, Clone, PartialEq)]
pub enum Scale {
    /// Straight lines between `(value, points)`, values rising; constant outside.
    Curve(Vec<(f64, f64)>),
    /// The points of the first limit that is reached, limits falling; 0 where none is.
    Steps(Vec<Step>),
    /// Points by word, whatever the case of its letters.
    Words(Vec<(String, f64)>),
}

/// One limit of [`Scale::Steps`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The limit.
    pub limit: f64,
    /// Whether the value has to lie above the limit, not only at it.
    pub above: bool,
    /// What reaching it gives.
    pub points: f64,
}

impl Step {
    fn reached(&self, number: f64) -> bool {
        if self.above { number > self.limit } else { number >= self.limit }
    }
}

impl Scale {
    /// The points of a number; none for NaN, or where words are expected.
    pub fn points(&self, number: f64) -> Option<f64> {
        if number.is_nan() {
            return None;
        }
        match self {
            Self::Curve(anchors) => Some(on_curve(anchors, number)),
            Self::Steps(steps) => Some(steps.iter().find(|step| step.reached(number)).map_or(0.0, |step| step.points)),
            Self::Words(_) => None,
        }
    }

    /// The position of a word and its points; none for an unknown word, or where numbers are expected.
    pub fn word(&self, found: &str) -> Option<(usize, f64)> {
        let Self::Words(words) = self else { return None };
        let position = words.iter().position(|(word, _)| word.eq_ignore_ascii_case(found.trim()))?;
        Some((position, words[position].1))
    }

    /// The most points that any value gives.
    pub fn highest(&self) -> f64 {
        let points: Box<dyn Iterator<Item = f64> + '_> = match self {
            Self::Curve(anchors) => Box::new(anchors.iter().map(|&(_, points)| points)),
            Self::Steps(steps) => Box::new(steps.iter().map(|step| step.points)),
            Self::Words(words) => Box::new(words.iter().map(|&(_, points)| points)),
        };
        points.fold(0.0, f64::max)
    }
}

fn on_curve(anchors: &[(f64, f64)], number: f64) -> f64 {
    let after = anchors.partition_point(|&(value, _)| value < number);
    match (after.checked_sub(1).map(|before| anchors[before]), anchors.get(after)) {
        (Some((x0, y0)), Some(&(x1, y1))) => y0 + (y1 - y0) * ((number - x0) / (x1 - x0)),
        (None, Some(&(_, points))) | (Some((_, points)), None) => points,
        (None, None) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::{Scale, Step};

    #[test]
    fn a_curve_meets_its_anchors_and_is_flat_outside() {
        let curve = Scale::Curve(vec![(0.0, 0.0), (2.0, 50.0), (5.0, 100.0)]);
        let cases = [(-1.0, 0.0), (0.0, 0.0), (1.0, 25.0), (2.0, 50.0), (3.5, 75.0), (5.0, 100.0), (9.0, 100.0)];
        for (number, points) in cases {
            assert_eq!(curve.points(number), Some(points), "{number}");
        }
        assert_eq!(curve.points(f64::INFINITY), Some(100.0));
        assert_eq!(curve.points(f64::NEG_INFINITY), Some(0.0));
        assert_eq!(curve.points(f64::NAN), None);
        assert_eq!(curve.word("daily"), None);
    }

    #[test]
    fn a_strict_step_leaves_its_limit_out() {
        let step = |limit, above, points| Step { limit, above, points };
        let steps = Scale::Steps(vec![step(20.0, true, 10.0), step(10.0, false, 7.0), step(5.0, false, 4.0)]);
        let cases = [(20.1, 10.0), (20.0, 7.0), (10.0, 7.0), (9.9, 4.0), (5.0, 4.0), (4.9, 0.0), (-3.0, 0.0)];
        for (number, points) in cases {
            assert_eq!(steps.points(number), Some(points), "{number}");
        }
        assert_eq!(steps.highest(), 10.0);
    }

    #[test]
    fn words_are_found_in_any_case_and_strangers_are_not() {
        let words = Scale::Words(vec![("daily".to_owned(), 10.0), ("never".to_owned(), 0.0)]);
        assert_eq!(words.word("Daily "), Some((0, 10.0)));
        assert_eq!(words.word("never"), Some((1, 0.0)));
        assert_eq!(words.word("quarterly"), None);
        assert_eq!(words.points(1.0), None);
    }
}
