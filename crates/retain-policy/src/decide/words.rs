//! Why a candidate is offered or not, in a short sentence.

use super::trace::{Asked, Candidate, Check, CheckResult, Decided, EffectSource, Valuation};
use crate::playbook::{Goal, Language, Mode};

impl Decided<'_> {
    /// Why the candidate may be chosen or not, and what it is expected to bring.
    pub fn reason(&self, candidate: &Candidate, language: Language) -> String {
        let Some(action) = self.action(candidate) else { return self.reason_for_nothing(language) };
        if let Some(check) = self.checks(candidate).iter().find(|check| check.result != CheckResult::Passed)
            && !candidate.eligible
        {
            return self.reason_against(check, language);
        }
        let mut sentences = Vec::new();
        if candidate.mandatory {
            sentences.push(
                either(language, "Mandatory: it goes before all others.", "Obligatoria: va antes que las demás.").to_owned(),
            );
        }
        if let Some((sequence, step)) = candidate.step {
            let sequence = &self.playbook.sequences[sequence];
            let (name, step, of) = (sequence.name.of(language), step + 1, sequence.steps.len());
            sentences.push(match language {
                Language::English => format!("Step {step} of {of} of {name}."),
                Language::Spanish => format!("Paso {step} de {of} de {name}."),
            });
        }
        if let Some(valuation) = &candidate.valuation {
            sentences.push(self.worth(valuation, language));
        }
        let answered = self.answered(candidate).join(", ");
        if !answered.is_empty() {
            sentences.push(match language {
                Language::English => format!("It answers: {answered}."),
                Language::Spanish => format!("Responde a: {answered}."),
            });
        }
        if sentences.is_empty() { action.name.of(language).to_owned() } else { sentences.join(" ") }
    }

    fn reason_for_nothing(&self, language: Language) -> String {
        let words = if self.holdout {
            either(
                language,
                "The customer is in the holdout, which gets no action.",
                "El cliente está en el grupo de control, sin acciones.",
            )
        } else if self.candidates.iter().any(|candidate| candidate.action.is_some() && candidate.eligible) {
            either(language, "To do nothing costs nothing.", "No hacer nada no cuesta nada.")
        } else {
            either(language, "No action may be taken now.", "Ahora no se permite ninguna acción.")
        };
        words.to_owned()
    }

    /// What the action brings, and how that is known.
    fn worth(&self, valuation: &Valuation, language: Language) -> String {
        if let (Mode::Pcvl, Some([propensity, context, value, lever])) = (self.playbook.settings.mode, valuation.factors) {
            let product = valuation.priority;
            return match language {
                Language::English => format!("Priority {product:.4} = {propensity:.4} × {context} × {value} × {lever}."),
                Language::Spanish => format!("Prioridad {product:.4} = {propensity:.4} × {context} × {value} × {lever}."),
            };
        }
        let (points, stake) = (100.0 * valuation.effect.mean, valuation.value_at_stake);
        let spent = valuation.cost + valuation.fatigue + valuation.capacity_price;
        let (net, own, currency) = (valuation.net, valuation.own_value, &self.playbook.settings.currency);
        let (known, goal) = (source(valuation, language), self.goal(language));
        let own = if own == 0.0 { String::new() } else { format!(" + {own:.2}") };
        match language {
            Language::English => format!(
                "Expected to bring {net:.2} {currency}: it changes the chance {goal} by {points:+.2} points ({known}), of {stake:.2}{own}, \
                 less {spent:.2}."
            ),
            Language::Spanish => format!(
                "Se espera que aporte {net:.2} {currency}: cambia la probabilidad {goal} en {points:+.2} puntos ({known}), de \
                 {stake:.2}{own}, menos {spent:.2}."
            ),
        }
    }

    fn goal(&self, language: Language) -> &'static str {
        match self.playbook.settings.goal {
            Goal::Retain => either(language, "that the customer stays", "de que el cliente se quede"),
            Goal::Convert => either(language, "that the customer buys", "de que el cliente compre"),
            Goal::Engage => either(language, "that the customer takes part", "de que el cliente participe"),
        }
    }

    /// The first check that did not pass.
    fn reason_against(&self, check: &Check<'_>, language: Language) -> String {
        let seen = self.seen(check).join(", ");
        let seen = if seen.is_empty() { seen } else { format!(" ({seen})") };
        match (check.result, check.what) {
            (CheckResult::Unknown(slot), what) => {
                let (name, what) = (self.playbook.names().name(slot), what.name());
                match language {
                    Language::English => format!("Not offered: `{name}` is missing, so `{what}` cannot be told."),
                    Language::Spanish => format!("No se ofrece: falta `{name}`, así que `{what}` no se puede decidir."),
                }
            }
            (CheckResult::Fault(fault), what) => match language {
                Language::English => format!("Not offered: `{}` {fault}{seen}.", what.name()),
                Language::Spanish => format!("No se ofrece: `{}` no tiene respuesta{seen}.", what.name()),
            },
            (_, what) => match language {
                Language::English => format!("Not offered: {}{seen}.", self.failed_in_english(what)),
                Language::Spanish => format!("No se ofrece: {}{seen}.", self.failed_in_spanish(what)),
            },
        }
    }

    fn failed_in_english(&self, what: Asked<'_>) -> String {
        match what {
            Asked::Enabled => "it is switched off".to_owned(),
            Asked::ChannelOpen => "its channel cannot be used now".to_owned(),
            Asked::Rule { of, rule } => format!("`{}` does not allow it, `{}`", of.as_str(), rule.source()),
            Asked::Step => "it is not the next step of a sequence".to_owned(),
            Asked::Limit { max, days, .. } => format!("there were {max} contacts within {days} days already"),
            Asked::Cooldown { days, .. } => format!("it was taken within {days} days"),
            Asked::Suppression { after, days, .. } => format!("`{after}` was reported within {days} days"),
            Asked::Exclusion { other, .. } => format!("it does not go with `{}`", self.playbook.actions[other].id),
            Asked::Capacity { .. } => "its capacity is used up".to_owned(),
            Asked::Guard => "it probably does harm".to_owned(),
            Asked::Worth => "what it is worth is no number".to_owned(),
        }
    }

    fn failed_in_spanish(&self, what: Asked<'_>) -> String {
        match what {
            Asked::Enabled => "está desactivada".to_owned(),
            Asked::ChannelOpen => "su canal no se puede usar ahora".to_owned(),
            Asked::Rule { of, rule } => format!("`{}` no lo permite, `{}`", of.as_str(), rule.source()),
            Asked::Step => "no es el siguiente paso de una secuencia".to_owned(),
            Asked::Limit { max, days, .. } => format!("ya hubo {max} contactos en {days} días"),
            Asked::Cooldown { days, .. } => format!("se hizo hace menos de {days} días"),
            Asked::Suppression { after, days, .. } => format!("hubo `{after}` hace menos de {days} días"),
            Asked::Exclusion { other, .. } => format!("no va con `{}`", self.playbook.actions[other].id),
            Asked::Capacity { .. } => "su capacidad está agotada".to_owned(),
            Asked::Guard => "probablemente hace daño".to_owned(),
            Asked::Worth => "su valor no es un número".to_owned(),
        }
    }
}

fn either(language: Language, en: &'static str, es: &'static str) -> &'static str {
    match language {
        Language::English => en,
        Language::Spanish => es,
    }
}

/// Where the effect is from, and what part of it is assumed.
fn source(valuation: &Valuation, language: Language) -> String {
    let effect = valuation.effect;
    let prior = 100.0 * effect.prior_share;
    match (effect.source, language) {
        (EffectSource::Prior, Language::English) => "as the playbook assumes".to_owned(),
        (EffectSource::Prior, Language::Spanish) => "según supone el playbook".to_owned(),
        (EffectSource::Outcomes, Language::English) => format!("{:.0} decisions, {prior:.0} % assumed", effect.n),
        (EffectSource::Outcomes, Language::Spanish) => format!("{:.0} decisiones, {prior:.0} % supuesto", effect.n),
        (EffectSource::Model, Language::English) => format!("uplift model, {prior:.0} % assumed"),
        (EffectSource::Model, Language::Spanish) => format!("modelo de efecto, {prior:.0} % supuesto"),
    }
}
