use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use retain_core::{ModelName, TaskKind};
use retain_score::{
    BUNDLE_FORMAT_VERSION, Bands, Bundle, BundleError, CheckRow, CheckRows, CheckValue, FILES, Manifest, Predictor, Scorer,
};

use crate::random::{model, random, row, schema};

/// A complete bundle of a random model; another seed, another model.
pub fn bundle(name: &str, seed: u64) -> Bundle {
    let mut rng = random(seed);
    let schema = schema(5, &mut rng);
    let model = model(&schema, 6, 4, &mut rng);
    let predictor = Predictor::new(&model, &schema).unwrap();
    let rows = (0..8)
        .map(|_| {
            let encoded = row(&schema, &mut rng);
            let prediction = predictor.predict(&encoded);
            let values = schema.features.iter().zip(&encoded).filter(|(_, value)| !value.is_nan());
            let features = values.map(|(feature, &value)| {
                let unseen = || "never seen".to_owned();
                let value = if feature.categories.is_empty() {
                    CheckValue::Number(value)
                } else {
                    CheckValue::Text(feature.categories.get(value as usize).cloned().unwrap_or_else(unseen))
                };
                (feature.name.clone(), value)
            });
            let effects = predictor.effects(&encoded).unwrap_or_default();
            CheckRow {
                effects: effects.iter().map(|effect| effect.effect).collect(),
                features: features.collect(),
                observed: None,
                margin: prediction.margin,
                probability: prediction.probability,
                expected_value: prediction.expected_value,
            }
        })
        .collect();
    let manifest = Manifest {
        format_version: BUNDLE_FORMAT_VERSION,
        name: ModelName::new(name).unwrap(),
        version: 1,
        kind: TaskKind::Churn,
        definition: "left within the month".into(),
        horizon_days: 30,
        lead_days: 0,
        seed,
        learner: "random".into(),
        configuration: String::new(),
        calibrator: model.calibrator().name().into(),
        validation: "none".into(),
        n_rows: 500,
        n_positives: 100,
        n_customers: 500,
        observed: None,
        reference_day: None,
        currency: None,
        bands: Bands { medium: 0.3, high: 0.6 },
        data_sha256: String::new(),
        schema_sha256: String::new(),
        tool_version: "0".into(),
        warnings: Vec::new(),
        files: BTreeMap::new(),
    };
    Bundle {
        manifest,
        schema,
        model,
        check_rows: CheckRows { rows },
        metrics: b"{}\n".to_vec(),
        reference: b"{}\n".to_vec(),
        card: "# A card\n".into(),
        size_bytes: 0,
    }
}

fn written(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("bundle");
    bundle("telco", 1).write(&path).unwrap();
    path
}

#[test]
fn a_bundle_survives_the_disk_and_scores_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    let (before, after) = (bundle("telco", 1), Scorer::open(&path).unwrap());
    let before = Scorer::new(before.manifest, before.schema, &before.model).unwrap();
    let mut rng = random(99);
    for _ in 0..100 {
        let row = row(after.schema(), &mut rng);
        assert_eq!(before.predict(&row).probability.to_bits(), after.predict(&row).probability.to_bits());
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the bundle");
}

#[test]
fn the_same_bundle_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    bundle("telco", 1).write(&a).unwrap();
    bundle("telco", 1).write(&b).unwrap();
    for file in FILES.iter().chain(&["manifest.json"]) {
        assert_eq!(fs::read(a.join(file)).unwrap(), fs::read(b.join(file)).unwrap(), "{file}");
    }
}

#[test]
fn one_flipped_bit_in_any_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    for name in FILES {
        let file = path.join(name);
        let good = fs::read(&file).unwrap();
        for position in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[position] ^= 1;
            fs::write(&file, &bad).unwrap();
            let error = Bundle::read(&path).unwrap_err();
            assert!(matches!(&error, BundleError::Checksum { file, .. } if file == name), "{name}: {error}");
        }
        fs::write(&file, &good).unwrap();
    }
    Bundle::read(&path).unwrap();
}

#[test]
fn missing_and_shortened_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    for name in FILES {
        let file = path.join(name);
        let good = fs::read(&file).unwrap();
        fs::write(&file, &good[..good.len() / 2]).unwrap();
        assert!(Bundle::read(&path).unwrap_err().to_string().contains(name));
        fs::remove_file(&file).unwrap();
        let error = Bundle::read(&path).unwrap_err();
        assert!(matches!(&error, BundleError::MissingFile { file, .. } if file == name), "{error}");
        fs::write(&file, &good).unwrap();
    }
    fs::remove_file(path.join("manifest.json")).unwrap();
    assert!(matches!(Bundle::read(&path).unwrap_err(), BundleError::NotABundle { .. }));
}

#[test]
fn a_newer_bundle_is_named_whatever_else_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    fs::write(path.join("manifest.json"), br#"{"format_version": 7, "unheard_of": true}"#).unwrap();
    let error = Bundle::read(&path).unwrap_err();
    assert!(matches!(error, BundleError::NewerFormat { found: 7, supported: 2, .. }), "{error}");
}

/// Rewrites one file and its checksum, as somebody would who wants to be believed.
fn forge(path: &Path, name: &str, change: impl Fn(String) -> String) {
    let text = change(fs::read_to_string(path.join(name)).unwrap());
    fs::write(path.join(name), &text).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(path.join("manifest.json")).unwrap()).unwrap();
    manifest["files"][name] = retain_score::sha256(text.as_bytes()).into();
    fs::write(path.join("manifest.json"), manifest.to_string()).unwrap();
}

#[test]
fn a_model_that_does_not_give_its_answers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    let right = bundle("telco", 1).check_rows.rows[3].margin;
    forge(&path, "check_rows.json", |text| text.replacen(&right.to_string(), &(right + 1e-12).to_string(), 1));
    let error = Bundle::read(&path).unwrap_err();
    assert!(matches!(error, BundleError::CheckRows { .. }), "{error}");
}

#[test]
fn a_schema_of_another_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    forge(&path, "schema.json", |text| {
        let mut schema: serde_json::Value = serde_json::from_str(&text).unwrap();
        schema["features"].as_array_mut().unwrap().pop();
        schema.to_string()
    });
    let error = Bundle::read(&path).unwrap_err();
    assert!(matches!(error, BundleError::FeatureCount { expected: 4, found: 5, .. }), "{error}");
}

#[test]
fn a_bundle_is_never_written_over_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thesis");
    fs::create_dir(&path).unwrap();
    bundle("telco", 1).write(&path).unwrap();
    assert!(matches!(bundle("telco", 2).write(&path).unwrap_err(), BundleError::Exists { .. }));
    bundle("telco", 2).replace(&path).unwrap();
    assert_eq!(Bundle::read(&path).unwrap().manifest.seed, 2);
    let other = folder.path().join("letters");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter.txt"), "dear").unwrap();
    assert!(matches!(bundle("telco", 1).replace(&other).unwrap_err(), BundleError::Exists { .. }));
    fs::write(other.join("manifest.json"), "{}").unwrap();
    assert!(matches!(bundle("telco", 1).replace(&other).unwrap_err(), BundleError::Exists { .. }));
    assert_eq!(fs::read_to_string(other.join("letter.txt")).unwrap(), "dear");
}

#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_a_file_is_refused_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    fs::remove_file(path.join("model.bin")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(path.join("model.bin")).status().unwrap();
    assert!(made.success());
    let error = Bundle::read(&path).unwrap_err();
    assert!(matches!(&error, BundleError::NotAFile { file, .. } if file == "model.bin"), "{error}");
}
