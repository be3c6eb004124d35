//! The values of one customer as a request has them.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use retain_core::{FeatureSchema, FeatureValue};
use retain_proto::v1;

/// Values by name, in the byte order of the names, so that a walk beside a schema's finds them all.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Features<'m>(Vec<(&'m str, FeatureValue<'m>)>);

impl<'m> Features<'m> {
    /// Of a name that is given more than once, the last value counts.
    pub(crate) fn new(mut pairs: Vec<(&'m str, FeatureValue<'m>)>) -> Self {
        // Many clients send them so.
        let rises = |pair: &[(&str, FeatureValue<'_>)]| pair[0].0 < pair[1].0;
        if !pairs.windows(2).all(rises) {
            pairs.reverse();
            pairs.sort_by_key(|(name, _)| *name);
            pairs.dedup_by_key(|(name, _)| *name);
        }
        Self(pairs)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'m str> {
        self.0.iter().map(|(name, _)| *name)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.binary_search_by_key(&name, |(name, _)| name).is_ok()
    }

    /// The value of a name; none where it was not sent.
    pub(crate) fn get(&self, name: &str) -> Option<FeatureValue<'m>> {
        self.0.binary_search_by_key(&name, |(name, _)| name).ok().map(|position| self.0[position].1)
    }

    /// The same with texts of their own, as a message has them.
    pub(crate) fn to_owned(&self) -> BTreeMap<String, v1::FeatureValue> {
        self.0.iter().map(|(name, value)| ((*name).to_owned(), v1::FeatureValue { value: wire_value(*value) })).collect()
    }

    /// Calls `visit` with the position of every feature of the schema that has a value here, and how many values the schema has no
    /// feature for.
    fn walk(&self, schema: &FeatureSchema, mut visit: impl FnMut(usize, FeatureValue<'m>)) -> usize {
        let mut n_unknown = 0;
        let mut features = schema.by_name();
        let mut next = features.next();
        for (name, value) in &self.0 {
            let found = loop {
                // One comparison for each feature: names share their beginnings.
                match next.map(|(position, feature)| (position, feature.name.as_str().cmp(name))) {
                    Some((_, Ordering::Less)) => next = features.next(),
                    Some((position, Ordering::Equal)) => break Some(position),
                    Some((_, Ordering::Greater)) | None => break None,
                }
            };
            match found {
                Some(position) => {
                    visit(position, *value);
                    next = features.next();
                }
                None => n_unknown += 1,
            }
        }
        n_unknown
    }

    /// Whether the schema has a feature for every value.
    pub(crate) fn are_known_to(&self, schema: &FeatureSchema) -> bool {
        self.walk(schema, |_, _| ()) == 0
    }

    /// The values of the schema's features, in its order.
    pub(crate) fn in_order_of(&self, schema: &FeatureSchema) -> Vec<Option<FeatureValue<'m>>> {
        let mut values = vec![None; schema.n_features()];
        self.walk(schema, |position, value| values[position] = Some(value));
        values
    }
}

impl<'m> From<&'m BTreeMap<String, v1::FeatureValue>> for Features<'m> {
    fn from(features: &'m BTreeMap<String, v1::FeatureValue>) -> Self {
        Self(features.iter().map(|(name, value)| (name.as_str(), feature_value(value))).collect())
    }
}

fn wire_value(value: FeatureValue<'_>) -> Option<v1::feature_value::Value> {
    use v1::feature_value::Value;
    match value {
        FeatureValue::Missing => None,
        FeatureValue::Number(number) => Some(Value::Number(number)),
        FeatureValue::Boolean(yes) => Some(Value::Boolean(yes)),
        FeatureValue::Text(text) => Some(Value::Text(text.to_owned())),
        FeatureValue::Day(day) => Some(Value::Text(day.to_string())),
    }
}

fn feature_value(value: &v1::FeatureValue) -> FeatureValue<'_> {
    match &value.value {
        None => FeatureValue::Missing,
        Some(v1::feature_value::Value::Number(number)) => FeatureValue::Number(*number),
        Some(v1::feature_value::Value::Text(text)) => FeatureValue::Text(text),
        Some(v1::feature_value::Value::Boolean(yes)) => FeatureValue::Boolean(*yes),
    }
}

#[cfg(test)]
mod tests {
    use retain_core::{ColumnKind, FeatureSpec};

    use super::*;

    fn number(number: f64) -> FeatureValue<'static> {
        FeatureValue::Number(number)
    }

    #[test]
    fn values_find_their_features_whatever_the_order() {
        let features = ["b", "z", "a", "m"].map(|name| FeatureSpec::new(name, ColumnKind::Number)).to_vec();
        let schema = FeatureSchema::new(features, None, "y".into(), "1".into(), None).unwrap();
        for pairs in [
            vec![("a", number(1.0)), ("m", number(2.0)), ("z", number(3.0))],
            vec![("z", number(3.0)), ("a", number(1.0)), ("m", number(2.0))],
        ] {
            let sent = Features::new(pairs);
            assert_eq!(sent.in_order_of(&schema), [None, Some(number(3.0)), Some(number(1.0)), Some(number(2.0))]);
            assert!(sent.are_known_to(&schema) && sent.contains("m") && !sent.contains("b"));
        }
        let unknown = Features::new(vec![("A", number(1.0)), ("b", number(2.0)), ("zz", number(3.0))]);
        assert!(!unknown.are_known_to(&schema));
        assert_eq!(unknown.in_order_of(&schema), [Some(number(2.0)), None, None, None]);
    }

    #[test]
    fn the_last_of_several_values_counts() {
        let sent = Features::new(vec![("a", number(1.0)), ("b", number(2.0)), ("a", number(3.0))]);
        assert_eq!(sent, Features(vec![("a", number(3.0)), ("b", number(2.0))]));
        assert_eq!(sent.len(), 2);
    }
}
