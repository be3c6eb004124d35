//! The categories that XGBoost 3.1 and later keep with a model: one encoder for each feature.

use serde::Deserialize;

use crate::error::ImportError;

/// `cats` of a tree model.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CategoryFile {
    enc: Vec<Encoder>,
}

/// Texts, one after another in UTF-8 with the offsets where they begin and end; or whole numbers.
#[derive(Debug, Deserialize)]
struct Encoder {
    offsets: Option<Vec<usize>>,
    /// Bytes are written as signed numbers.
    values: Vec<i64>,
}

impl CategoryFile {
    /// The texts of a feature's categories by their codes; none where the model does not name them.
    pub(crate) fn texts(&self, feature_idx: usize) -> Result<Option<Vec<String>>, ImportError> {
        let Some(encoder) = self.enc.get(feature_idx).filter(|encoder| !encoder.values.is_empty()) else { return Ok(None) };
        let wrong = |what: &str| ImportError::syntax(format!("categories of feature {feature_idx}"), what);
        let Some(offsets) = &encoder.offsets else {
            return Ok(Some(encoder.values.iter().map(i64::to_string).collect()));
        };
        let bytes: Vec<u8> = encoder.values.iter().map(|&value| value as u8).collect();
        let text = |pair: &[usize]| {
            let text = bytes.get(pair[0]..pair[1]).ok_or_else(|| wrong("the offsets should rise and stay within the texts"))?;
            String::from_utf8(text.to_vec()).map_err(|_| wrong("a text that is not UTF-8"))
        };
        if !offsets.is_sorted() {
            return Err(wrong("the offsets should rise"));
        }
        offsets.windows(2).map(text).collect::<Result<_, _>>().map(Some)
    }
}
