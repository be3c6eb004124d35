//! Who decides in a world: the same decider, with other knowledge or another way to draw.

use super::world::{Customer, World};
use crate::decide::{Learned, Posteriors};
use crate::playbook::{Action, ExplorationMethod, Playbook};

/// A policy, made of a playbook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The playbook as it is: it begins with its priors and learns from what comes of its decisions.
    Learner,
    /// The playbook as it is, which never learns.
    Priors,
    /// Any action that is allowed, or none, all alike.
    Random,
    /// Nothing, ever.
    DoNothing,
    /// Knows every planted effect and always takes what brings most at the present prices of capacity. Filters, limits of contact,
    /// capacities and the holdout are the same as for everybody.
    Oracle,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Learner, Self::Priors, Self::Random, Self::DoNothing, Self::Oracle];

    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Learner => "learner",
            Self::Priors => "priors",
            Self::Random => "random",
            Self::DoNothing => "do_nothing",
            Self::Oracle => "oracle",
        }
    }

    /// The playbook that it decides with.
    pub(super) fn playbook(self, playbook: &Playbook) -> Playbook {
        let mut playbook = playbook.clone();
        match self {
            Self::Learner | Self::Priors => {}
            Self::Random => {
                playbook.exploration.method = ExplorationMethod::InverseGap;
                playbook.exploration.gamma = 0.0;
            }
            Self::DoNothing => playbook.actions.iter_mut().for_each(|action| action.enabled = false),
            Self::Oracle => playbook.exploration.method = ExplorationMethod::Greedy,
        }
        playbook
    }
}

/// The planted effects on one customer, as something that was learned for certain.
pub(super) struct Truth<'w> {
    pub(super) world: &'w World,
    pub(super) customer: &'w Customer,
}

impl Posteriors for Truth<'_> {
    fn effect(&self, action_idx: usize, _: &Action) -> Option<Learned> {
        let mean = self.world.effect(self.customer, action_idx);
        Some(Learned { mean, sd: 0.0, own_sd: 0.0, n: f64::from(u32::MAX), prior_share: 0.0, blocked: false })
    }
}
