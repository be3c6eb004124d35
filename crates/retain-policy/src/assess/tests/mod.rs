//! Assessment as a whole: what is missing, what comes after what, what is refused.

mod alerts;
mod files;
mod health;
mod measures;

use super::{Assessment, Parsed, Source};
use crate::rule::{Known, Name, Names, Values};

/// An assessment of one file, with the names of its rules.
#[track_caller]
fn parse(text: &str) -> (Assessment, Names) {
    let mut names = Names::default();
    let source = Source { name: "playbook", text, is_preset: false };
    let Parsed { assessment, warnings } =
        Assessment::parse(&[source], &mut names).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert!(warnings.is_empty(), "{warnings:?}");
    (assessment, names)
}

fn with<'a>(names: &Names, given: &[(&str, Known<'a>)]) -> Values<'a> {
    let mut values = Values::new(names);
    for (name, known) in given {
        let slot = names.find(&Name::Feature((*name).to_owned())).unwrap_or_else(|| panic!("no rule reads {name}"));
        values.set(slot, *known);
    }
    values
}
