//! "Did you mean …": the nearest known name.

/// The candidate most like `name`, when one is close enough to be a likely slip.
///
/// Likeness is the Damerau–Levenshtein distance; at most a third of the letters may differ, and at least two may.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance costs length × length; nobody mistypes a name of this size.
    if name.len() > 200 {
        return None;
    }
    let allowed = (name.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= 400)
        .map(|candidate| (strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_its_name_and_a_stranger_does_not() {
        assert_eq!(nearest("horizn_days", ["lead_days", "horizon_days"]), Some("horizon_days"));
        assert_eq!(nearest("Tenure", ["tenure", "gender"]), Some("tenure"));
        assert_eq!(nearest("colour", ["tenure", "gender"]), None);
        assert_eq!(nearest(&"x".repeat(10_000_000), ["tenure"]), None);
    }
}
