use super::super::{Assessment, Problem, ProblemKind, Source};
use super::parse;
use crate::rule::Names;

fn problems(sources: &[Source<'_>]) -> Vec<Problem> {
    Assessment::parse(sources, &mut Names::default()).unwrap_err()
}

/// The only problem of a text: its line, what and how to mend it.
#[track_caller]
fn check(text: &str, line: usize, what: &str, fix: &str) {
    let found = problems(&[Source { name: "playbook", text, is_preset: false }]);
    assert_eq!(found.len(), 1, "{found:#?}");
    let problem = &found[0];
    assert_eq!((problem.line, problem.kind), (line, ProblemKind::Error), "{problem}");
    assert!(problem.what.contains(what) && problem.fix.contains(fix), "{problem}");
}

#[test]
fn slips_are_told_with_their_line_and_a_fix() {
    check("[[signal]]\nid = \"a\"\nwhen = \"features.x <\"\n", 3, "`when`:", "");
    check("[[signal]]\nid = \"a\"\nwhen = \"features.x < 1\"\nseverty = \"P1\"\n", 4, "unknown key `severty`", "`severity`");
    check("[[signal]]\nid = \"a b\"\nwhen = \"features.x < 1\"\n", 2, "cannot be an id", "letters, digits");
    check("[[signal]]\nid = \"a\"\n", 2, "signal needs `when`", "add `when`");
    check("[[trigger]]\nid = \"a\"\nwhen = \"features.x < 1\"\n", 2, "trigger needs `severity`", "`P0`");
    check("[[kpi]]\nid = \"a\"\nstrategy = \"s\"\nunit = \"u\"\nbetter = \"bigger\"\n", 5, "`bigger`", "`lower`, `higher`");
    check("[[badge]]\nid = \"a\"\nwhen = \"true\"\nname = { en = \"A\" }\n", 4, "`name` in badge", "es =");
    check("[signal]\nid = \"a\"\n", 1, "a list of sections", "[[signal]]");
    check("[[capacity]]\nid = \"email\"\nmax = -1\ndays = 30\n", 3, "found `-1`", "a number from 0");
    check("[mean_cost]\namount = 24.0\ncurrency = \"usd\"\n", 3, "currency", "ISO 4217");
    check("signal = [1]\n", 1, "should be sections", "");
    check("= 1\n", 1, "", "TOML 1.0");
}

#[test]
fn a_score_that_does_not_hold_together_is_told() {
    let item = "[[health.group.item]]\nid = \"i\"\nreads = \"features.x\"\n";
    let health = |weight: &str, bands: &str, scale: &str| {
        format!("[health]\nname = \"h\"\nbands = {bands}\n[[health.group]]\nid = \"g\"\nweight = {weight}\n{item}{scale}\n")
    };
    let bands = "[{ id = \"a\", from = 60 }, { id = \"b\", from = 0 }]";
    let curve = "curve = [[0, 0], [1, 1]]";
    let (one, _) = parse(&health("100", bands, curve));
    assert_eq!(one.health.unwrap().bands.len(), 2);
    check(&health("90", bands, curve), 4, "add up to 100, found 90", "change the weights");
    check(&health("100", "[{ id = \"a\", from = 60 }]", curve), 3, "begin at 0", "80, 60, 0");
    check(&health("100", "[{ id = \"a\", from = 0 }, { id = \"b\", from = 0 }]", curve), 3, "below the one before", "");
    let missing = health("100", bands, "");
    let found = problems(&[Source { name: "playbook", text: &missing, is_preset: false }]);
    assert!(found.iter().any(|problem| problem.line == 9 && problem.what.contains("one of `curve`")), "{found:?}");
    check(&health("100", bands, "words = { a = 5 }\nmax = 4"), 11, "gives up to 5 points, its `max` is 4", "raise `max`");
}

#[test]
fn rules_read_only_what_comes_before_them() {
    let late = "[[signal]]\nid = \"a\"\nwhen = \"segments.s\"\n[[segment]]\nid = \"s\"\nwhen = \"features.x > 1\"\n";
    check(late, 2, "`signals.a` reads `segments.s`, which is only answered after it", "the order is health");
    let itself = "[[signal]]\nid = \"a\"\nwhen = \"signals.a\"\n";
    check(itself, 2, "a circle: `signals.a` reads `signals.a`", "");
    let circle = "[[signal]]\nid = \"a\"\nwhen = \"signals.b\"\n[[signal]]\nid = \"b\"\nwhen = \"segments.s\"\n\
                  [[segment]]\nid = \"s\"\nwhen = \"signals.a\"\n";
    let found = problems(&[Source { name: "playbook", text: circle, is_preset: false }]);
    let told = "a circle: `signals.a` reads `signals.b`, which reads `segments.s`, which reads `signals.a`";
    assert!(found.iter().any(|problem| problem.what == told), "{found:#?}");
    check("[[signal]]\nid = \"a\"\nwhen = \"signal_count > 1\"\n", 2, "a circle: `signals.a` reads `signal_count`", "");
}

#[test]
fn what_is_not_there_is_told_and_only_warned_of_in_a_preset() {
    let text = "[[signal]]\nid = \"low\"\nwhen = \"features.x < 1\"\n[[segment]]\nid = \"s\"\nwhen = \"signals.lwo\"\n";
    check(text, 5, "`segments.s` reads `signals.lwo`: there is no signal `lwo`", "did you mean `low`?");
    check("[[segment]]\nid = \"s\"\nwhen = \"health.score < 60\"\n", 2, "there is no health score", "[health]");
    let source = Source { name: "preset", text, is_preset: true };
    let parsed = Assessment::parse(&[source], &mut Names::default()).unwrap();
    assert_eq!(parsed.warnings.len(), 1);
    assert_eq!(parsed.warnings[0].kind, ProblemKind::Warning);
}

#[test]
fn a_template_that_is_named_is_there() {
    let playbook = "[[band_playbook]]\nid = \"a\"\ngoal = \"g\"\nactions = [\"x\"]\ntemplate = \"urgnt\"\n";
    let template = "[[template]]\nid = \"urgent\"\nbody = \"{name}\"\nslots = [\"name\"]\n";
    check(&format!("{playbook}{template}"), 2, "names the template `urgnt`", "did you mean `urgent`?");
    check("[[template]]\nid = \"a\"\nbody = \"x\"\nslots = [\"name\"]\n", 4, "no place `{name}`", "both texts");
    assert_eq!(parse(template).0.templates.len(), 1);
}

#[test]
fn the_playbook_goes_before_its_presets() {
    let preset = "[[signal]]\nid = \"a\"\nwhen = \"features.x < 1\"\n[[signal]]\nid = \"b\"\nwhen = \"features.y < 1\"\n";
    let own = "[[signal]]\nid = \"a\"\nwhen = \"features.x < 5\"\n";
    let preset = Source { name: "preset `p`", text: preset, is_preset: true };
    let own = Source { name: "playbook", text: own, is_preset: false };
    let mut names = Names::default();
    let read = Assessment::parse(&[preset, own], &mut names).unwrap().assessment;
    let rules: Vec<(&str, &str)> = read.signals.iter().map(|signal| (signal.id.as_str(), signal.when.source())).collect();
    assert_eq!(rules, [("a", "features.x < 5"), ("b", "features.y < 1")]);
    let other = Source { name: "preset `q`", text: "[[signal]]\nid = \"b\"\nwhen = \"true\"\n", is_preset: true };
    let found = problems(&[preset, other]);
    assert!(found[0].what.contains("`b` twice, first in preset `p`, line 5"), "{}", found[0]);
    let twice = "[[signal]]\nid = \"a\"\nwhen = \"true\"\n[[signal]]\nid = \"a\"\nwhen = \"true\"\n";
    check(twice, 5, "`a` twice, first in playbook, line 2", "another id");
}

#[test]
fn hostile_files_are_refused_without_harm() {
    let huge = "x".repeat((1 << 20) + 1);
    check(&huge, 1, "at most 1048576 bytes", "divide it");
    let deep = format!("a = {}{}", "[".repeat(50_000), "]".repeat(50_000));
    assert!(!problems(&[Source { name: "playbook", text: &deep, is_preset: false }]).is_empty());
    let many = "[[signal]]\nid = \"a\"\nwhen = \"true\"\n".repeat(501);
    let found = problems(&[Source { name: "playbook", text: &many, is_preset: false }]);
    assert!(found.iter().any(|problem| problem.what.contains("at most 500 entries, found 501")), "{:?}", found.first());
    check("[[signal]]\nid = \"a\"\nwhen = \"true\"\nname = 1e999\n", 4, "", "");
    check("[[kpi]]\nid = \"a\"\nstrategy = \"s\"\nunit = \"u\"\nbetter = \"lower\"\nnow = nan\n", 6, "found `nan`", "");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in "[\\[\\]a-z=\"{}0-9.\n ]{0,200}") {
        let source = Source { name: "playbook", text: &text, is_preset: false };
        let _ = Assessment::parse(&[source], &mut Names::default());
    }

    #[test]
    fn no_piece_of_a_preset_makes_reading_panic(which in 0_usize..38, from in 0_usize..4000, length in 0_usize..2000) {
        let text = crate::presets::all()[which % crate::presets::all().len()].text;
        let start = (from % text.len()..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap();
        let end = ((start + length).min(text.len())..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap();
        let source = Source { name: "playbook", text: &text[start..end], is_preset: false };
        let _ = Assessment::parse(&[source], &mut Names::default());
    }
}
