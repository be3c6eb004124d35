//! A `PredictRequest` read from its bytes: names and texts stay where they are.
//!
//! What is here does no more than the generated decoder does, and takes and refuses the same bytes; where it is in doubt it leaves the
//! message to that one, whose words the refusal has.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use retain_core::FeatureValue;
use retain_proto::v1;

use crate::convert::Features;

/// A request, its names and texts in the bytes that came.
#[derive(Debug, PartialEq)]
pub(crate) struct PredictRequest<'m> {
    pub(crate) customer_id: &'m str,
    pub(crate) features: Features<'m>,
    /// All other fields.
    pub(crate) rest: v1::PredictRequest,
}

/// Reads a message; none where the generated decoder has to judge it.
pub(crate) fn read(mut message: &[u8]) -> Option<PredictRequest<'_>> {
    let (mut customer_id, mut features) = ("", Vec::with_capacity(message.len() / 32));
    let mut rest = v1::PredictRequest::default();
    while !message.is_empty() {
        let (field, wire_type) = decode_key(&mut message).ok()?;
        match (field, wire_type) {
            (1, WireType::LengthDelimited) => customer_id = text(&mut message)?,
            (2, WireType::LengthDelimited) => features.push(entry(content(&mut message)?)?),
            // The generated decoder takes a map whatever its key says.
            (1 | 2, _) => return None,
            _ => rest.merge_field(field, wire_type, &mut message, DecodeContext::default()).ok()?,
        }
    }
    Some(PredictRequest { customer_id, features: Features::new(features), rest })
}

/// One entry of the map: a name and its value.
fn entry(mut entry: &[u8]) -> Option<(&str, FeatureValue<'_>)> {
    let (mut name, mut value) = ("", FeatureValue::Missing);
    while !entry.is_empty() {
        match decode_key(&mut entry).ok()? {
            (1, WireType::LengthDelimited) => name = text(&mut entry)?,
            (2, WireType::LengthDelimited) => set(&mut value, content(&mut entry)?)?,
            (1 | 2, _) => return None,
            (field, wire_type) => skip_field(wire_type, field, &mut entry, DecodeContext::default()).ok()?,
        }
    }
    Some((name, value))
}

/// Sets a value to the last of the kinds that a `FeatureValue` message has.
fn set<'m>(value: &mut FeatureValue<'m>, mut message: &'m [u8]) -> Option<()> {
    while !message.is_empty() {
        *value = match decode_key(&mut message).ok()? {
            (1, WireType::SixtyFourBit) => {
                let (bytes, after) = message.split_first_chunk()?;
                message = after;
                FeatureValue::Number(f64::from_le_bytes(*bytes))
            }
            (2, WireType::LengthDelimited) => FeatureValue::Text(text(&mut message)?),
            (3, WireType::Varint) => FeatureValue::Boolean(decode_varint(&mut message).ok()? != 0),
            (1..=3, _) => return None,
            (field, wire_type) => {
                skip_field(wire_type, field, &mut message, DecodeContext::default()).ok()?;
                continue;
            }
        };
    }
    Some(())
}

fn text<'m>(message: &mut &'m [u8]) -> Option<&'m str> {
    std::str::from_utf8(content(message)?).ok()
}

/// What stands behind a length.
fn content<'m>(message: &mut &'m [u8]) -> Option<&'m [u8]> {
    let length = usize::try_from(decode_varint(message).ok()?).ok()?;
    let (content, after) = message.split_at_checked(length)?;
    *message = after;
    Some(content)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use v1::feature_value::Value;

    use super::*;

    fn value() -> impl Strategy<Value = v1::FeatureValue> {
        let value = prop_oneof![
            Just(None),
            any::<f64>()
                .prop_filter("NaN is not equal to itself", |number| !number.is_nan())
                .prop_map(|number| Some(Value::Number(number))),
            ".{0,12}".prop_map(|text| Some(Value::Text(text))),
            any::<bool>().prop_map(|yes| Some(Value::Boolean(yes))),
        ];
        value.prop_map(|value| v1::FeatureValue { value })
    }

    fn request() -> impl Strategy<Value = v1::PredictRequest> {
        let features = prop::collection::btree_map(".{0,6}", value(), 0..12);
        let observed_at = prop::option::of((any::<i64>(), any::<i32>()));
        let observed_at = observed_at.prop_map(|at| at.map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos }));
        let models = prop::collection::vec("[a-z@/3]{0,6}", 0..3);
        (".{0,8}", features, models, any::<u32>(), prop::option::of(0.0..1e9_f64), observed_at).prop_map(
            |(customer_id, features, models, top_k_reasons, elapsed_days, observed_at)| v1::PredictRequest {
                customer_id,
                features,
                models,
                top_k_reasons,
                elapsed_days,
                observed_at,
                ..v1::PredictRequest::default()
            },
        )
    }

    /// What the generated decoder makes of the same bytes has to be the same.
    fn check(message: &[u8]) -> Result<(), TestCaseError> {
        let expected = v1::PredictRequest::decode(message).ok();
        let Some(found) = read(message) else {
            // Left to the other one: always sound.
            return Ok(());
        };
        let Some(mut expected) = expected else {
            return Err(TestCaseError::fail(format!("{message:?} is read and should not be")));
        };
        prop_assert_eq!(found.customer_id, std::mem::take(&mut expected.customer_id));
        let features: BTreeMap<String, v1::FeatureValue> = std::mem::take(&mut expected.features);
        // Compared as texts: NaN is not equal to itself.
        prop_assert_eq!(format!("{:?}", found.features), format!("{:?}", Features::from(&features)));
        prop_assert_eq!(format!("{:?}", found.rest), format!("{expected:?}"));
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn whole_messages_are_read_as_the_generated_decoder_reads_them(request in request()) {
            let message = request.encode_to_vec();
            prop_assert!(read(&message).is_some());
            check(&message)?;
        }

        #[test]
        fn damaged_messages_too(request in request(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>()) {
            let mut message = request.encode_to_vec();
            if !message.is_empty() {
                for (at, byte) in changes {
                    let at = at.index(message.len());
                    message[at] = byte;
                }
                check(&message)?;
                message.truncate(cut.index(message.len()));
                check(&message)?;
            }
        }

        #[test]
        fn a_field_that_comes_twice_counts_once(first in request(), second in request()) {
            let message = [first.encode_to_vec(), second.encode_to_vec()].concat();
            check(&message)?;
        }
    }
}
