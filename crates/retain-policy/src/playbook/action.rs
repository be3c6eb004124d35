//! What can be done for a customer: `[[action]]`.

use retain_core::NO_ACTION;

use super::contact::{Capacity, Channel, Suppression, read_capacity, read_suppressions};
use super::problem::Place;
use super::reader::{Placed, Section, did_you_mean};
use super::rules::{Amount, PlacedRule, Rules};
use super::settings::{MAX_DAYS, Words, read_words};

/// What is believed of an action's effect before any outcome.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    /// Change of the probability of success, from −1 to 1; positive is good.
    pub effect: f64,
    /// How unsure that is.
    pub sd: f64,
    /// How many decisions the belief counts for.
    pub weight: f64,
}

/// Factors of `mode = "pcvl"`; what is absent counts 1.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pcvl {
    /// The probability that the customer accepts; where absent, the learned rate of acceptance.
    pub propensity: Option<Amount>,
    /// How well the action fits the situation.
    pub context: Option<Amount>,
    /// What acceptance is worth.
    pub value: Option<Amount>,
    /// What the business wants.
    pub lever: Option<Amount>,
}

/// One `[[action]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// Its name in rules, decisions and outcomes.
    pub id: String,
    /// Its name for people.
    pub name: Words,
    /// Index into [`ContactPolicy::channels`](super::ContactPolicy::channels); absent where nothing reaches the customer.
    pub channel: Option<usize>,
    /// What taking it costs.
    pub cost: f64,
    /// What it is worth besides its effect on the goal.
    pub value: Option<Amount>,
    /// How often it can be taken in a period, over all customers.
    pub capacity: Option<Capacity>,
    /// It is not repeated for the same customer within so many days.
    pub cooldown_days: f64,
    /// After so many days it is no longer worth doing; by default the playbook's attribution window.
    pub expires_days: f64,
    /// What is believed of its effect.
    pub prior: Prior,
    /// Reasons for leaving that it answers.
    pub answers: Vec<String>,
    /// Whether this customer may have it at all.
    pub eligible: Option<PlacedRule>,
    /// Whether it makes sense for this customer now.
    pub applicable: Option<PlacedRule>,
    /// Whether it is good for this customer.
    pub suitable: Option<PlacedRule>,
    /// Whether it is too costly to be tried out; its floor of exploration is 0.
    pub costly: bool,
    /// When it goes before all others; it still has to pass every filter.
    pub mandatory: Option<PlacedRule>,
    /// Indexes of actions that do not go with it: neither is taken while the other is open. Goes both ways.
    pub excludes: Vec<usize>,
    /// After these outcomes of this action it is not offered again for a time.
    pub suppress: Vec<Suppression>,
    /// Off without being removed.
    pub enabled: bool,
    /// Whether it may be taken apart from the sequences that name it.
    pub alone: bool,
    /// The uplift model's name of it.
    pub treatment: String,
    /// Factors of `mode = "pcvl"`.
    pub pcvl: Pcvl,
    /// Where it stands.
    pub place: Place,
}

/// An action before what it names has been found.
pub(super) struct RawAction {
    pub(super) action: Action,
    pub(super) excludes: Vec<Placed<String>>,
}

const KEYS: [&str; 24] = [
    "id",
    "name",
    "channel",
    "cost",
    "value",
    "capacity",
    "capacity_days",
    "cooldown_days",
    "expires_days",
    "prior",
    "answers",
    "eligible",
    "applicable",
    "suitable",
    "costly",
    "mandatory",
    "excludes",
    "suppress",
    "enabled",
    "alone",
    "treatment",
    "pcvl",
    "description",
    "source",
];

/// What an action needs to know of the rest of the playbook.
pub(super) struct Surroundings<'a> {
    pub(super) rules: &'a mut Rules,
    pub(super) channels: &'a mut Vec<Channel>,
    pub(super) attribution_days: u32,
}

pub(super) fn read_action(id: &str, section: &Section<'_>, around: &mut Surroundings<'_>) -> RawAction {
    section.check_keys(&KEYS);
    if id == NO_ACTION {
        section.wrong("id", format!("`{NO_ACTION}` is the action that is always there"), "take another id");
    }
    let channel = read_channel(section, around.channels);
    let rules = &mut *around.rules;
    let days = |key: &str| section.number(key, 0.0, MAX_DAYS);
    let action = Action {
        id: id.to_owned(),
        name: read_words(section, "name").unwrap_or_else(|| Words { en: id.to_owned(), es: None }),
        channel,
        cost: read_cost(section),
        value: rules.amount(section, "value", -1e12),
        capacity: read_capacity(section),
        cooldown_days: days("cooldown_days").unwrap_or(0.0),
        expires_days: section.number("expires_days", 0.01, MAX_DAYS).unwrap_or(f64::from(around.attribution_days)),
        prior: read_prior(section),
        answers: section.texts("answers").into_iter().map(|answer| answer.value).collect(),
        eligible: rules.condition(section, "eligible"),
        applicable: rules.condition(section, "applicable"),
        suitable: rules.condition(section, "suitable"),
        costly: section.boolean("costly").unwrap_or(false),
        mandatory: rules.condition(section, "mandatory"),
        excludes: Vec::new(),
        suppress: read_suppressions(section, "suppress"),
        enabled: section.boolean("enabled").unwrap_or(true),
        alone: section.boolean("alone").unwrap_or(false),
        treatment: section.text("treatment").unwrap_or_else(|| id.to_owned()),
        pcvl: read_pcvl(section, rules),
        place: section.place(),
    };
    RawAction { action, excludes: section.texts("excludes") }
}

/// What an action costs has to be said: a cost of 0 by silence would make it look free.
fn read_cost(section: &Section<'_>) -> f64 {
    if !section.has("cost") {
        let what = format!("{} says nothing of `cost`, which counts as 0", section.name());
        section.problems().warn(section.place(), what, "add `cost = 0.0` or what it costs".to_owned());
    }
    section.number("cost", 0.0, 1e12).unwrap_or(0.0)
}

fn read_prior(section: &Section<'_>) -> Prior {
    let usual = Prior { effect: 0.01, sd: 0.02, weight: 10.0 };
    let Some(prior) = section.section("prior") else { return usual };
    prior.check_keys(&["effect", "sd", "weight"]);
    Prior {
        effect: prior.number("effect", -1.0, 1.0).unwrap_or(usual.effect),
        sd: prior.number("sd", 1e-6, 1.0).unwrap_or(usual.sd),
        weight: prior.number("weight", 0.1, 1e9).unwrap_or(usual.weight),
    }
}

fn read_pcvl(section: &Section<'_>, rules: &mut Rules) -> Pcvl {
    let Some(factors) = section.section("pcvl") else { return Pcvl::default() };
    factors.check_keys(&["propensity", "context", "value", "lever"]);
    let mut factor = |key: &str| rules.amount(&factors, key, 0.0);
    Pcvl { propensity: factor("propensity"), context: factor("context"), value: factor("value"), lever: factor("lever") }
}

/// The channel's index; one that is declared nowhere gets a place of its own, and is told.
fn read_channel(section: &Section<'_>, channels: &mut Vec<Channel>) -> Option<usize> {
    let id = section.text("channel")?;
    if let Some(known) = channels.iter().position(|channel| channel.id == id) {
        return Some(known);
    }
    let declared: Vec<&str> = channels.iter().filter(|channel| channel.declared).map(|channel| channel.id.as_str()).collect();
    let place = section.place_of("channel");
    let what = format!("channel `{id}` of {} is not declared, so nothing is known of its limits or of consent", section.name());
    let declare = format!("add `[contact.channels.{id}]`");
    // A preset may know channels that this playbook has no use for.
    if declared.is_empty() || section.preset().is_some() {
        section.problems().warn(place.clone(), what, declare);
    } else {
        let fix = format!("{} or {declare}", did_you_mean(&id, declared));
        section.problems().error(place.clone(), what, fix);
    }
    channels.push(Channel { id, limits: Vec::new(), consent: None, quiet: None, capacity: None, declared: false, place });
    Some(channels.len() - 1)
}
