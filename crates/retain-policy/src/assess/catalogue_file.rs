//! Reads the tables of [`super::catalogue`].

use super::catalogue::{BandPlaybook, Capacity, Cause, CauseKind, Kpi, MeanCost, Offer, OfferKind, Referral, Template};
use super::reader::Section;
use super::rules_file::{Entry, RuleReader};
use super::text::Text;
use crate::rule::{Rule, RuleKind};

/// The largest number that a target may be.
const LARGEST: f64 = 1e15;

impl Entry for Referral {
    const KEY: &'static str = "referral";

    fn id(&self) -> &str {
        &self.id
    }

    fn rules(&self) -> Vec<&Rule> {
        self.eligible.iter().collect()
    }

    fn read(section: Section<'_>, rules: &mut RuleReader<'_>) -> Option<Self> {
        section.check_keys(&["id", "name", "eligible", "referrer", "referred", "targets"]);
        let id = section.id()?;
        Some(Self {
            name: section.name_or(&id),
            id,
            eligible: rules.optional(section, "eligible", RuleKind::Condition),
            referrer: section.text_list("referrer"),
            referred: section.text_list("referred"),
            targets: section.text_list("targets"),
        })
    }
}

impl Entry for Offer {
    const KEY: &'static str = "offer";

    fn id(&self) -> &str {
        &self.id
    }

    fn read(section: Section<'_>, _: &mut RuleReader<'_>) -> Option<Self> {
        section.check_keys(&["id", "name", "kind", "trigger", "timing", "benefit", "terms"]);
        let id = section.id()?;
        let kinds = [("upsell", OfferKind::Upsell), ("cross_sell", OfferKind::CrossSell), ("expansion", OfferKind::Expansion)];
        Some(Self {
            name: section.name_or(&id),
            id,
            kind: required(section, "kind", "`upsell`, `cross_sell` or `expansion`")
                .and_then(|()| section.word("kind", &kinds))?,
            trigger: required_text(section, "trigger", "what calls for the offer, in words")?,
            timing: section.text("timing"),
            benefit: section.text("benefit"),
            terms: section.text("terms"),
        })
    }
}

impl Entry for Kpi {
    const KEY: &'static str = "kpi";

    fn id(&self) -> &str {
        &self.id
    }

    fn read(section: Section<'_>, _: &mut RuleReader<'_>) -> Option<Self> {
        section.check_keys(&["id", "name", "strategy", "unit", "better", "now", "target", "computed", "note"]);
        let id = section.id()?;
        required(section, "better", "`lower` or `higher`")?;
        Some(Self {
            name: section.name_or(&id),
            id,
            strategy: section.required_string("strategy", "the strategy that sets it")?,
            unit: section.required_string("unit", "such as `percent` or `days`")?,
            lower_is_better: section.word("better", &[("lower", true), ("higher", false)])?,
            now: section.number("now", -LARGEST, LARGEST),
            target: section.number("target", -LARGEST, LARGEST),
            computed: section.boolean("computed").unwrap_or(false),
            note: section.text("note"),
        })
    }
}

impl Entry for Capacity {
    const KEY: &'static str = "capacity";

    fn id(&self) -> &str {
        &self.id
    }

    fn read(section: Section<'_>, _: &mut RuleReader<'_>) -> Option<Self> {
        section.check_keys(&["id", "name", "max", "days"]);
        let id = section.id()?;
        let max = section.required_number("max", 0.0, LARGEST, "the most in a period")?;
        let days = section.required_number("days", 1e-3, 3_650.0, "length of the period")?;
        Some(Self { name: section.name_or(&id), id, max, days })
    }
}

impl Entry for Cause {
    const KEY: &'static str = "cause";

    fn id(&self) -> &str {
        &self.id
    }

    fn read(section: Section<'_>, _: &mut RuleReader<'_>) -> Option<Self> {
        section.check_keys(&["id", "name", "of", "claimed", "features"]);
        let id = section.id()?;
        let of = section.word("of", &[("churn", CauseKind::Churn), ("adoption", CauseKind::Adoption)]);
        Some(Self {
            name: section.name_or(&id),
            id,
            of: of.unwrap_or(CauseKind::Churn),
            claimed: section.text("claimed"),
            features: section.strings("features"),
        })
    }
}

impl Entry for BandPlaybook {
    const KEY: &'static str = "band_playbook";

    fn id(&self) -> &str {
        &self.id
    }

    fn read(section: Section<'_>, _: &mut RuleReader<'_>) -> Option<Self> {
        section.check_keys(&["id", "name", "goal", "actions", "template"]);
        let id = section.id()?;
        let goal = required_text(section, "goal", "what is wanted for the band")?;
        let actions = section.strings("actions");
        if actions.is_empty() {
            section.missing("actions", "the ids of the actions for the band");
        }
        Some(Self { name: section.name_or(&id), id, goal, actions, template: section.string("template") })
    }
}

impl Entry for Template {
    const KEY: &'static str = "template";

    fn id(&self) -> &str {
        &self.id
    }

    fn read(section: Section<'_>, _: &mut RuleReader<'_>) -> Option<Self> {
        section.check_keys(&["id", "name", "body", "slots"]);
        let id = section.id()?;
        let body = required_text(section, "body", "the message, with places written `{so}`")?;
        let slots = section.strings("slots");
        for slot in slots.iter().filter(|slot| ![&body.en, &body.es].iter().all(|body| body.contains(&format!("{{{slot}}}")))) {
            section.wrong("slots", format!("the body has no place `{{{slot}}}` in both languages"), "write it into both texts");
        }
        Some(Self { name: section.name_or(&id), id, body, slots })
    }
}

/// Reads `[mean_cost]`.
pub(super) fn read_mean_cost(section: Section<'_>) -> Option<MeanCost> {
    section.check_keys(&["amount", "currency"]);
    let amount = section.required_number("amount", 0.0, LARGEST, "what an action costs on average")?;
    let currency = section.required_string("currency", "its currency, such as `USD`")?;
    if let Err(error) = retain_core::check_currency(&currency) {
        section.wrong("currency", error.to_string(), "write the three letters of ISO 4217, such as `USD`");
    }
    Some(MeanCost { amount, currency })
}

fn required_text(section: Section<'_>, key: &str, meaning: &str) -> Option<Text> {
    required(section, key, meaning)?;
    section.text(key)
}

fn required(section: Section<'_>, key: &str, meaning: &str) -> Option<()> {
    if section.has(key) {
        return Some(());
    }
    section.missing(key, meaning);
    None
}
