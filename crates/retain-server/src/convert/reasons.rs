//! What features add, in numbers and in words.

use retain_core::TaskKind;
use retain_proto::v1;
use retain_score::Explanation;

use crate::models::LiveModel;
use crate::status::{Violation, Violations};

/// The language of texts that people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Spanish,
}

impl Language {
    /// The language that a request asks for.
    pub(crate) fn of(number: i32, violations: &mut Violations) -> Self {
        match v1::Language::try_from(number) {
            Ok(v1::Language::Unspecified | v1::Language::English) => Self::English,
            Ok(v1::Language::Spanish) => Self::Spanish,
            Err(_) => {
                let description = format!("should be ENGLISH or SPANISH, found the number {number}");
                violations.push(|| Violation::new("language", "UNKNOWN_ENUM_VALUE", &description));
                Self::English
            }
        }
    }

    /// What has to be said beside every comparison.
    pub(crate) fn association_note(self) -> &'static str {
        match self {
            Self::English => {
                "What the models expect of customers who are so: an association, not the effect of changing this customer."
            }
            Self::Spanish => {
                "Lo que los modelos esperan de clientes así: una asociación, no el efecto de cambiar a este cliente."
            }
        }
    }
}

/// What one feature adds to a prediction.
pub(crate) fn reason(
    model: &LiveModel,
    row: &[f64],
    explanation: &Explanation,
    feature_idx: usize,
    language: Language,
) -> v1::Reason {
    let feature = &model.scorer.schema().features[feature_idx];
    let contribution = explanation.contributions[feature_idx];
    let direction = if contribution > 0.0 {
        v1::Direction::Raises
    } else if contribution < 0.0 {
        v1::Direction::Lowers
    } else {
        v1::Direction::Neutral
    };
    let mut reason = v1::Reason {
        feature: feature.name.clone(),
        value: feature.display(row[feature_idx]),
        typical_value: feature.typical.map(|typical| feature.display(typical)),
        contribution,
        direction: direction.into(),
        text: String::new(),
    };
    reason.text = sentence(&reason, row[feature_idx].is_nan(), model.scorer.manifest().kind, language);
    reason
}

/// Such as `tenure is 1, usually 29: raises the risk of leaving`.
fn sentence(reason: &v1::Reason, is_missing: bool, kind: TaskKind, language: Language) -> String {
    let (feature, value) = (&reason.feature, &reason.value);
    let (fact, usually, what, verb) = match language {
        Language::English => (
            if is_missing { format!("{feature} is not known") } else { format!("{feature} is {value}") },
            "usually",
            match kind {
                TaskKind::Churn | TaskKind::Survival => "the risk of leaving",
                TaskKind::Ltv => "the expected value",
                TaskKind::Engagement => "the expected activity",
                TaskKind::Uplift => "the effect of the treatment",
            },
            match reason.direction() {
                v1::Direction::Raises => "raises",
                v1::Direction::Lowers => "lowers",
                v1::Direction::Neutral | v1::Direction::Unspecified => "does not change",
            },
        ),
        Language::Spanish => (
            if is_missing { format!("no se conoce {feature}") } else { format!("{feature} es {value}") },
            "normalmente",
            match kind {
                TaskKind::Churn | TaskKind::Survival => "el riesgo de baja",
                TaskKind::Ltv => "el valor esperado",
                TaskKind::Engagement => "la actividad esperada",
                TaskKind::Uplift => "el efecto del tratamiento",
            },
            match reason.direction() {
                v1::Direction::Raises => "aumenta",
                v1::Direction::Lowers => "reduce",
                v1::Direction::Neutral | v1::Direction::Unspecified => "no cambia",
            },
        ),
    };
    match reason.typical_value.as_ref().filter(|typical| *typical != value) {
        Some(typical) => format!("{fact}, {usually} {typical}: {verb} {what}"),
        None => format!("{fact}: {verb} {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(typical: Option<&str>, direction: v1::Direction) -> v1::Reason {
        v1::Reason {
            feature: "tenure".to_owned(),
            value: "1".to_owned(),
            typical_value: typical.map(str::to_owned),
            contribution: 0.0,
            direction: direction.into(),
            text: String::new(),
        }
    }

    #[test]
    fn sentences_say_value_habit_and_direction() {
        let raises = reason(Some("29"), v1::Direction::Raises);
        let told = |language| sentence(&raises, false, TaskKind::Churn, language);
        assert_eq!(told(Language::English), "tenure is 1, usually 29: raises the risk of leaving");
        assert_eq!(told(Language::Spanish), "tenure es 1, normalmente 29: aumenta el riesgo de baja");
    }

    #[test]
    fn what_is_usual_or_not_known_is_told_so() {
        let usual = reason(Some("1"), v1::Direction::Lowers);
        assert_eq!(sentence(&usual, false, TaskKind::Ltv, Language::English), "tenure is 1: lowers the expected value");
        let alone = reason(None, v1::Direction::Neutral);
        let told = |language| sentence(&alone, true, TaskKind::Engagement, language);
        assert_eq!(told(Language::English), "tenure is not known: does not change the expected activity");
        assert_eq!(told(Language::Spanish), "no se conoce tenure: no cambia la actividad esperada");
    }
}
