//! How much memory an encoded batch would take, told from its bytes alone.
//!
//! A column of two bytes takes eighty decoded, a text of three takes fifty-six;
//! so the size of a message bounds little. The walk looks at keys and lengths only and allocates nothing.

use retain_proto::v1;

/// What an encoded `PredictBatchRequest` holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchWeight {
    pub(crate) n_customer_ids: usize,
    pub(crate) n_columns: usize,
    pub(crate) n_models: usize,
    /// Memory of the decoded message, about; lists that grow hold up to half as much again.
    pub(crate) decoded_bytes: usize,
}

/// Weighs an encoded `PredictBatchRequest`; none when keys and lengths do not hold together. What is in the fields is for the decoder to
/// judge.
pub(crate) fn weigh_batch(message: &[u8]) -> Option<BatchWeight> {
    let mut weight = BatchWeight::default();
    walk(message, |field, content| {
        weight.decoded_bytes += match field {
            1 => {
                weight.n_customer_ids += 1;
                text_bytes(content)
            }
            2 => {
                weight.n_columns += 1;
                size_of::<v1::FeatureColumn>() + column_bytes(content)?
            }
            4 => {
                weight.n_models += 1;
                text_bytes(content)
            }
            // Arrow is not unpacked in decoding.
            6 => content.len(),
            _ => 0,
        };
        Some(())
    })?;
    Some(weight)
}

fn column_bytes(column: &[u8]) -> Option<usize> {
    let mut bytes = 0;
    walk(column, |field, content| {
        bytes += match field {
            1 => text_bytes(content),
            3 => texts_bytes(content)?,
            // Packed row numbers: at least one byte each on the wire, four in memory. One that is not packed has no content.
            5 => size_of::<u32>() * content.len().max(1),
            // Numbers and booleans take what they take on the wire.
            _ => content.len(),
        };
        Some(())
    })?;
    Some(bytes)
}

fn texts_bytes(texts: &[u8]) -> Option<usize> {
    let mut bytes = 0;
    walk(texts, |_, content| {
        bytes += text_bytes(content);
        Some(())
    })?;
    Some(bytes)
}

/// A text's own size and its place on the heap, of which allocators give no less than 32 bytes.
fn text_bytes(text: &[u8]) -> usize {
    size_of::<String>() + if text.is_empty() { 0 } else { text.len().max(16) + 16 }
}

/// Calls `visit` with the number of every field and its content, empty for numbers.
fn walk<'m>(mut message: &'m [u8], mut visit: impl FnMut(usize, &'m [u8]) -> Option<()>) -> Option<()> {
    while !message.is_empty() {
        // Keys and plain numbers are written as lengths are.
        let key = prost::decode_length_delimiter(&mut message).ok()?;
        let length = match key & 7 {
            0 => prost::decode_length_delimiter(&mut message).ok().map(|_| 0)?,
            1 => skip(&mut message, 8)?,
            2 => prost::decode_length_delimiter(&mut message).ok()?,
            5 => skip(&mut message, 4)?,
            // None of our messages has groups, and what is in them would not be weighed.
            _ => return None,
        };
        let (content, rest) = message.split_at_checked(length)?;
        message = rest;
        visit(key >> 3, content)?;
    }
    Some(())
}

fn skip(message: &mut &[u8], n_bytes: usize) -> Option<usize> {
    *message = message.get(n_bytes..)?;
    Some(0)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use retain_proto::v1::feature_column::Values;

    use super::*;

    fn weight(message: &v1::PredictBatchRequest) -> BatchWeight {
        weigh_batch(&message.encode_to_vec()).unwrap()
    }

    fn column(name: &str, values: Option<Values>, missing: Vec<u32>) -> v1::FeatureColumn {
        v1::FeatureColumn { name: name.into(), values, missing }
    }

    #[test]
    fn a_batch_is_counted_and_weighed() {
        let texts = Values::Texts(v1::TextColumn { values: vec![String::new(), "x".into(), "y".repeat(100)] });
        let numbers = Values::Numbers(v1::NumberColumn { values: vec![1.5; 3] });
        let booleans = Values::Booleans(v1::BooleanColumn { values: vec![true, false, true] });
        let columns = vec![
            column("", Some(texts), vec![]),
            column("", Some(numbers), vec![0, 2]),
            column("", Some(booleans), vec![]),
            column("", None, vec![]),
        ];
        let customer_ids = vec![String::new(); 3];
        let message = v1::PredictBatchRequest {
            customer_ids,
            columns,
            observed_at: Some(prost_types::Timestamp { seconds: 1, nanos: 1 }),
            models: vec![String::new()],
            unknown_feature_policy: 2,
            arrow_ipc: vec![0; 300],
            arrow_id_column: "id".into(),
        };
        // The bytes of Arrow; four empty texts at the top; three texts with 32 and 116 bytes on the heap; 24 bytes of numbers, 8 of positions, 3 booleans;
        // numbers and booleans count with the key and the length before them.
        let decoded_bytes = 300 + 4 * 24 + 4 * size_of::<v1::FeatureColumn>() + 3 * 24 + 32 + 116 + (2 + 24) + 8 + (2 + 3);
        assert_eq!(weight(&message), BatchWeight { n_customer_ids: 3, n_columns: 4, n_models: 1, decoded_bytes });
    }

    #[test]
    fn what_is_tiny_on_the_wire_has_its_weight_in_memory() {
        let empty = vec![v1::FeatureColumn::default(); 1_000];
        let message = v1::PredictBatchRequest { columns: empty, ..v1::PredictBatchRequest::default() };
        assert_eq!(message.encoded_len(), 2_000);
        assert_eq!(weight(&message).decoded_bytes, 1_000 * size_of::<v1::FeatureColumn>());
        assert_eq!(weigh_batch(&[]), Some(BatchWeight::default()));
    }

    #[test]
    fn broken_messages_have_no_weight() {
        let whole =
            v1::PredictBatchRequest { columns: vec![column("tenure", None, vec![1])], ..v1::PredictBatchRequest::default() };
        let bytes = whole.encode_to_vec();
        assert!((1..bytes.len()).all(|length| weigh_batch(&bytes[..length]).is_none()));
        // A length beyond any memory, a number without an end, a group.
        for broken in [&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f][..], &[0x28, 0xff], &[0x13, 0x14]] {
            assert_eq!(weigh_batch(broken), None, "{broken:x?}");
        }
    }
}
