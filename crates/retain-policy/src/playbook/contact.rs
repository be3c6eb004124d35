//! How often and when customers may be contacted: `[contact]`.

use std::str::FromStr;

use retain_core::OutcomeEvent;

use super::problem::Place;
use super::reader::{Section, did_you_mean, shorten};
use super::rules::{PlacedRule, Rules};
use super::settings::MAX_DAYS;

/// Most channels of a playbook.
const MAX_CHANNELS: usize = 200;

/// Most limits of one channel, or of all together.
const MAX_LIMITS: usize = 20;

/// At most so many contacts in a rolling window.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// Length of the window, back from now.
    pub days: f64,
    /// Most contacts inside it.
    pub max: u32,
    /// Where it stands.
    pub place: Place,
}

/// How much of something there is in a period, over all customers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    /// How often.
    pub count: u32,
    /// Length of the period.
    pub days: f64,
}

/// For so many days after an outcome, nothing is offered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suppression {
    /// After which.
    pub after: OutcomeEvent,
    /// For how long.
    pub days: f64,
}

/// A way to reach customers.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// Its name, as actions call it.
    pub id: String,
    /// Limits of this channel alone.
    pub limits: Vec<Limit>,
    /// Whether the customer has agreed to it; nothing to agree to where absent.
    pub consent: Option<PlacedRule>,
    /// When it is silent.
    pub quiet: Option<PlacedRule>,
    /// How much of it there is for all customers together.
    pub capacity: Option<Capacity>,
    /// Whether the playbook declares it; else an action alone names it.
    pub declared: bool,
    /// Where it stands.
    pub place: Place,
}

/// The `[contact]` table.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContactPolicy {
    /// Limits over all channels together.
    pub overall: Vec<Limit>,
    /// After these outcomes of any action nothing at all is offered.
    pub suppress: Vec<Suppression>,
    /// When every channel is silent.
    pub quiet: Option<PlacedRule>,
    /// The channels, those that are declared first.
    pub channels: Vec<Channel>,
}

/// Reads the tables of the playbook and its presets; what comes first wins, channel by channel.
pub(super) fn read_contact(roots: &[Section<'_>], rules: &mut Rules) -> ContactPolicy {
    let mut policy = ContactPolicy::default();
    let sections: Vec<Section<'_>> = roots.iter().filter_map(|root| root.section("contact")).collect();
    for section in &sections {
        section.check_keys(&["overall", "suppress", "quiet", "channels"]);
        read_channels(section, &mut policy.channels, rules);
    }
    let first = |key: &str| sections.iter().find(|section| section.has(key));
    policy.overall = first("overall").map(|section| read_limits(section, "overall")).unwrap_or_default();
    policy.suppress = first("suppress").map(|section| read_suppressions(section, "suppress")).unwrap_or_default();
    policy.quiet = first("quiet").and_then(|section| rules.condition(section, "quiet"));
    policy
}

fn read_channels(contact: &Section<'_>, channels: &mut Vec<Channel>, rules: &mut Rules) {
    let Some(table) = contact.section("channels") else { return };
    for key in table.keys() {
        if channels.len() == MAX_CHANNELS {
            let what = format!("a playbook has at most {MAX_CHANNELS} channels");
            contact.problems().error(key.place, what, "remove what is not used".to_owned());
            return;
        }
        let Some(section) = table.section(&key.value) else { continue };
        if channels.iter().any(|channel| channel.id == key.value) {
            continue;
        }
        section.check_keys(&["limits", "consent", "quiet", "capacity", "capacity_days"]);
        channels.push(Channel {
            limits: read_limits(&section, "limits"),
            consent: rules.condition(&section, "consent"),
            quiet: rules.condition(&section, "quiet"),
            capacity: read_capacity(&section),
            declared: true,
            id: key.value,
            place: key.place,
        });
    }
}

fn read_limits(section: &Section<'_>, key: &str) -> Vec<Limit> {
    let read = |limit: Section<'_>| {
        limit.check_keys(&["days", "max"]);
        let place = limit.place();
        for needed in ["days", "max"].into_iter().filter(|needed| !limit.has(needed)) {
            let what = format!("{} of `{key}` says nothing of `{needed}`", limit.name());
            limit.problems().error(place.clone(), what, "write a limit as `{ days = 7, max = 3 }`".to_owned());
        }
        Some(Limit { days: limit.number("days", 0.01, MAX_DAYS)?, max: limit.whole("max", 0, 1_000_000)?, place })
    };
    let limits = section.sections(key, "limit");
    if limits.len() > MAX_LIMITS {
        section.wrong(
            key,
            format!("`{key}` has at most {MAX_LIMITS} limits, found {}", limits.len()),
            "remove what others keep already",
        );
    }
    limits.into_iter().take(MAX_LIMITS).filter_map(read).collect()
}

/// `capacity = 450` with `capacity_days = 30`.
pub(super) fn read_capacity(section: &Section<'_>) -> Option<Capacity> {
    let days = section.number("capacity_days", 0.01, MAX_DAYS).unwrap_or(30.0);
    if !section.has("capacity") {
        if section.has("capacity_days") {
            let what = format!("`capacity_days` of {} stands without `capacity`", section.name());
            section.wrong("capacity_days", what, "add `capacity`, or remove it");
        }
        return None;
    }
    let count = section.whole("capacity", 0, u32::MAX)?;
    if count == 0 {
        let what = format!("`capacity = 0` keeps {} from ever being used", section.name());
        section.problems().warn(section.place_of("capacity"), what, "set `enabled = false`, or a capacity".to_owned());
    }
    Some(Capacity { count, days })
}

/// `suppress = { rejected = 90 }`.
pub(super) fn read_suppressions(section: &Section<'_>, key: &str) -> Vec<Suppression> {
    let Some(table) = section.section(key) else { return Vec::new() };
    let mut suppressions = Vec::new();
    for name in table.keys() {
        let Ok(after) = OutcomeEvent::from_str(&name.value) else {
            let what = format!("`{}` in `{key}` of {} is no outcome", shorten(&name.value), section.name());
            let fix = did_you_mean(&name.value, OutcomeEvent::ALL.map(OutcomeEvent::as_str));
            section.problems().error(name.place, what, fix);
            continue;
        };
        suppressions.extend(table.number(&name.value, 0.01, MAX_DAYS).map(|days| Suppression { after, days }));
    }
    suppressions
}
