//! Texts for people, in English and Spanish.

use serde::Serialize;

/// A language that texts are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Spanish.
    #[serde(rename = "es")]
    Spanish,
}

impl Language {
    /// The language of a code such as `es` or `es-MX`; English where the code is of another language.
    pub fn of_code(code: &str) -> Self {
        let primary = code.split(['-', '_']).next().unwrap_or_default();
        if primary.eq_ignore_ascii_case("es") { Self::Spanish } else { Self::English }
    }
}

/// The same words in both languages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Text {
    /// In English.
    pub en: String,
    /// In Spanish.
    pub es: String,
}

impl Text {
    /// The words in one language.
    pub fn of(&self, language: Language) -> &str {
        match language {
            Language::English => &self.en,
            Language::Spanish => &self.es,
        }
    }
}

/// The same list in both languages, item by item.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TextList {
    /// In English.
    pub en: Vec<String>,
    /// In Spanish, as long as the English one.
    pub es: Vec<String>,
}

impl TextList {
    /// The list in one language.
    pub fn of(&self, language: Language) -> &[String] {
        match language {
            Language::English => &self.en,
            Language::Spanish => &self.es,
        }
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.en.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Language;

    #[test]
    fn a_region_does_not_change_the_language() {
        let codes = ["es", "es-MX", "ES_ar", "en", "pt", "", "est"];
        let spanish = codes.map(|code| Language::of_code(code) == Language::Spanish);
        assert_eq!(spanish, [true, true, true, false, false, false, false]);
    }
}
