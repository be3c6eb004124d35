//! The features of an imported model, and the texts of their categories.

use std::collections::{HashMap, HashSet};

use retain_core::{ColumnKind, FeatureSpec};
use retain_score::{NodeKind, Test, Tree, limits};

use crate::city_hash::category_hash;
use crate::error::ImportError;
use crate::{Imported, Library};

/// A column that the model reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedFeature {
    /// Its name in the model file.
    pub name: String,
    /// What it holds.
    pub kind: ImportedKind,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportedKind {
    /// A number; booleans and dates are numbers to these libraries too.
    Number,
    /// A category.
    Category(Categories),
}

/// How the file names categories. Trees name a category by its position in this list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Categories {
    /// By their texts.
    Texts(Vec<String>),
    /// By whole numbers from 0: those that the file names, rising.
    Codes(Vec<u32>),
    /// By CatBoost's hash of their texts, see [`crate::category_hash`].
    Hashes(Vec<u32>),
}

impl Imported {
    /// The features of a schema for this model; numbers are of kind [`ColumnKind::Number`].
    ///
    /// `texts_of` is asked for the distinct texts of a column whose categories the file does not name, and returns none where there is no
    /// table to look at. Codes are then the texts themselves (`0`, `1`, …) where all texts are whole numbers, as they are without a table,
    /// and otherwise the positions of the sorted texts, as pandas numbers them.
    ///
    /// # Errors
    /// [`ImportError::Categories`] when the texts of a feature do not come together.
    pub fn schema_features(
        &mut self,
        mut texts_of: impl FnMut(&str) -> Option<Vec<String>>,
    ) -> Result<Vec<FeatureSpec>, ImportError> {
        let mut specs = Vec::with_capacity(self.features.len());
        for feature in &self.features {
            let ImportedKind::Category(categories) = &feature.kind else {
                specs.push(FeatureSpec::new(&feature.name, ColumnKind::Number));
                continue;
            };
            let settled = settle(feature, categories, &mut texts_of)?;
            self.warnings.extend(settled.warning);
            specs.push(category_spec(&feature.name, &settled.texts)?);
        }
        self.fit_sets(&specs);
        Ok(specs)
    }

    /// Leaves categories that no text stands for out of the sets: the engine's position of unseen categories is none of the model's.
    fn fit_sets(&mut self, specs: &[FeatureSpec]) {
        // CatBoost has no missing category: a blank is a text like any other there.
        let blank = |spec: &FeatureSpec| spec.category_index("").map(|position| position as u32);
        let blanks: Vec<Option<u32>> =
            specs.iter().map(|spec| blank(spec).filter(|_| self.library == Library::CatBoost)).collect();
        for node in self.margin.trees.iter_mut().flat_map(|tree| &mut tree.nodes) {
            if let NodeKind::Split { feature_idx, test: Test::OneOf(set), missing_left, .. } = &mut node.kind {
                let position = *feature_idx as usize;
                set.retain(|&category| (category as usize) < specs[position].categories.len());
                if let Some(blank) = blanks[position] {
                    *missing_left = set.binary_search(&blank).is_ok();
                }
            }
        }
    }
}

/// The texts of a feature's categories, by position.
struct Settled {
    texts: Vec<String>,
    warning: Option<String>,
}

fn settle(
    feature: &ImportedFeature,
    categories: &Categories,
    texts_of: &mut impl FnMut(&str) -> Option<Vec<String>>,
) -> Result<Settled, ImportError> {
    let silent = |texts| Ok(Settled { texts, warning: None });
    match categories {
        Categories::Texts(texts) => silent(texts.clone()),
        Categories::Codes(codes) if codes.len() > limits::MAX_CATEGORIES => {
            Err(ImportError::too_large("categories of one feature", codes.len(), limits::MAX_CATEGORIES))
        }
        Categories::Codes(codes) => {
            let texts = texts_of(&feature.name).unwrap_or_default();
            match texts.iter().map(|text| text.trim().parse().ok()).collect() {
                Some(others) => silent(by_number(codes, others)),
                None => by_order(&feature.name, codes, texts),
            }
        }
        // A feature that no tree asks about needs a list all the same.
        Categories::Hashes(hashes) if hashes.is_empty() => {
            silent(texts_of(&feature.name).filter(|texts| !texts.is_empty()).unwrap_or_else(|| vec!["0".to_owned()]))
        }
        Categories::Hashes(hashes) => silent(by_hash(&feature.name, hashes, texts_of(&feature.name))?),
    }
}

/// The codes that a file names, with those of a table behind them: no tree asks about these, and training may have seen them.
fn by_number(codes: &[u32], mut others: Vec<u32>) -> Vec<String> {
    others.retain(|code| codes.binary_search(code).is_err());
    others.sort_unstable();
    others.dedup();
    others.truncate(limits::MAX_CATEGORIES.saturating_sub(codes.len()));
    let texts: Vec<String> = codes.iter().chain(&others).map(u32::to_string).collect();
    // A feature that no tree asks about needs a list all the same.
    if texts.is_empty() { vec!["0".to_owned()] } else { texts }
}

fn by_order(feature: &str, codes: &[u32], mut texts: Vec<String>) -> Result<Settled, ImportError> {
    texts.sort_unstable();
    let n_codes = codes.last().map_or(0, |&last| last as usize + 1);
    if texts.len() < n_codes {
        let what = format!("the model asks about {n_codes} categories by number, and the table has {} texts", texts.len());
        return Err(ImportError::Categories { feature: feature.to_owned(), what });
    }
    let warning = format!(
        "the model knows the categories of `{feature}` by number: they are taken for the positions of the table's {} texts in sorted \
        order, as pandas has them",
        texts.len()
    );
    let is_named = |position: usize| codes.binary_search(&(position as u32)).is_ok();
    let (named, others): (Vec<_>, Vec<_>) = texts.into_iter().enumerate().partition(|(position, _)| is_named(*position));
    let texts = named.into_iter().chain(others).map(|(_, text)| text).collect();
    Ok(Settled { texts, warning: Some(warning) })
}

/// Adds the codes that trees ask about to the lists of the features that are known by codes, and turns the trees' codes into positions
/// there.
///
/// A list of everything up to the largest code would be as long as a small file says; the codes that a file names are as many as it has
/// room for.
pub(crate) fn list_codes(trees: &mut [Tree], features: &mut [ImportedFeature]) {
    for node in trees.iter().flat_map(|tree| &tree.nodes) {
        if let NodeKind::Split { feature_idx, test: Test::OneOf(set), .. } = &node.kind
            && let ImportedKind::Category(Categories::Codes(codes)) = &mut features[*feature_idx as usize].kind
        {
            codes.extend(set);
        }
    }
    for feature in &mut *features {
        if let ImportedKind::Category(Categories::Codes(codes)) = &mut feature.kind {
            codes.sort_unstable();
            codes.dedup();
        }
    }
    for node in trees.iter_mut().flat_map(|tree| &mut tree.nodes) {
        if let NodeKind::Split { feature_idx, test: Test::OneOf(set), .. } = &mut node.kind
            && let ImportedKind::Category(Categories::Codes(codes)) = &features[*feature_idx as usize].kind
        {
            // Positions rise with the codes, so the set stays sorted; every code of a tree has one.
            for code in set {
                *code = codes.partition_point(|known| known < code) as u32;
            }
        }
    }
}

fn by_hash(feature: &str, hashes: &[u32], texts: Option<Vec<String>>) -> Result<Vec<String>, ImportError> {
    let error = |what: String| ImportError::Categories { feature: feature.to_owned(), what };
    let Some(texts) = texts else {
        return Err(error("the file knows its categories by their hashes only: a table has to name their texts".to_owned()));
    };
    let text_of: HashMap<u32, String> = texts.into_iter().map(|text| (category_hash(&text), text)).collect();
    let text = |hash: &u32| {
        let unknown = || error(format!("no text of the table's column has the hash {hash} that a tree asks about"));
        text_of.get(hash).cloned().ok_or_else(unknown)
    };
    hashes.iter().map(text).collect()
}

/// A category is looked up without the blanks around it, and a text that is one does not mean that the value is missing.
fn category_spec(name: &str, texts: &[String]) -> Result<FeatureSpec, ImportError> {
    let texts: Vec<String> = texts.iter().map(|text| text.trim().to_owned()).collect();
    let mut seen = HashSet::new();
    if let Some(twice) = texts.iter().find(|text| !seen.insert(text.as_str())) {
        let what = format!("the category `{twice}` stands in the list twice, but for blanks around it");
        return Err(ImportError::Categories { feature: name.to_owned(), what });
    }
    let mut spec = FeatureSpec::new(name, ColumnKind::Category);
    for text in &texts {
        if spec.missing.is_text(text) {
            spec.missing = spec.missing.without(text);
        }
    }
    spec.set_categories(texts);
    Ok(spec)
}
