//! Reads the tables of [`super::definitions`], each list through one trait.

use super::definitions::{
    Alert, AlertBudget, Badge, Earn, Milestone, Points, Reward, Segment, Severity, Signal, Tier, TierProgramme, Trigger,
};
use super::reader::Section;
use crate::rule::{Names, Rule, RuleKind};

/// Compiles the rules of files into one set of names.
pub(super) struct RuleReader<'n> {
    pub(super) names: &'n mut Names,
}

impl RuleReader<'_> {
    /// The rule at a key, where there is one.
    pub(super) fn optional(&mut self, section: Section<'_>, key: &str, kind: RuleKind) -> Option<Rule> {
        let source = section.string(key)?;
        Rule::compile(&source, kind, self.names).map_err(|error| section.wrong(key, format!("`{key}`: {error}"), error.fix)).ok()
    }

    pub(super) fn required(&mut self, section: Section<'_>, key: &str, kind: RuleKind, meaning: &str) -> Option<Rule> {
        if !section.has(key) {
            section.missing(key, meaning);
        }
        self.optional(section, key, kind)
    }

    fn condition(&mut self, section: Section<'_>, key: &str) -> Option<Rule> {
        self.required(section, key, RuleKind::Condition, "a condition such as `features.logins_per_week < 2`")
    }
}

/// One kind of entry with an id, such as `[[signal]]`.
pub(super) trait Entry: Sized {
    /// The list's key.
    const KEY: &'static str;

    fn id(&self) -> &str;

    /// The rules that are asked for each customer.
    fn rules(&self) -> Vec<&Rule> {
        Vec::new()
    }

    fn read(section: Section<'_>, rules: &mut RuleReader<'_>) -> Option<Self>;
}

impl Entry for Signal {
    const KEY: &'static str = "signal";

    fn id(&self) -> &str {
        &self.id
    }

    fn rules(&self) -> Vec<&Rule> {
        vec![&self.when]
    }

    fn read(section: Section<'_>, rules: &mut RuleReader<'_>) -> Option<Self> {
        section.check_keys(&["id", "name", "when", "severity", "counts", "claimed"]);
        let id = section.id()?;
        let severity = section.word("severity", &Severity::WORDS).unwrap_or(Severity::Monitor);
        Some(Self {
            name: section.name_or(&id),
            id,
            when: rules.condition(section, "when")?,
            severity,
            counts: section.boolean("counts").unwrap_or(severity != Severity::Info),
            claimed: section.text("claimed"),
        })
    }
}

impl Entry for Trigger {
    const KEY: &'static str = "trigger";

    fn id(&self) -> &str {
        &self.id
    }

    fn rules(&self) -> Vec<&Rule> {
        vec![&self.when]
    }

    fn read(section: Section<'_>, rules: &mut RuleReader<'_>) -> Option<Self> {
        section.check_keys(&["id", "name", "when", "severity"]);
        let id = section.id()?;
        if !section.has("severity") {
            section.missing("severity", "`P0`, `P1`, `P2` or `P3`");
        }
        let (when, severity) = (rules.condition(section, "when")?, section.word("severity", &Severity::WORDS)?);
        Some(Self { name: section.name_or(&id), id, when, severity })
    }
}

impl Entry for Segment {
    const KEY: &'static str = "segment";

    fn id(&self) -> &str {
        &self.id
    }

    fn rules(&self) -> Vec<&Rule> {
        vec![&self.when]
    }

    fn read(section: Section<'_>, rules: &mut RuleReader<'_>) -> Option<Self> {
        section.check_keys(&["id", "name", "when", "treatment", "claimed"]);
        let id = section.id()?;
        Some(Self {
            name: section.name_or(&id),
            id,
            when: rules.condition(section, "when")?,
            treatment: section.text("treatment"),
            claimed: section.text("claimed"),
        })
    }
}

impl Entry for Badge {
    const KEY: &'static str = "badge";

    fn id(&self) -> &str {
        &self.id
    }

    fn rules(&self) -> Vec<&Rule> {
        vec![&self.when]
    }

    fn read(section: Section<'_>, rules: &mut RuleReader<'_>) -> Option<Self> {
        section.check_keys(&["id", "name", "when", "benefits"]);
        let id = section.id()?;
        let when = rules.condition(section, "when")?;
        Some(Self { name: section.name_or(&id), id, when, benefits: section.text_list("benefits") })
    }
}

impl Entry for Milestone {
    const KEY: &'static str = "milestone";

    fn id(&self) -> &str {
        &self.id
    }

    fn rules(&self) -> Vec<&Rule> {
        vec![&self.when]
    }

    fn read(section: Section<'_>, rules: &mut RuleReader<'_>) -> Option<Self> {
        section.check_keys(&["id", "name", "when", "rewards"]);
        let id = section.id()?;
        let when = rules.condition(section, "when")?;
        Some(Self { name: section.name_or(&id), id, when, rewards: section.text_list("rewards") })
    }
}

impl Entry for Alert {
    const KEY: &'static str = "alert";

    fn id(&self) -> &str {
        &self.id
    }

    fn rules(&self) -> Vec<&Rule> {
        std::iter::once(&self.enter).chain(&self.leave).collect()
    }

    fn read(section: Section<'_>, rules: &mut RuleReader<'_>) -> Option<Self> {
        section.check_keys(&["id", "name", "enter", "leave", "cooldown_days", "severity", "positive"]);
        let id = section.id()?;
        Some(Self {
            name: section.name_or(&id),
            id,
            enter: rules.condition(section, "enter")?,
            leave: rules.optional(section, "leave", RuleKind::Condition),
            cooldown_days: section.number("cooldown_days", 0.0, 3_650.0).unwrap_or(0.0),
            severity: section.word("severity", &Severity::WORDS).unwrap_or(Severity::Monitor),
            positive: section.boolean("positive").unwrap_or(false),
        })
    }
}

/// Reads `[tier_programme]`.
pub(super) fn read_tier_programme(section: Section<'_>, rules: &mut RuleReader<'_>) -> Option<TierProgramme> {
    section.check_keys(&["id", "name", "tenure", "tier"]);
    let id = section.id()?;
    let tenure = rules.optional(section, "tenure", RuleKind::Number);
    let tiers: Vec<Tier> = section.sections("tier").into_iter().filter_map(|tier| read_tier(tier, rules)).collect();
    if tiers.is_empty() {
        section.missing("tier", "at least one tier, from the lowest to the highest");
    }
    let days: Vec<f64> = tiers.iter().filter_map(|tier| tier.from_days).collect();
    if days.windows(2).any(|pair| pair[0] >= pair[1]) {
        section.wrong("tier", "`from_days` should rise from tier to tier", "write the lowest tier first");
    }
    if tenure.is_none() && !days.is_empty() {
        section.missing("tenure", "the days of tenure that `from_days` is held against, such as `features.tenure_days`");
    }
    if let Some(twice) = first_twice(tiers.iter().map(|tier| tier.id.as_str())) {
        section.wrong("tier", format!("the programme has `{twice}` twice"), "give each tier its own id");
    }
    Some(TierProgramme { name: section.name_or(&id), id, tenure, tiers })
}

fn read_tier(section: Section<'_>, rules: &mut RuleReader<'_>) -> Option<Tier> {
    section.check_keys(&["id", "name", "from_days", "when", "goal", "benefits", "targets", "claimed"]);
    let id = section.id()?;
    if id == super::NO_TIER {
        section.wrong("id", format!("`{id}` is the word for having no tier"), "choose another id");
    }
    let from_days = section.number("from_days", 0.0, 1e6);
    let when = rules.optional(section, "when", RuleKind::Condition);
    if !section.has("from_days") && !section.has("when") {
        section.missing("from_days", "from which day of tenure on, or `when`: a condition");
    }
    let goal = section.text("goal");
    let (benefits, targets) = (section.text_list("benefits"), section.text_list("targets"));
    Some(Tier { name: section.name_or(&id), id, from_days, when, goal, benefits, targets, claimed: section.text("claimed") })
}

/// Reads `[points]`.
pub(super) fn read_points(section: Section<'_>, rules: &mut RuleReader<'_>) -> Points {
    section.check_keys(&["name", "balance", "value_per_point", "earn", "reward"]);
    let balance = rules.optional(section, "balance", RuleKind::Number);
    let earn: Vec<Earn> = section.sections("earn").into_iter().filter_map(|earn| read_earn(earn, rules)).collect();
    let mut rewards: Vec<Reward> = section.sections("reward").into_iter().filter_map(read_reward).collect();
    rewards.sort_by(|a, b| a.points.total_cmp(&b.points));
    if balance.is_none() && earn.is_empty() {
        section.missing("earn", "what earns points, or `balance`: where they are kept");
    }
    let ids = earn.iter().map(|earn| earn.id.as_str()).chain(rewards.iter().map(|reward| reward.id.as_str()));
    if let Some(twice) = first_twice(ids) {
        section.wrong("earn", format!("the points have `{twice}` twice"), "give each entry its own id");
    }
    let value_per_point = section.number("value_per_point", 0.0, 1e6);
    Points { name: section.name_or("points"), balance, value_per_point, earn, rewards }
}

fn read_earn(section: Section<'_>, rules: &mut RuleReader<'_>) -> Option<Earn> {
    section.check_keys(&["id", "name", "points", "reads"]);
    let id = section.id()?;
    let points = section.required_number("points", 0.0, 1e9, "points each time")?;
    let reads = rules.required(section, "reads", RuleKind::Number, "how often it has happened, such as `features.tasks_done`")?;
    Some(Earn { name: section.name_or(&id), id, points, reads })
}

fn read_reward(section: Section<'_>) -> Option<Reward> {
    section.check_keys(&["id", "name", "points"]);
    let id = section.id()?;
    let points = section.required_number("points", 1e-6, 1e12, "its price in points")?;
    Some(Reward { name: section.name_or(&id), id, points })
}

/// Reads `[alert_budget]`.
pub(super) fn read_alert_budget(section: Section<'_>) -> Option<AlertBudget> {
    section.check_keys(&["max", "days"]);
    let max = section.required_number("max", 0.0, 1e9, "the most alerts in a period")?;
    if max.fract() != 0.0 {
        section.wrong("max", format!("`max` should be a whole number, found `{max}`"), "round it");
    }
    let days = section.required_number("days", 1e-3, 3_650.0, "length of the period")?;
    Some(AlertBudget { max: max as u32, days })
}

fn first_twice<'a>(ids: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    ids.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}
