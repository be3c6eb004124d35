//! Column names that speak of what happened afterwards, in English and Spanish.

/// Beginnings of words that name leaving itself or what follows it.
const OF_LEAVING: [&str; 25] = [
    "cancel",
    "churn",
    "attrit",
    "terminat",
    "refund",
    "unsubscri",
    "deactivat",
    "closure",
    "closed",
    "departure",
    "winback",
    "exited",
    "leaver",
    "baja",
    "abandon",
    "rescis",
    "rescind",
    "reembols",
    "devoluc",
    "desactiv",
    "cierre",
    "finaliz",
    "fuga",
    "desist",
    "portabil",
];
/// Pairs of neighbouring words that do.
const PAIRS_OF_LEAVING: [(&str, &str); 6] =
    [("end", "date"), ("exit", "date"), ("date", "end"), ("fecha", "fin"), ("final", "status"), ("win", "back")];
/// Beginnings of words that name what was done to keep a customer.
const OF_RETAINING: [&str; 5] = ["retention", "retencion", "recuperac", "intervention", "treated"];

/// What a name speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Leaving, or what follows it.
    Leaving,
    /// Actions to keep the customer.
    Retaining,
}

/// The meaning of a column name, read word by word: `CancelDate` and `fecha_baja` mean leaving, `rebaja` does not.
pub(super) fn meaning(name: &str) -> Option<Meaning> {
    let words = words(name);
    let begins = |known: &[&str]| words.iter().any(|word| known.iter().any(|begin| word.starts_with(begin)));
    let pair = words.windows(2).any(|pair| PAIRS_OF_LEAVING.contains(&(pair[0].as_str(), pair[1].as_str())));
    match () {
        () if begins(&OF_LEAVING) || pair => Some(Meaning::Leaving),
        () if begins(&OF_RETAINING) => Some(Meaning::Retaining),
        () => None,
    }
}

/// Lower-case words without accents, cut at everything but letters and where a capital follows a small letter.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for letter in name.chars() {
        if !letter.is_alphabetic() || (letter.is_uppercase() && was_small) {
            words.push(String::new());
        }
        if letter.is_alphabetic() {
            words.last_mut().expect("there is always a last word").extend(letter.to_lowercase().map(without_accent));
        }
        was_small = letter.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

fn without_accent(letter: char) -> char {
    match letter {
        'á' => 'a',
        'é' => 'e',
        'í' => 'i',
        'ó' => 'o',
        'ú' | 'ü' => 'u',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_word_by_word() {
        for name in [
            "cancel_date",
            "CancellationReason",
            "Churn Score",
            "fecha_baja",
            "FECHA BAJA",
            "n_refunds",
            "end_date",
            "Cancelación",
        ] {
            assert_eq!(meaning(name), Some(Meaning::Leaving), "{name}");
        }
        for name in ["retention_offer", "RetentionCall", "oferta_retención"] {
            assert_eq!(meaning(name), Some(Meaning::Retaining), "{name}");
        }
        for name in ["rebaja", "tenure", "weekend_calls", "months_left", "Contract", "date", "", "💡", "trabajador"] {
            assert_eq!(meaning(name), None, "{name}");
        }
    }
}
