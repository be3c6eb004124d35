//! Reads `[health]`.

use super::health::{Band, Group, Health, Item, MissingPolicy};
use super::reader::Section;
use super::rules_file::RuleReader;
use super::scale::{Scale, Step};
use crate::rule::{Expression, RuleKind};

const KEYS: [&str; 5] = ["name", "missing", "steady_within", "bands", "group"];
const GROUP_KEYS: [&str; 4] = ["id", "name", "weight", "item"];
const ITEM_KEYS: [&str; 8] = ["id", "name", "reads", "max", "optional", "curve", "steps", "words"];
const MISSING: [(&str, MissingPolicy); 4] = [
    ("redistribute", MissingPolicy::Redistribute),
    ("zero", MissingPolicy::Zero),
    ("neutral", MissingPolicy::Neutral),
    ("unknown", MissingPolicy::Unknown),
];

/// Reads the score; what is wrong with it is noted in the file.
pub(super) fn read(section: Section<'_>, rules: &mut RuleReader<'_>) -> Option<Health> {
    section.check_keys(&KEYS);
    let health = Health {
        name: section.required_string("name", "what the score is called, such as `saas-health-a`")?,
        missing: section.word("missing", &MISSING).unwrap_or(MissingPolicy::Redistribute),
        steady_within: section.number("steady_within", 0.0, 100.0).unwrap_or(2.0),
        bands: bands(section),
        groups: section.sections("group").into_iter().filter_map(|group| read_group(group, rules)).collect(),
    };
    check_bands(section, &health.bands);
    let total: f64 = health.groups.iter().map(|group| group.weight).sum();
    if (total - 100.0).abs() > 1e-6 {
        let what = format!("the weights of the groups should add up to 100, found {total}");
        section.wrong("group", what, "change the weights, so that a customer who reaches everything has 100");
    }
    no_id_twice(section, health.groups.iter().map(|group| group.id.as_str()).chain(health.items().map(|item| item.id.as_str())));
    Some(health)
}

fn bands(section: Section<'_>) -> Vec<Band> {
    let band = |band: Section<'_>| {
        band.check_keys(&["id", "from", "name"]);
        let id = band.id()?;
        let from = band.required_number("from", 0.0, 100.0, "the lowest score in the band")?;
        let name = band.name_or(&id);
        Some(Band { id, from, name })
    };
    section.sections("bands").into_iter().filter_map(band).collect()
}

fn check_bands(section: Section<'_>, bands: &[Band]) {
    let fix = "write them from the healthiest on, for example 80, 60, 0";
    if bands.is_empty() {
        section.missing("bands", "the ranges of the score, from the healthiest on");
    } else if bands.windows(2).any(|pair| pair[0].from <= pair[1].from) {
        section.wrong("bands", "each band should begin below the one before it", fix);
    } else if bands.last().is_some_and(|last| last.from != 0.0) {
        section.wrong("bands", "the last band should begin at 0, so that every score has one", fix);
    }
    no_id_twice(section, bands.iter().map(|band| band.id.as_str()));
}

fn read_group(section: Section<'_>, rules: &mut RuleReader<'_>) -> Option<Group> {
    section.check_keys(&GROUP_KEYS);
    let id = section.id()?;
    let weight = section.required_number("weight", 1e-6, 100.0, "the most points that the group gives, of 100")?;
    let items: Vec<Item> = section.sections("item").into_iter().filter_map(|item| read_item(item, rules)).collect();
    if items.is_empty() {
        section.missing("item", "at least one thing that gives points");
    }
    Some(Group { name: section.name_or(&id), id, weight, items })
}

fn read_item(section: Section<'_>, rules: &mut RuleReader<'_>) -> Option<Item> {
    section.check_keys(&ITEM_KEYS);
    let id = section.id()?;
    let scale = read_scale(section)?;
    let by_words = matches!(scale, Scale::Words(_));
    // Other rules may compare the word with texts.
    let kind = if by_words { RuleKind::Text } else { RuleKind::Number };
    let reads = rules.required(section, "reads", kind, "what gives points, such as `features.roi_pct`")?;
    if by_words && !matches!(reads.expression(), Expression::Read(_)) {
        section.wrong("reads", "an item with `words` should read one name", "write one name, such as `features.login_cadence`");
    }
    let highest = scale.highest();
    let max = section.number("max", 1e-6, 1e6).unwrap_or(highest);
    if highest > max || max <= 0.0 {
        let what = format!("`{id}` gives up to {highest} points, its `max` is {max}");
        section.wrong("max", what, "raise `max`, or give fewer points");
    }
    let optional = section.boolean("optional").unwrap_or(false);
    Some(Item { name: section.name_or(&id), id, max, optional, reads, scale })
}

fn read_scale(section: Section<'_>) -> Option<Scale> {
    match (section.has("curve"), section.has("steps"), section.has("words")) {
        (true, false, false) => read_curve(section),
        (false, true, false) => read_steps(section),
        (false, false, true) => read_words(section),
        _ => {
            section.wrong(
                "reads",
                "an item needs one of `curve`, `steps` and `words`",
                "say in one way how a value becomes points",
            );
            None
        }
    }
}

fn read_curve(section: Section<'_>) -> Option<Scale> {
    let anchors = section.pairs("curve")?;
    let rises = anchors.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if anchors.is_empty() || !rises || anchors.iter().any(|anchor| anchor.1 < 0.0) {
        section.wrong(
            "curve",
            "the values of a curve should rise and its points not be below 0",
            "sort the pairs by their first number",
        );
        return None;
    }
    Some(Scale::Curve(anchors))
}

fn read_steps(section: Section<'_>) -> Option<Scale> {
    let limit = |key: &str, step: Section<'_>| step.number(key, f64::MIN, f64::MAX);
    let step = |step: Section<'_>| {
        step.check_keys(&["at_least", "above", "points"]);
        let points = step.required_number("points", 0.0, 1e6, "what reaching the limit gives")?;
        match (limit("at_least", step), limit("above", step)) {
            (Some(limit), None) => Some(Step { limit, above: false, points }),
            (None, Some(limit)) => Some(Step { limit, above: true, points }),
            _ => {
                step.wrong(
                    "points",
                    "a step needs `at_least` or `above`",
                    "write `at_least` where the limit itself counts, else `above`",
                );
                None
            }
        }
    };
    let steps: Vec<Step> = section.sections("steps").into_iter().filter_map(step).collect();
    // The same number may first be passed, then only reached.
    let falls =
        |pair: &[Step]| pair[0].limit > pair[1].limit || (pair[0].limit == pair[1].limit && pair[0].above && !pair[1].above);
    if steps.is_empty() || !steps.windows(2).all(falls) {
        section.wrong("steps", "the limits of steps should fall", "write the highest limit first");
        return None;
    }
    Some(Scale::Steps(steps))
}

fn read_words(section: Section<'_>) -> Option<Scale> {
    let words = section.section("words")?.numbers_by_word();
    if words.is_empty() || words.iter().any(|(_, points)| *points < 0.0) {
        section.wrong("words", "each word should have points, none below 0", "write for example `{ daily = 10, never = 0 }`");
        return None;
    }
    Some(Scale::Words(words))
}

/// Notes every id that is there twice.
fn no_id_twice<'a>(section: Section<'_>, ids: impl Iterator<Item = &'a str>) {
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    for pair in ids.windows(2).filter(|pair| pair[0] == pair[1]) {
        section.wrong("name", format!("the score has `{}` twice", pair[0]), "give each part its own id");
    }
}
