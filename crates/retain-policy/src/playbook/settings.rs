//! What a playbook says of itself and of how it decides: `[playbook]`, `[models]`, `[exploration]`, `[fatigue]`.

use retain_core::{ModelAddress, check_currency};

use super::reader::Section;
use super::rules::{Amount, Rules};
use crate::assess::Language;

/// Longest time that a playbook may speak of, in days.
pub(super) const MAX_DAYS: f64 = 36_500.0;

/// A text for people; what has no Spanish is told in English.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Words {
    /// In English.
    pub en: String,
    /// In Spanish.
    pub es: Option<String>,
}

/// Which outcome counts as success. Effects are changes of its probability, so that positive is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Goal {
    /// The customer stays: `churned` is failure.
    #[default]
    Retain,
    /// The customer accepts or buys: `accepted` or `converted` is success.
    Convert,
    /// The customer comes back to use: `clicked` or `taken` is success.
    Engage,
}

/// How candidates are put in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// By what the action brings beyond doing nothing: effect × value at stake + value − cost − fatigue − price of capacity.
    #[default]
    Incremental,
    /// By propensity × context weight × value × lever, as arbitration in other systems does; 1 is neutral for each.
    Pcvl,
}

/// The `[playbook]` table.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The playbook's name.
    pub name: String,
    /// The currency of every amount, as ISO 4217 writes it.
    pub currency: String,
    /// The language of reasons.
    pub language: Language,
    /// Which outcome counts as success.
    pub goal: Goal,
    /// How candidates are put in order.
    pub mode: Mode,
    /// What one more success is worth.
    pub value_at_stake: Option<Amount>,
    /// From so many days after the decision on, outcomes no longer count.
    pub attribution_days: u32,
}

/// A short name and the model it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedModel {
    /// How rules call it.
    pub name: String,
    /// The model.
    pub address: ModelAddress,
}

/// How the action is drawn among the candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExplorationMethod {
    /// Each by the probability that it is the best; of actions that were tried 50 times and more only 0.4 of what is unsure counts.
    #[default]
    Thompson,
    /// Each the less, the further its value is behind the best.
    InverseGap,
    /// Always the best.
    Greedy,
}

/// The `[exploration]` table.
#[derive(Debug, Clone, PartialEq)]
pub struct Exploration {
    /// How.
    pub method: ExplorationMethod,
    /// Least probability of each eligible action that is not costly.
    pub floor: f64,
    /// For inverse gap weighting, per unit of currency: 0 takes all alike.
    pub gamma: f64,
    /// Share of customers who get no action.
    pub holdout: f64,
    /// Another salt gives another holdout.
    pub holdout_salt: String,
    /// After so many days the holdout is drawn anew; absent for a permanent one.
    pub holdout_period_days: Option<u32>,
}

/// The `[fatigue]` table: what one more contact costs because of the earlier ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fatigue {
    /// Cost for each earlier contact, in the playbook's currency, before it fades.
    pub cost_per_contact: f64,
    /// Days until an earlier contact counts half.
    pub halves_after_days: f64,
}

impl Default for Exploration {
    fn default() -> Self {
        Self {
            method: ExplorationMethod::Thompson,
            floor: 0.01,
            gamma: 1.0,
            holdout: 0.03,
            holdout_salt: "holdout".to_owned(),
            holdout_period_days: None,
        }
    }
}

impl Words {
    /// The text in a language.
    pub fn of(&self, language: Language) -> &str {
        match language {
            Language::English => &self.en,
            Language::Spanish => self.es.as_deref().unwrap_or(&self.en),
        }
    }
}

pub(super) fn read_settings(root: &Section<'_>, rules: &mut Rules) -> Option<Settings> {
    let Some(section) = root.section("playbook") else {
        if !root.has("playbook") {
            let fix = "begin with `[playbook]`, `name = \"…\"` and `currency = \"USD\"`".to_owned();
            root.problems().error(root.place(), "there is no `[playbook]`".to_owned(), fix);
        }
        return None;
    };
    let known = ["name", "currency", "language", "presets", "goal", "value_at_stake", "attribution_days", "mode"];
    section.check_keys(&known);
    let goals = [("retain", Goal::Retain), ("convert", Goal::Convert), ("engage", Goal::Engage)];
    let name = section.required_text("name", "the playbook's name");
    let currency = read_currency(&section);
    let settings = Settings {
        name: name?,
        currency: currency?,
        language: section.word("language", &[("en", Language::English), ("es", Language::Spanish)]).unwrap_or_default(),
        goal: section.word("goal", &goals).unwrap_or_default(),
        mode: section.word("mode", &[("incremental", Mode::Incremental), ("pcvl", Mode::Pcvl)]).unwrap_or_default(),
        value_at_stake: rules.amount(&section, "value_at_stake", 0.0),
        attribution_days: section.whole("attribution_days", 1, MAX_DAYS as u32).unwrap_or(30),
    };
    Some(settings)
}

fn read_currency(section: &Section<'_>) -> Option<String> {
    let currency = section.required_text("currency", "what costs and values are counted in")?;
    match check_currency(&currency) {
        Ok(()) => Some(currency),
        Err(error) => {
            section.wrong("currency", format!("`currency` {error}"), "write the code of ISO 4217");
            None
        }
    }
}

pub(super) fn read_models(root: &Section<'_>) -> Vec<NamedModel> {
    let Some(section) = root.section("models") else { return Vec::new() };
    let mut models = Vec::new();
    for key in section.keys() {
        let Some(text) = section.text(&key.value) else { continue };
        match text.parse() {
            Ok(address) => models.push(NamedModel { name: key.value, address }),
            Err(error) => {
                section.wrong(&key.value, format!("model `{}`: {error}", key.value), "name a model such as `telco-churn`");
            }
        }
    }
    models
}

pub(super) fn read_exploration(root: &Section<'_>) -> Exploration {
    let usual = Exploration::default();
    let Some(section) = root.section("exploration") else { return usual };
    section.check_keys(&["method", "floor", "gamma", "holdout", "holdout_salt", "holdout_period_days"]);
    let methods = [
        ("thompson", ExplorationMethod::Thompson),
        ("inverse_gap", ExplorationMethod::InverseGap),
        ("none", ExplorationMethod::Greedy),
    ];
    let exploration = Exploration {
        method: section.word("method", &methods).unwrap_or_default(),
        floor: section.number("floor", 0.0, 0.5).unwrap_or(usual.floor),
        gamma: section.number("gamma", 0.0, 1e9).unwrap_or(usual.gamma),
        holdout: section.number("holdout", 0.0, 0.5).unwrap_or(usual.holdout),
        holdout_salt: section.text("holdout_salt").unwrap_or(usual.holdout_salt),
        holdout_period_days: section.whole("holdout_period_days", 1, MAX_DAYS as u32),
    };
    warn_of_blindness(&section, &exploration);
    exploration
}

/// What learns nothing is allowed, and said.
fn warn_of_blindness(section: &Section<'_>, exploration: &Exploration) {
    let problems = section.problems();
    if exploration.holdout == 0.0 {
        let fix = "set `holdout` to 0.02 to 0.05".to_owned();
        problems.warn(
            section.place_of("holdout"),
            "without a holdout nobody can say what all actions together bring".to_owned(),
            fix,
        );
    }
    let greedy = exploration.method == ExplorationMethod::Greedy;
    if greedy {
        let what = "`method = \"none\"` always takes the best, so effects of the others cannot be learned".to_owned();
        problems.warn(section.place_of("method"), what, "use `thompson`".to_owned());
    }
    if !greedy && exploration.floor == 0.0 {
        let what =
            "`floor = 0` lets probabilities come as near to 0 as they like, and their weights grow without bound".to_owned();
        problems.warn(section.place_of("floor"), what, "set `floor` to 0.01".to_owned());
    }
    if section.has("gamma") && exploration.method != ExplorationMethod::InverseGap {
        let what = "`gamma` is read by `method = \"inverse_gap\"` alone".to_owned();
        problems.warn(section.place_of("gamma"), what, "remove it".to_owned());
    }
}

pub(super) fn read_fatigue(root: &Section<'_>) -> Fatigue {
    let none = Fatigue { cost_per_contact: 0.0, halves_after_days: 7.0 };
    let Some(section) = root.section("fatigue") else { return none };
    section.check_keys(&["cost_per_contact", "halves_after_days"]);
    Fatigue {
        cost_per_contact: section.number("cost_per_contact", 0.0, 1e12).unwrap_or(0.0),
        halves_after_days: section.number("halves_after_days", 0.01, MAX_DAYS).unwrap_or(7.0),
    }
}

/// A text for people: one text, or `{ en = "…", es = "…" }`.
pub(super) fn read_words(section: &Section<'_>, key: &str) -> Option<Words> {
    if section.is_text(key) {
        return section.text(key).map(|en| Words { en, es: None });
    }
    let words = section.section(key)?;
    words.check_keys(&["en", "es"]);
    Some(Words { en: words.required_text("en", "the English text")?, es: words.text("es") })
}
