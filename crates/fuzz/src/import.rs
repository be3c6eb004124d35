//! What holds for every file that an import accepts.

use retain_core::FeatureSchema;
use retain_import::{Imported, Library, Link, read};
use retain_score::{AmountModel, Calibrator, Head, MarginModel, Model, ModelError, ValueHead};

use super::{margin, model};

/// Reads a file, settles its categories with and without the texts of a table, and scores what comes out.
pub(crate) fn check(library: Library, bytes: &[u8]) {
    let imported = match read(library, bytes) {
        Ok(imported) => imported,
        Err(error) => {
            // The message too is made from what the file says.
            assert!(error.to_string().len() < 100_000, "an endless message");
            return;
        }
    };
    let codes: Vec<String> = (0..40).map(|code| code.to_string()).collect();
    let words: Vec<String> =
        ["", "a", "b", "gold", "silver", " c "].map(str::to_owned).into_iter().chain(codes.clone()).collect();
    for texts in [None, Some(&codes[..]), Some(&words[..])] {
        check_with(imported.clone(), texts);
    }
}

fn check_with(mut imported: Imported, texts: Option<&[String]>) {
    if let Link::Logistic { slope } = imported.link {
        assert!(slope > 0.0 && slope.is_finite());
    }
    let n_features = imported.features.len();
    let Ok(specs) = imported.schema_features(|_| texts.map(<[String]>::to_vec)) else { return };
    assert_eq!(specs.len(), n_features);
    // Two features of one name are refused here.
    let Ok(schema) = FeatureSchema::new(specs, None, "target".to_owned(), "1".to_owned(), None) else { return };
    match imported.margin.check(&schema) {
        Ok(()) => model::check(&model_of(imported), &schema),
        // A reader makes trees, of features that exist; numbers that are too large are found by the check.
        Err(error @ (ModelError::Structure { .. } | ModelError::FeatureIdx { .. })) => panic!("{error}"),
        Err(_) => assert!(margin::check(&imported.margin, &schema).is_err(), "compiled although it was refused"),
    }
}

/// The model that `retain import` makes of it.
fn model_of(imported: Imported) -> Model {
    let calibrator = match imported.link {
        Link::Logistic { slope } => Calibrator::Sigmoid { slope, intercept: 0.0 },
        Link::Exp => Calibrator::Identity,
        Link::Identity => Calibrator::Logarithm,
    };
    if !imported.link.is_amount() {
        return Model::Event(Head { margin: imported.margin, calibrator });
    }
    let occurrence = Head { margin: MarginModel::default(), calibrator: Calibrator::Identity };
    let value = ValueHead { margin: imported.margin, occurrence_weight: 0.0, spread: None, calibrator, interval: None };
    Model::Amount(AmountModel { occurrence, value, decline: None })
}
