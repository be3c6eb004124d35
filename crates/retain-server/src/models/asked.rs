//! What a request asks for: from addresses to versions that answer, and from a customer to champion or challenger.

use std::sync::Arc;

use retain_core::{ModelAddress, ModelName, VersionSelector, nearest};

use super::{LiveModel, LiveSet, LiveVersions, MAX_ADDRESSES};
use crate::status::{CallError, Violation, check_count};
use crate::traffic::is_among;

/// What a version answers as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alias {
    Champion,
    Challenger,
    Shadow,
}

/// A version that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'s> {
    pub(crate) model: &'s Arc<LiveModel>,
    /// As what; none where a version was named by its number.
    pub(crate) alias: Option<Alias>,
    /// All live versions of the model.
    pub(crate) family: &'s LiveVersions,
    /// The version that answers a share of the customers instead, where none was named.
    pub(crate) challenger: Option<&'s Arc<LiveModel>>,
}

impl Alias {
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Champion, Self::Challenger, Self::Shadow].into_iter().find(|alias| alias.as_str() == name)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Champion => "champion",
            Self::Challenger => "challenger",
            Self::Shadow => "shadow",
        }
    }
}

impl<'s> Asked<'s> {
    /// The champion, and the challenger that has its share.
    fn by_name(family: &'s LiveVersions) -> Option<Self> {
        let model = family.by_alias(Alias::Champion.as_str())?;
        let challenger = if family.share > 0.0 { family.by_alias(Alias::Challenger.as_str()) } else { None };
        // As two aliases of one version nothing would be left to compare.
        let challenger = challenger.filter(|challenger| !Arc::ptr_eq(challenger, model));
        Some(Self { model, alias: Some(Alias::Champion), family, challenger })
    }

    /// Whether the challenger answers this customer.
    pub(crate) fn is_challenged(&self, customer_id: &str) -> bool {
        self.challenger.is_some() && is_among(self.family.share, &self.model.scorer.manifest().name, customer_id)
    }

    /// The one version that answers this customer.
    pub(crate) fn by(self, customer_id: &str) -> Self {
        match self.challenger {
            Some(model) if self.is_challenged(customer_id) => {
                Self { model, alias: Some(Alias::Challenger), challenger: None, ..self }
            }
            _ => Self { challenger: None, ..self },
        }
    }

    /// The version that is scored beside the champion or the challenger and told to nobody.
    pub(crate) fn shadow(&self) -> Option<&'s Arc<LiveModel>> {
        let shadow = self.family.by_alias(Alias::Shadow.as_str())?;
        matches!(self.alias, Some(Alias::Champion | Alias::Challenger)).then_some(shadow)
    }

    /// Whether any live version of the model has this feature: callers do not choose the version, and send the same to all.
    pub(crate) fn knows(&self, feature: &str) -> bool {
        let knows = |model: &Arc<LiveModel>| model.scorer.schema().feature_idx(feature).is_some();
        knows(self.model) || self.family.versions.values().any(knows)
    }

    /// Whether rows need a day of observation.
    pub(crate) fn has_dates(&self) -> bool {
        self.model.has_dates || self.challenger.is_some_and(|challenger| challenger.has_dates)
    }

    fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.model, other.model) && self.challenger.is_some() == other.challenger.is_some()
    }
}

/// Keeps the first of those that are the same.
fn push_once<'s>(list: &mut Vec<Asked<'s>>, asked: Asked<'s>) {
    if !list.iter().any(|known| known.is_same_as(&asked)) {
        list.push(asked);
    }
}

impl LiveSet {
    /// The models that a request names, each version once, in the order asked for; all champions when it names none. Where a share of
    /// the customers is the challenger's, it is not said yet who answers.
    pub(crate) fn select(&self, addresses: &[String]) -> Result<Vec<Asked<'_>>, CallError> {
        self.require_any()?;
        if addresses.is_empty() {
            return self.require_champion();
        }
        check_count("models", addresses.len(), MAX_ADDRESSES)?;
        let mut selected = Vec::with_capacity(addresses.len());
        for (position, address) in addresses.iter().enumerate() {
            push_once(&mut selected, self.find(address, || format!("models[{position}]"))?);
        }
        Ok(selected)
    }

    /// The versions that answer this customer, each once.
    pub(crate) fn select_for(&self, addresses: &[String], customer_id: &str) -> Result<Vec<Asked<'_>>, CallError> {
        let mut selected = self.select(addresses)?;
        if selected.iter().any(|asked| asked.challenger.is_some()) {
            let mut answering = Vec::with_capacity(selected.len());
            for asked in selected {
                push_once(&mut answering, asked.by(customer_id));
            }
            selected = answering;
        }
        Ok(selected)
    }

    /// The one model that a request names; the only champion when it names none. `customer_id` may be empty.
    pub(crate) fn select_one(&self, address: &str, customer_id: &str) -> Result<Asked<'_>, CallError> {
        self.require_any()?;
        if !address.is_empty() {
            return Ok(self.find(address, || "model".to_owned())?.by(customer_id));
        }
        match &self.require_champion()?[..] {
            [only] => Ok(only.by(customer_id)),
            several => {
                let description = format!("should name a model, for {} have a champion", several.len());
                Err(Violation::new("model", "MODEL_REQUIRED", &description).into())
            }
        }
    }

    fn require_any(&self) -> Result<(), CallError> {
        if self.by_name.values().all(|model| model.versions.is_empty()) {
            return Err(CallError::NotLoaded { description: "no model is loaded".to_owned() });
        }
        Ok(())
    }

    fn require_champion(&self) -> Result<Vec<Asked<'_>>, CallError> {
        let champions: Vec<_> = self.by_name.values().filter_map(Asked::by_name).collect();
        if champions.is_empty() {
            return Err(CallError::NotLoaded { description: "no model has a champion".to_owned() });
        }
        Ok(champions)
    }

    fn find(&self, text: &str, field: impl Fn() -> String) -> Result<Asked<'_>, CallError> {
        let address: ModelAddress = text.parse().map_err(|error: retain_core::AddressError| {
            CallError::from(Violation::new(field(), "INVALID_MODEL_ADDRESS", &error.to_string()))
        })?;
        let unknown = |reason, description: String| {
            CallError::UnknownModel(Violation::new(field(), reason, &format!("names {description}")))
        };
        let Some(family) = self.by_name.get(&address.name) else {
            let near = nearest(address.name.as_str(), self.by_name.keys().map(ModelName::as_str));
            let hint = near.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
            return Err(unknown("MODEL_NOT_FOUND", format!("`{}`, which is not a model here{hint}", address.name)));
        };
        let asked = |model, alias| Asked { model, alias, family, challenger: None };
        let found = match &address.selector {
            VersionSelector::Alias(_) if text == address.name.as_str() => Asked::by_name(family),
            VersionSelector::Alias(alias) => family.by_alias(alias).map(|model| asked(model, Alias::of(alias))),
            VersionSelector::Version(version) => family.versions.get(version).map(|model| asked(model, None)),
        };
        found.ok_or_else(|| match family.why_not(&address) {
            Ok(description) => unknown("VERSION_NOT_FOUND", description),
            Err(refused) => refused,
        })
    }
}
