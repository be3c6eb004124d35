//! What holds for every folder that is believed to be a bundle.

use std::path::Path;

use retain_core::{FeatureSchema, Rows};
use retain_score::{Bundle, CheckRows, FILES, MANIFEST, Model, Predictor, Scorer, sha256};
use serde_json::Value;

use super::rows::probing;

/// The first byte, and four files: the manifest, the schema and the check rows, each with its length as two bytes before it, and
/// `model.bin` to the end.
pub fn split(bytes: &[u8]) -> Option<(u8, [&[u8]; 4])> {
    let (&first, mut rest) = bytes.split_first()?;
    let mut parts = [&[][..]; 4];
    for part in &mut parts[..3] {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        (*part, rest) = behind.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    }
    parts[3] = rest;
    Some((first, parts))
}

/// The opposite of [`split`]; none where a file is too long for its two bytes.
pub fn join(first: u8, parts: [&[u8]; 4]) -> Option<Vec<u8>> {
    let mut bytes = vec![first];
    for part in &parts[..3] {
        bytes.extend(u16::try_from(part.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes.extend_from_slice(parts[3]);
    Some(bytes)
}

/// Writes the files, with checksums that are right: a damaged file would get no further. The answers of the check rows are made right too
/// where the lowest bit of the first byte is 0.
pub(crate) fn check(bytes: &[u8]) {
    let Some((first, [manifest, schema, check_rows, model])) = split(bytes) else { return };
    let answered = if first & 1 == 0 { with_answers(schema, check_rows, model) } else { None };
    let check_rows = answered.unwrap_or_else(|| check_rows.to_vec());
    let folder = tempfile::tempdir().expect("a folder for the bundle");
    let path = folder.path().join("bundle");
    std::fs::create_dir(&path).expect("a folder for the bundle");
    let files = [schema, model, b"{}", b"{}", &check_rows, b"# A card\n"];
    for (name, bytes) in FILES.into_iter().zip(files) {
        write(&path, name, bytes);
    }
    let manifest = with_checksums(manifest, &files).unwrap_or_else(|| manifest.to_vec());
    write(&path, MANIFEST, &manifest);
    let bundle = match Bundle::read(&path) {
        Ok(bundle) => bundle,
        Err(error) => return assert!(error.to_string().len() < 100_000, "an endless message"),
    };
    check_scorer(&Scorer::open(&path).expect("what is read can be opened"));
    // What is believed can be published: written again and read back it is the same.
    let copy = folder.path().join("copy");
    bundle.write(&copy).expect("what is read can be written");
    let again = Bundle::read(&copy).expect("what is written can be read");
    assert_eq!(again.schema, bundle.schema);
    assert_eq!(again.model, bundle.model);
    assert_eq!(again.check_rows, bundle.check_rows);
    assert_eq!((again.manifest.address(), again.manifest.bands), (bundle.manifest.address(), bundle.manifest.bands));
}

fn check_scorer(scorer: &Scorer) {
    let rows = probing(scorer.schema(), []);
    let batch = Rows::from_values(scorer.schema().n_features(), rows.concat()).expect("complete rows");
    let mut predictions = Vec::new();
    scorer.predict_rows(batch.values(), &mut predictions);
    for (row, prediction) in rows.iter().zip(&predictions) {
        assert!((0.0..=1.0).contains(&prediction.probability), "{prediction:?} at {row:?}");
        assert_eq!(scorer.predict(row), *prediction);
        let _ = (scorer.band(prediction), scorer.explain(row).top(3), scorer.survival(row, 45.0));
        for (feature, &value) in scorer.schema().features.iter().zip(row) {
            let _ = feature.display(value);
        }
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(folder.join(name), bytes).expect("a file of the bundle");
}

fn with_checksums(manifest: &[u8], files: &[&[u8]; 6]) -> Option<Vec<u8>> {
    let mut manifest: Value = serde_json::from_slice(manifest).ok()?;
    let sums = FILES.into_iter().zip(files).map(|(name, bytes)| (name.to_owned(), Value::from(sha256(bytes))));
    manifest.as_object_mut()?.insert("files".to_owned(), Value::Object(sums.collect()));
    serde_json::to_vec(&manifest).ok()
}

fn with_answers(schema: &[u8], check_rows: &[u8], model: &[u8]) -> Option<Vec<u8>> {
    let schema = serde_json::from_slice::<FeatureSchema>(schema).ok()?.indexed().ok()?;
    let mut check_rows: CheckRows = serde_json::from_slice(check_rows).ok()?;
    let predictor = Predictor::new(&Model::decode(model).ok()?.0, &schema).ok()?;
    for row in &mut check_rows.rows {
        let prediction = predictor.predict(&row.encode(&schema).ok()?);
        row.margin = prediction.margin;
        row.probability = prediction.probability;
        row.expected_value = prediction.expected_value;
    }
    serde_json::to_vec(&check_rows).ok()
}
