//! What there is of everything: capacities of actions and channels, less what their period has seen, and the budget.

use anyhow::Result;
use retain_core::{NO_ACTION, PastDecision, nearest};
use retain_policy::allocate::Limit;
use retain_policy::decide::BatchTerms;
use retain_policy::playbook::{Action, Capacity, Playbook};

use crate::exit::Complaint;
use crate::history::History;

const DAY_MS: f64 = 86_400_000.0;

/// What a batch keeps to, with the names of its limits.
pub(super) struct Terms {
    pub(super) batch: BatchTerms,
    /// By limit: the action or channel.
    pub(super) names: Vec<String>,
}

/// What a capacity is of, by its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Action(usize),
    Channel(usize),
}

impl Terms {
    /// # Errors
    /// A complaint for a capacity of something that is not there, or a budget that is none.
    pub(super) fn new(
        playbook: &Playbook,
        capacities: &[String],
        budget: Option<f64>,
        history: &History,
        now_ms: i64,
    ) -> Result<Self> {
        if let Some(budget) = budget.filter(|budget| !(0.0..=f64::MAX).contains(budget)) {
            let complaint = Complaint::usage(format!("`--budget` should be an amount from 0 on, found `{budget}`"));
            return Err(complaint.hint("leave it out where money is no limit").into());
        }
        let given = capacities.iter().map(|text| read_capacity(playbook, text)).collect::<Result<Vec<_>>>()?;
        if let Some(twice) = given.iter().enumerate().find(|(idx, (of, _))| given[..*idx].iter().any(|(other, _)| other == of)) {
            let message = format!("`--capacity` names `{}` twice", name(playbook, twice.1.0));
            return Err(Complaint::usage(message).hint("name it once").into());
        }
        let actions = (0..playbook.actions.len()).map(Of::Action);
        let all = actions.chain((0..playbook.contact.channels.len()).map(Of::Channel));
        let (mut limits, mut names) = (Vec::new(), Vec::new());
        for of in all {
            let given = given.iter().find(|(other, _)| *other == of).map(|(_, capacity)| *capacity);
            let left = || Some(left(playbook, of, stated(playbook, of)?, history, now_ms));
            if let Some(capacity) = given.or_else(left) {
                limits.push(Limit { actions: counted(playbook, of), capacity });
                names.push(name(playbook, of).to_owned());
            }
        }
        let n_actions = playbook.actions.len();
        let explored_share = (playbook.exploration.floor * n_actions as f64).min(1.0);
        Ok(Self { batch: BatchTerms { n_actions, limits, budget, explored_share }, names })
    }
}

/// So many days of earlier decisions say all that rules and capacities ask.
pub(super) fn days_to_read(playbook: &Playbook) -> f64 {
    let actions = playbook.actions.iter().filter_map(|action| action.capacity);
    let channels = playbook.contact.channels.iter().filter_map(|channel| channel.capacity);
    actions.chain(channels).map(|capacity| capacity.days).fold(playbook.history_days(), f64::max)
}

/// Reads `call=40`.
fn read_capacity(playbook: &Playbook, text: &str) -> Result<(Of, u64)> {
    let wrong = || {
        let complaint = Complaint::usage(format!("`--capacity` should be an action or channel and a number, found `{text}`"));
        complaint.hint("write it as `--capacity call=40`")
    };
    let (id, count) = text.rsplit_once('=').ok_or_else(wrong)?;
    let count = count.trim().parse().map_err(|_| wrong())?;
    let id = id.trim();
    let channels = || playbook.contact.channels.iter();
    let channel = || channels().position(|channel| channel.id == id).map(Of::Channel);
    let of = playbook.action_idx(id).map(Of::Action).or_else(channel).ok_or_else(|| {
        let ids = playbook.actions.iter().map(|action| action.id.as_str()).chain(channels().map(|channel| channel.id.as_str()));
        let hint = match nearest(id, ids) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`retain playbook show FILE` lists what there is".to_owned(),
        };
        Complaint::usage(format!("`--capacity` names `{id}`, and the playbook has no such action or channel")).hint(hint)
    })?;
    Ok((of, count))
}

fn name(playbook: &Playbook, of: Of) -> &str {
    match of {
        Of::Action(idx) => &playbook.actions[idx].id,
        Of::Channel(idx) => &playbook.contact.channels[idx].id,
    }
}

fn stated(playbook: &Playbook, of: Of) -> Option<Capacity> {
    match of {
        Of::Action(idx) => playbook.actions[idx].capacity,
        Of::Channel(idx) => playbook.contact.channels[idx].capacity,
    }
}

/// The actions that count for a capacity.
fn counted(playbook: &Playbook, of: Of) -> Vec<usize> {
    match of {
        Of::Action(idx) => vec![idx],
        Of::Channel(channel) => {
            let uses = |(idx, action): (usize, &Action)| (action.channel == Some(channel)).then_some(idx);
            playbook.actions.iter().enumerate().filter_map(uses).collect()
        }
    }
}

/// What is left of a capacity in its period; periods begin at whole multiples of their length since 1970, as those of servers do.
fn left(playbook: &Playbook, of: Of, capacity: Capacity, history: &History, now_ms: i64) -> u64 {
    let length = (capacity.days * DAY_MS).max(1.0) as i64;
    let from_ms = now_ms.div_euclid(length) * length;
    let id = name(playbook, of);
    let uses = |past: &&PastDecision| {
        let is_of = match of {
            Of::Action(_) => past.action == id,
            Of::Channel(_) => past.channel.as_deref() == Some(id) && past.action != NO_ACTION,
        };
        is_of && past.decided_at_ms >= from_ms
    };
    u64::from(capacity.count).saturating_sub(history.all().filter(uses).count() as u64)
}
