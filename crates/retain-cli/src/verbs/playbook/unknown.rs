//! What a playbook names and nobody has: models that are not published, features that are in no table.
//!
//! The library places what rules of actions, channels and sequences read. What health, signals and segments read is looked for in the
//! text.

use retain_core::nearest;
use retain_policy::playbook::{NamedModel, Place, Playbook, Problem, Severity};

/// A model that cannot be loaded.
pub(super) fn model(playbook: &Playbook, model: &NamedModel, error: &anyhow::Error) -> Problem {
    let text = format!("\"{}", model.address.name);
    let place = find(playbook, |line| position_of_word(line, &text)).unwrap_or_default();
    let what = format!("model `{}`: {error:#}", model.name);
    Problem { place, what, fix: "`retain models list` shows what is published".to_owned(), severity: Severity::Error }
}

/// Every feature that rules read and that is none of `known`.
///
/// In the playbook's own text that is an error. A preset may read more than there is: what it reads then stays unknown, and that is a
/// warning.
pub(super) fn features(playbook: &Playbook, known: &[&str]) -> Vec<Problem> {
    let mut problems = playbook.check_features(known);
    let is_told = |feature: &str| problems.iter().any(|problem| problem.what.ends_with(&format!("`{feature}`")));
    let read = playbook.features();
    let unplaced: Vec<&str> = read.into_iter().filter(|feature| !known.contains(feature) && !is_told(feature)).collect();
    problems.extend(unplaced.into_iter().map(|feature| unknown_feature(playbook, feature, known)));
    problems
}

fn unknown_feature(playbook: &Playbook, feature: &str, known: &[&str]) -> Problem {
    let place = find(playbook, |line| position_of_feature(line, feature)).unwrap_or_default();
    let severity = if place.preset.is_some() { Severity::Warning } else { Severity::Error };
    let fix = match nearest(feature, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "add the column to the table, or remove what reads it".to_owned(),
    };
    Problem { place, what: format!("no model and no table has the feature `{feature}`"), fix, severity }
}

/// The first place in the texts where `position` finds something; columns are counted in letters.
fn find(playbook: &Playbook, position: impl Fn(&str) -> Option<usize>) -> Option<Place> {
    playbook.sources().iter().find_map(|source| {
        let mut lines = source.text.lines().enumerate();
        lines.find_map(|(idx, line)| {
            let column = line[..position(line)?].chars().count() + 1;
            Some(Place { preset: source.preset.clone(), line: idx + 1, column })
        })
    })
}

/// Where a line reads a feature, however that is written.
fn position_of_feature(line: &str, feature: &str) -> Option<usize> {
    let ways = [format!("features.{feature}"), format!("features[\"{feature}\"]"), format!("features['{feature}']")];
    let escaped = format!("features[\\\"{feature}\\\"]");
    ways.iter().chain([&escaped]).find_map(|way| position_of_word(line, way))
}

/// Where a line has this text, not followed by more of the same word.
fn position_of_word(line: &str, text: &str) -> Option<usize> {
    let goes_on = |rest: &str| rest.starts_with(|letter: char| letter.is_alphanumeric() || letter == '_');
    let ends_open = text.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
    let is_whole = |&(at, _): &(usize, &str)| !(ends_open && goes_on(&line[at + text.len()..]));
    line.match_indices(text).find(is_whole).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_found_however_it_is_written() {
        assert_eq!(position_of_feature("when = \"features.tenure_days > features.tenure\"", "tenure"), Some(31));
        assert_eq!(position_of_feature("when = 'features[\"Monthly charges\"] > 3'", "Monthly charges"), Some(8));
        assert_eq!(position_of_feature("when = \"features[\\\"Monthly charges\\\"] > 3\"", "Monthly charges"), Some(8));
        assert_eq!(position_of_feature("when = \"features.tenure_days > 3\"", "tenure"), None);
    }
}
