//! Writes the small files that the corpora began with: `cargo run --example make_seeds`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use retain_core::{ColumnKind, FeatureSchema, FeatureSpec, ModelName, TaskKind};
use retain_score::{
    AmountModel, Arm, BUNDLE_FORMAT_VERSION, Bands, Bundle, Calibrator, Cause, CheckRow, CheckRows, CheckValue, EffectPart,
    HazardModel, Head, Individual, Interval, MANIFEST, Manifest, MarginModel, Model, Node, NodeKind, Shape, Term, Test, Tree,
    UpliftModel, ValueHead,
};
use serde_json::{Value, json};

fn main() {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (number, model) in models(1).iter().enumerate() {
        write(&corpus, "model", &format!("seed_{number}"), &model.encode(5));
    }
    for (number, model) in models(0).iter().enumerate() {
        write(&corpus, "model", &format!("seed_numbers_{number}"), &model.encode(3));
    }
    for (number, bytes) in
        [vec![1, 0, 0, 0, 0, 0, 4], (0..=255).collect(), (0..200).map(|i| (i * 37 + 11) as u8).collect()].iter().enumerate()
    {
        write(&corpus, "made_model", &format!("seed_{number}"), bytes);
    }
    for (number, model) in models(1).into_iter().enumerate() {
        write(&corpus, "bundle", &format!("seed_{number}"), &bundle(model));
    }
    for (number, text) in lightgbm().iter().enumerate() {
        write(&corpus, "lightgbm", &format!("seed_{number}"), text.as_bytes());
    }
    for (number, model) in xgboost().iter().enumerate() {
        write(&corpus, "xgboost_json", &format!("seed_{number}"), model.to_string().as_bytes());
        write(&corpus, "xgboost_ubjson", &format!("seed_{number}"), &ubjson(model));
    }
    for (number, model) in catboost().iter().enumerate() {
        write(&corpus, "catboost", &format!("seed_{number}"), model.to_string().as_bytes());
    }
}

fn write(corpus: &Path, target: &str, name: &str, bytes: &[u8]) {
    let folder = corpus.join(target);
    fs::create_dir_all(&folder).expect("a folder for the corpus");
    fs::write(folder.join(name), bytes).expect("a file of the corpus");
}

fn split(feature_idx: u32, test: Test, left: u32, right: u32, cover: f64) -> Node {
    Node { cover, kind: NodeKind::Split { feature_idx, test, missing_left: feature_idx == 0, left, right } }
}

fn leaf(value: f64, cover: f64) -> Node {
    Node { cover, kind: NodeKind::Leaf { value } }
}

/// A margin of numbers at the features 0 and 2, and of categories at `category` where that is not 0.
fn margin(category: u32) -> MarginModel {
    let number =
        Shape::Number { low: 0.0, high: 90.0, log: true, center: 2.0, scale: 1.5, linear: 0.3, quadratic: 0.1, missing: 0.2 };
    let mut terms = vec![Term { feature_idx: 0, shape: number, mean: 0.1 }];
    let second = if category == 0 { Test::Below(f64::INFINITY) } else { Test::OneOf(vec![0, 3]) };
    if category > 0 {
        let shape = Shape::Category { values: vec![0.1, -0.1, 0.2, 0.0], missing: 0.3 };
        terms.push(Term { feature_idx: category, shape, mean: 0.0 });
    }
    let trees = vec![
        Tree {
            nodes: vec![
                split(0, Test::Below(2.5), 1, 2, 6.0),
                leaf(-0.1, 2.0),
                split(category, second, 3, 4, 4.0),
                leaf(0.2, 1.0),
                leaf(0.4, 3.0),
            ],
        },
        Tree { nodes: vec![split(2, Test::Below(0.5), 1, 2, 3.0), leaf(0.5, 1.0), leaf(-0.5, 2.0)] },
        Tree { nodes: vec![leaf(0.25, 3.0)] },
    ];
    MarginModel { intercept: -1.0, terms, trees }
}

fn models(category: u32) -> Vec<Model> {
    let head = |calibrator| Head { margin: margin(category), calibrator };
    let isotonic = Calibrator::Isotonic { margins: vec![-1.0, 0.0, 2.0], log_odds: vec![-2.0, 0.1, 1.0] };
    let value = ValueHead {
        margin: margin(category),
        occurrence_weight: 0.5,
        spread: Some(margin(category)),
        calibrator: Calibrator::Sigmoid { slope: 1.1, intercept: 0.2 },
        interval: Some(Interval { borders: vec![2.0], low: vec![-1.0, -0.5], high: vec![0.5, 0.7] }),
    };
    let plain =
        ValueHead { spread: None, calibrator: Calibrator::Logarithm, interval: None, occurrence_weight: 0.0, ..value.clone() };
    let cause =
        |name: &str| Cause { name: name.to_owned(), hazard: head(Calibrator::Beta { rise: 0.7, fall: 1.2, intercept: 0.3 }) };
    let chances = EffectPart::Chances { weight: 0.5, treated: margin(category), control: margin(category) };
    let parts = vec![EffectPart::Effect(margin(category)), chances];
    let individual = Individual { parts, center: 0.1, slope: 0.5, slope_half_width: 0.2 };
    let arm = |name: &str, individual| Arm { name: name.to_owned(), average: 0.05, half_width: 0.02, individual };
    vec![
        Model::Event(head(isotonic)),
        Model::Hazard(HazardModel {
            period_ends: vec![30.0, 60.0],
            horizon_days: 45.0,
            causes: vec![cause("price"), cause("service")],
        }),
        Model::Amount(AmountModel { occurrence: head(Calibrator::Identity), value, decline: Some(head(Calibrator::Identity)) }),
        Model::Amount(AmountModel { occurrence: head(Calibrator::Identity), value: plain, decline: None }),
        Model::Uplift(UpliftModel { arms: vec![arm("mail", Some(individual)), arm("call", None)], limit: 1.0, chooses: true }),
    ]
}

fn bundle(model: Model) -> Vec<u8> {
    let category = |name: &str, n: usize| {
        let mut feature = FeatureSpec::new(name, ColumnKind::Category);
        feature.set_categories((0..n).map(|category| format!("c{category}")).collect());
        feature
    };
    let features = vec![
        FeatureSpec::new("tenure", ColumnKind::Number),
        category("plan", 3),
        FeatureSpec::new("autopay", ColumnKind::Boolean),
        category("region", 4),
        FeatureSpec::new("since", ColumnKind::Date),
    ];
    let schema =
        FeatureSchema::new(features, Some("id".into()), "churned".into(), "yes".into(), None).expect("names are told apart");
    let values = [
        ("tenure", CheckValue::Number(3.5)),
        ("plan", CheckValue::Text("c1".into())),
        ("autopay", CheckValue::Boolean(true)),
        ("since", CheckValue::Text("2026-01-31".into())),
    ];
    let features: BTreeMap<String, CheckValue> = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let row = |features| CheckRow {
        features,
        observed: Some(20_500.0),
        margin: 0.0,
        probability: 0.5,
        expected_value: None,
        effects: Vec::new(),
    };
    let manifest = Manifest {
        format_version: BUNDLE_FORMAT_VERSION,
        name: ModelName::new("telco").expect("a name"),
        version: 1,
        kind: match model {
            Model::Event(_) => TaskKind::Churn,
            Model::Hazard(_) => TaskKind::Survival,
            Model::Amount(_) => TaskKind::Engagement,
            Model::Uplift(_) => TaskKind::Uplift,
        },
        definition: "left within the month".into(),
        horizon_days: 30,
        lead_days: 0,
        seed: 1,
        learner: "boosting".into(),
        configuration: String::new(),
        calibrator: model.calibrator().name().into(),
        validation: "none".into(),
        n_rows: 5,
        n_positives: 1,
        n_customers: 5,
        observed: None,
        reference_day: Some(20_500.0),
        currency: None,
        bands: Bands { medium: 0.3, high: 0.6 },
        data_sha256: String::new(),
        schema_sha256: String::new(),
        tool_version: "0.1.0".into(),
        warnings: Vec::new(),
        files: BTreeMap::new(),
    };
    let check_rows = CheckRows { rows: vec![row(features), row(BTreeMap::new())] };
    let bundle = Bundle {
        manifest,
        schema,
        model,
        check_rows,
        metrics: b"{}".into(),
        reference: b"{}".into(),
        card: String::new(),
        size_bytes: 0,
    };
    let folder = tempfile::tempdir().expect("a folder for the bundle");
    let path = folder.path().join("bundle");
    bundle.write(&path).expect("a bundle");
    let compact = |name: &str| {
        let value: Value = serde_json::from_slice(&fs::read(path.join(name)).expect("a file of the bundle")).expect("JSON");
        value.to_string().into_bytes()
    };
    let files = [
        compact(MANIFEST),
        compact("schema.json"),
        compact("check_rows.json"),
        fs::read(path.join("model.bin")).expect("the model"),
    ];
    retain_fuzz::join(0, files.each_ref().map(Vec::as_slice)).expect("files short enough")
}

fn lightgbm() -> Vec<String> {
    let file = |objective: &str, infos: &str, extra: &str, trees: &str, pandas: &str| {
        format!(
            "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=2\nobjective={objective}\nfeature_names=a b plan\n\
             feature_infos={infos}\n{extra}{trees}\nend of trees\n\nparameters:\n[categorical_feature: 2]\nend of parameters\n\n{pandas}\n"
        )
    };
    let numbers = "\nTree=0\nnum_leaves=3\nnum_cat=0\nsplit_feature=0 1\nthreshold=0.5 1.0000000180025095e-35\ndecision_type=2 8\n\
                   left_child=-1 -2\nright_child=1 -3\nleaf_value=0.1 -0.2 0.3\nleaf_count=5 6 7\n";
    let categories = "\nTree=1\nnum_leaves=3\nnum_cat=1\nsplit_feature=2 0\nthreshold=0 -1\ndecision_type=1 6\nleft_child=1 -1\n\
                      right_child=-2 -3\nleaf_value=1 2 3\nleaf_count=1 2 3\ncat_boundaries=0 2\ncat_threshold=5 1\n";
    let zeros = "\nTree=0\nnum_leaves=4\nsplit_feature=0 1 0\nthreshold=1 -1 -2.5\ndecision_type=4 6 4\nleft_child=1 -1 -3\n\
                 right_child=2 -2 -4\nleaf_value=1 2 3 4\nleaf_count=4 3 2 1\n";
    let leaf = "\nTree=1\nnum_leaves=1\nleaf_value=0.5\n";
    let pandas = "pandas_categorical:[[\"gold\", \"silver\", \"c\"]]";
    vec![
        file("binary sigmoid:0.7", "[-3:3] [0:1] -1:0:1:2:33", "", &format!("{numbers}{categories}"), pandas),
        file("regression", "[-3:3] none 0:1:2", "average_output\n", &format!("{zeros}{leaf}"), "pandas_categorical:null"),
        file("poisson", "[-3:3] none 0:40", "tree_sizes=100 100\n", &format!("{zeros}{categories}"), ""),
    ]
}

fn xgboost() -> Vec<Value> {
    let learner = |objective: &str, base: &str, booster: Value, types: Value| {
        json!({"learner": {
            "attributes": {"best_iteration": "0"}, "feature_names": ["a", "b", "plan"], "feature_types": types, "gradient_booster": booster,
            "learner_model_param": {"base_score": base, "num_class": "0", "num_feature": "3", "num_target": "1"},
            "objective": {"name": objective}}})
    };
    let numbers = json!({"left_children": [1, -1, 3, -1, -1], "right_children": [2, -1, 4, -1, -1], "split_indices": [0, 0, 1, 0, 0],
        "split_conditions": [0.5, 0.1, -1.5, 0.2, 0.3], "default_left": [1, 0, 0, 0, 0], "sum_hessian": [9.0, 4.0, 5.0, 2.0, 3.0],
        "split_type": [], "categories": [], "categories_nodes": [], "categories_segments": [], "categories_sizes": [], "tree_param": {"size_leaf_vector": "1"}});
    let categories = json!({"left_children": [1, -1, -1], "right_children": [2, -1, -1], "split_indices": [2, 0, 0],
        "split_conditions": [0.0, -0.1, 0.1], "default_left": [true, false, false], "sum_hessian": [9.0, 4.0, 5.0],
        "split_type": [1, 0, 0], "categories": [0, 2], "categories_nodes": [0], "categories_segments": [0], "categories_sizes": [2], "tree_param": {}});
    let cats = json!({"enc": [{"offsets": [], "values": []}, {"offsets": [], "values": []}, {"offsets": [0, 1, 2, 4], "values": [97, 98, -61, -92]}]});
    let types = || json!(["float", "int", "c"]);
    vec![
        learner(
            "binary:logistic",
            "[5E-1]",
            json!({"name": "gbtree", "model": {"trees": [numbers, categories], "cats": cats}}),
            types(),
        ),
        learner(
            "count:poisson",
            "1.5",
            json!({"name": "dart", "gbtree": {"model": {"trees": [categories, numbers]}}, "weight_drop": [0.5, 1.0]}),
            types(),
        ),
        learner("reg:squarederror", "0.25", json!({"name": "gblinear", "model": {"weights": [0.5, -0.25, 0.0, 2.0]}}), json!([])),
    ]
}

fn catboost() -> Vec<Value> {
    let float =
        |name: &str, flat: usize, nan: &str| json!({"feature_id": name, "flat_feature_index": flat, "nan_value_treatment": nan});
    let below =
        |feature: usize, border: f64| json!({"split_type": "FloatFeature", "float_feature_index": feature, "border": border});
    let hash = retain_import::category_hash;
    let one_of = |value: i64| json!({"split_type": "OneHotFeature", "cat_feature_index": 0, "value": value});
    let file = |loss: &str, key: &str, trees: Value, scale: Value| {
        json!({"model_info": {"params": {"loss_function": {"type": loss}}},
            "features_info": {"float_features": [float("a", 0, "AsTrue"), float("", 2, "AsIs")], "categorical_features": [{"feature_id": "plan", "flat_feature_index": 1}]},
            key: trees, "scale_and_bias": scale})
    };
    let symmetric = json!([
        {"splits": [below(0, 0.5), one_of(i64::from(hash("gold")))], "leaf_values": [0.1, 0.2, 0.3, 0.4], "leaf_weights": [1, 2, 3, 4]},
        {"splits": [one_of(i64::from(hash("") as i32)), below(1, -1.5)], "leaf_values": [0.1, 0.2, 0.3, 0.4], "leaf_weights": [0, 2, 3, 4]},
        {"splits": null, "leaf_values": [0.5], "leaf_weights": []}]);
    let branch = json!([{"split": below(0, 1.5), "left": {"value": 0.5, "weight": 3}, "right": {"split": one_of(i64::from(hash("a"))),
        "left": {"value": 1.0}, "right": {"value": -1.0, "weight": 2}}}]);
    vec![
        file("Logloss", "oblivious_trees", symmetric, json!([1, [0.25]])),
        file("RMSE", "trees", branch.clone(), json!([0.5, 0.1])),
        file("Poisson", "trees", branch, json!([1, []])),
    ]
}

/// JSON as UBJSON, as XGBoost writes it: lists of numbers of one type with their count.
fn ubjson(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, value);
    out
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(b'Z'),
        Value::Bool(yes) => out.push(if *yes { b'T' } else { b'F' }),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => {
                out.push(b'L');
                out.extend(whole.to_be_bytes());
            }
            None => {
                out.push(b'd');
                out.extend((number.as_f64().unwrap_or(0.0) as f32).to_be_bytes());
            }
        },
        Value::String(text) => {
            out.push(b'S');
            put_text(out, text);
        }
        Value::Array(values) if !values.is_empty() && values.iter().all(|value| value.is_i64()) => {
            out.extend(b"[$l#L");
            out.extend((values.len() as i64).to_be_bytes());
            values.iter().for_each(|value| out.extend((value.as_i64().unwrap_or(0) as i32).to_be_bytes()));
        }
        Value::Array(values) => {
            out.push(b'[');
            values.iter().for_each(|value| put(out, value));
            out.push(b']');
        }
        Value::Object(entries) => {
            out.push(b'{');
            for (key, value) in entries {
                put_text(out, key);
                put(out, value);
            }
            out.push(b'}');
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'L');
    out.extend((text.len() as i64).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
