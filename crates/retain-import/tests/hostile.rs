//! Files that are damaged, that lie, or that hold what cannot be expressed: an error that names the place, never a panic.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

use std::fmt::Write;
use std::path::PathBuf;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use retain_core::FeatureSchema;
use retain_import::{ImportError, Imported, Library, category_hash, read};
use retain_score::{Node, NodeKind, Test};

const FILES: [(Library, &str); 9] = [
    (Library::LightGbm, "lightgbm_binary.txt"),
    (Library::LightGbm, "lightgbm_zero_as_missing.txt"),
    (Library::LightGbm, "lightgbm_forest.txt"),
    (Library::XgBoost, "xgboost_logistic.json"),
    (Library::XgBoost, "xgboost_logistic.ubj"),
    (Library::XgBoost, "xgboost_dart.json"),
    (Library::XgBoost, "xgboost_linear.json"),
    (Library::CatBoost, "catboost_symmetric.json"),
    (Library::CatBoost, "catboost_depthwise.json"),
];

fn data(name: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn library(name: &str) -> Library {
    FILES.iter().find(|(_, known)| *known == name).unwrap().0
}

/// A file whose first `from` is replaced by `to` is refused, and the message says all of `words`.
#[track_caller]
fn refuses(name: &str, from: &str, to: &str, words: &[&str]) {
    let text = String::from_utf8(data(name)).unwrap();
    assert!(text.contains(from), "`{from}` is not in {name}");
    let error = read(library(name), text.replacen(from, to, 1).as_bytes()).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

/// What was read holds together; texts are made up where the file has none.
fn check(mut model: Imported) {
    let Ok(specs) = model.schema_features(|_| Some((0..40).map(|code| code.to_string()).collect())) else { return };
    if let Ok(schema) = FeatureSchema::new(specs, None, "target".into(), "1".into(), None) {
        let _ = model.margin.check(&schema);
    }
}

#[test]
fn truncated_files_are_refused() {
    for (library, name) in FILES {
        let whole = data(name);
        let end = if library == Library::LightGbm {
            whole.windows(12).position(|window| window == b"end of trees").unwrap() + 11
        } else {
            // A line break may follow.
            whole.trim_ascii_end().len() - 1
        };
        for length in (0..end).step_by(7).chain([end]) {
            assert!(read(library, &whole[..length]).is_err(), "{name} cut to {length} bytes");
        }
    }
}

#[test]
fn damaged_files_never_panic() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
    for (library, name) in FILES {
        let whole = data(name);
        for _ in 0..1_000 {
            let mut damaged = whole.clone();
            for _ in 0..rng.random_range(1..4) {
                let place = rng.random_range(0..damaged.len());
                damaged[place] = match rng.random_range(0..3) {
                    0 => rng.random(),
                    1 => b"0123456789-.e,[]{}\" "[rng.random_range(0..20)],
                    _ => damaged[rng.random_range(0..whole.len())],
                };
            }
            if let Ok(model) = read(library, &damaged) {
                check(model);
            }
        }
    }
}

#[test]
fn other_files_are_refused() {
    for library in [Library::LightGbm, Library::XgBoost, Library::CatBoost] {
        for bytes in [&b""[..], b"tree", b"{}", b"\xff\xfe\x00", b"{\"learner\": 3}", b"PAR1", b"[]", b"null"] {
            assert!(read(library, bytes).is_err());
        }
    }
}

#[test]
fn cycles_and_children_outside_are_named() {
    let name = "lightgbm_forest.txt";
    let text = String::from_utf8(data(name)).unwrap();
    let line = text.lines().find(|line| line.starts_with("left_child=")).unwrap();
    let (_, rest) = line.split_once(' ').unwrap();
    refuses(name, line, &format!("left_child=0 {rest}"), &["tree 0 node 0", "cycle"]);
    refuses(name, line, &format!("left_child=-900 {rest}"), &["tree 0 node 0", "not one of the tree's nodes"]);
    refuses(name, line, &format!("left_child=900 {rest}"), &["tree 0", "left_child", "900"]);
    refuses(name, line, &format!("left_child=-9223372036854775808 {rest}"), &["tree 0 node 0"]);
    let name = "xgboost_dart.json";
    refuses(name, "\"left_children\":[1,", "\"left_children\":[0,", &["tree 0 node 0", "cycle"]);
    refuses(name, "\"left_children\":[1,", "\"left_children\":[2147483647,", &["tree 0 node 0", "not one of the tree's nodes"]);
    refuses(name, "\"left_children\":[1,", "\"left_children\":[-7,", &["tree 0 node 0"]);
}

#[test]
fn counts_that_lie_are_refused() {
    let name = "lightgbm_forest.txt";
    refuses(name, "num_leaves=", "num_leaves=2147483648", &["tree 0", "leaf_value"]);
    refuses(name, "num_leaves=", "num_leaves=99999999999999999999", &["tree 0", "num_leaves"]);
    refuses(name, "max_feature_idx=3", "max_feature_idx=4294967295", &["feature_names", "4294967296"]);
    refuses(name, "max_feature_idx=3", "max_feature_idx=18446744073709551615", &["feature_names"]);
    refuses("lightgbm_binary.txt", "num_cat=", "num_cat=18446744073709551615", &["num_cat"]);
    refuses(
        "xgboost_dart.json",
        "\"num_feature\":\"4\",\"num_target\"",
        "\"num_feature\":\"4294967296\",\"num_target\"",
        &["4294967296", "features"],
    );
    refuses(
        "xgboost_dart.json",
        "\"num_feature\":\"4\",\"num_target\"",
        "\"num_feature\":\"3\",\"num_target\"",
        &["feature_names", "3 entries"],
    );
    refuses("xgboost_dart.json", "\"weight_drop\":[", "\"weight_drop\":[0.5,", &["weight_drop"]);
    refuses("catboost_symmetric.json", "\"leaf_values\": [", "\"leaf_values\": [1.0, ", &["tree 0", "leaf_values"]);
}

#[test]
fn numbers_that_are_none_are_named() {
    let name = "lightgbm_forest.txt";
    let text = String::from_utf8(data(name)).unwrap();
    let line = text.lines().find(|line| line.starts_with("threshold=")).unwrap();
    let (_, rest) = line.split_once(' ').unwrap();
    refuses(name, line, &format!("threshold=nan {rest}"), &["tree 0", "`threshold` should be a number", "NaN"]);
    let line = text.lines().find(|line| line.starts_with("leaf_value=")).unwrap();
    let (_, rest) = line.split_once(' ').unwrap();
    refuses(name, line, &format!("leaf_value=inf {rest}"), &["tree 0 node", "not a finite number"]);
    refuses("lightgbm_binary.txt", "sigmoid:0.7", "sigmoid:-1", &["sigmoid"]);
}

#[test]
fn deep_files_are_refused() {
    let deep = 10_000;
    let nested = format!("{}1{}", "[".repeat(deep), "]".repeat(deep));
    for library in [Library::XgBoost, Library::CatBoost] {
        assert!(read(library, format!("{{\"learner\":{nested},\"model_info\":{nested}}}").as_bytes()).is_err());
    }
    let split = r#"{"split":{"split_type":"FloatFeature","border":0.5,"float_feature_index":0},"left":{"value":1},"right":"#;
    let trees = format!("{}{{\"value\":1}}{}", split.repeat(deep), "}".repeat(deep));
    let text = String::from_utf8(data("catboost_depthwise.json")).unwrap();
    let text = text.replacen("\"trees\": [", &format!("\"trees\": [{trees},"), 1);
    assert!(read(Library::CatBoost, text.as_bytes()).unwrap_err().to_string().contains("recursion"));

    // A chain: every split has a leaf on its left and the next split on its right.
    let join = |number: &dyn Fn(usize) -> i64, n: usize| {
        (0..n).fold(String::new(), |mut line, at| {
            write!(line, "{} ", number(at)).unwrap();
            line
        })
    };
    let last = deep as i64 - 1;
    let mut chain = format!("Tree=0\nnum_leaves={}\nnum_cat=0\n", deep + 1);
    for (key, line) in [
        ("split_feature", join(&|_| 0, deep)),
        ("threshold", join(&|at| at as i64, deep)),
        ("decision_type", join(&|_| 2, deep)),
        ("left_child", join(&|at| -1 - at as i64, deep)),
        ("right_child", join(&|at| if at as i64 == last { -1 - deep as i64 } else { at as i64 + 1 }, deep)),
        ("leaf_value", join(&|_| 1, deep + 1)),
    ] {
        writeln!(chain, "{key}={}", line.trim_end()).unwrap();
    }
    let file = format!(
        "tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=0\nobjective=regression\nfeature_names=a\n\n{chain}\nend of trees\n"
    );
    let error = read(Library::LightGbm, file.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("longer than 256"), "{error}");
}

/// Each level asks another feature, so zeros would double the tree on each level.
#[test]
fn zeros_that_need_too_many_nodes_are_refused() {
    let depth = 40;
    let list = |number: &dyn Fn(i64) -> i64, n: i64| (0..n).map(|at| number(at).to_string()).collect::<Vec<_>>().join(" ");
    let names: Vec<String> = (0..depth).map(|feature| format!("f{feature}")).collect();
    let file = format!(
        "tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx={}\nobjective=regression\nfeature_names={}\n\nTree=0\nnum_leaves={}\n\
         split_feature={}\nthreshold={}\ndecision_type={}\nleft_child={}\nright_child={}\nleaf_value={}\n\nend of trees\n",
        depth - 1,
        names.join(" "),
        depth + 1,
        list(&|at| at, depth),
        list(&|_| 1, depth),
        // Missing type Zero, by default right.
        list(&|_| 4, depth),
        list(&|at| if at == depth - 1 { -1 } else { at + 1 }, depth),
        list(&|at| -2 - at, depth),
        list(&|_| 1, depth + 1),
    );
    let error = read(Library::LightGbm, file.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("zero_as_missing"), "{error}");
}

#[test]
fn what_cannot_be_expressed_is_refused_by_name() {
    let supported = "supported";
    refuses("lightgbm_binary.txt", "num_class=1", "num_class=3", &["num_class=3", supported]);
    refuses("lightgbm_binary.txt", "objective=binary", "objective=lambdarank", &["lambdarank", supported]);
    refuses("lightgbm_forest.txt", "objective=huber", "objective=regression sqrt", &["sqrt", supported]);
    refuses("lightgbm_forest.txt", "objective=huber", "objective=", &["no `objective`", supported]);
    refuses("lightgbm_binary.txt", "is_linear=0", "is_linear=1", &["linear", supported]);
    refuses("xgboost_logistic.json", "binary:logistic", "multi:softprob", &["multi:softprob", supported]);
    refuses("xgboost_logistic.json", "binary:logistic", "survival:cox", &["survival:cox", supported]);
    refuses("xgboost_logistic.json", "\"num_class\":\"0\"", "\"num_class\":\"3\"", &["num_class", supported]);
    refuses("xgboost_logistic.json", "\"name\":\"gbtree\"", "\"name\":\"gbforest\"", &["gbforest", supported]);
    refuses("catboost_symmetric.json", "Logloss", "MultiClass", &["MultiClass", supported]);
    refuses("catboost_symmetric.json", "\"OneHotFeature\"", "\"OnlineCtr\"", &["CTR", "`plan`", "`region`", "one_hot_max_size"]);
    refuses("catboost_symmetric.json", "\"OneHotFeature\"", "\"Quantum\"", &["Quantum", supported]);
}

#[test]
fn categories_that_cannot_be_settled_are_named() {
    let text = String::from_utf8(data("lightgbm_binary.txt")).unwrap();
    let pandas = text.lines().find(|line| line.starts_with("pandas_categorical:")).unwrap();
    refuses("lightgbm_binary.txt", pandas, "pandas_categorical:[[\"a\"]]", &["1 lists", "2 categorical"]);
    refuses("lightgbm_binary.txt", pandas, "pandas_categorical:[[\"a\"", &["pandas_categorical"]);

    // Without the lists categories are numbers, and texts are taken in their order.
    let unnamed = text.replacen(pandas, "pandas_categorical:null", 1);
    let mut model = read(Library::LightGbm, unnamed.as_bytes()).unwrap();
    let specs = model.schema_features(|_| None).unwrap();
    assert_eq!(specs.iter().find(|spec| spec.name == "plan").unwrap().categories, ["0", "1", "2", "3"]);
    let mut model = read(Library::LightGbm, unnamed.as_bytes()).unwrap();
    let error = model.schema_features(|_| Some(vec!["gold".to_owned()])).unwrap_err();
    assert!(matches!(&error, ImportError::Categories { .. }), "{error}");
    let mut model = read(Library::LightGbm, unnamed.as_bytes()).unwrap();
    let texts = || Some((0..40).rev().map(|code| format!("text {code:02}")).collect::<Vec<_>>());
    let specs = model.schema_features(|_| texts()).unwrap();
    assert_eq!(specs.iter().find(|spec| spec.name == "plan").unwrap().categories[..2], ["text 00", "text 01"]);
    assert!(model.warnings.iter().any(|warning| warning.contains("`plan`") && warning.contains("pandas")));
}

/// A blank category is what a blank cell means, where the library has no missing category.
#[test]
fn a_blank_category_stands_for_missing_values_in_catboost() {
    let follows = |node: &Node| matches!(node.kind, NodeKind::Split { missing_left: true, test: Test::OneOf(_), .. });
    let n_following = |text: &str, texts: &[String]| {
        let mut model = read(Library::CatBoost, text.as_bytes()).unwrap();
        model.schema_features(|_| Some(texts.to_vec())).unwrap();
        model.margin.trees.iter().flat_map(|tree| &tree.nodes).filter(|node| follows(node)).count()
    };
    let text = String::from_utf8(data("catboost_symmetric.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_slice(&data("expected.json")).unwrap();
    let texts = &expected["catboost_symmetric.json"]["texts"];
    let texts: Vec<String> =
        ["plan", "region"].iter().flat_map(|column| texts[column].as_array().unwrap()).map(text_of).collect();
    assert_eq!(n_following(&text, &texts), 0);
    // One of the categories that the trees ask about becomes the blank one.
    let spellings = |text: &str| [category_hash(text).to_string(), (category_hash(text) as i32).to_string()];
    let asked = texts.iter().flat_map(|text| spellings(text)).map(|hash| format!("\"value\": {hash}"));
    let asked = asked.into_iter().find(|asked| text.contains(asked)).unwrap();
    let blank = text.replace(&asked, &format!("\"value\": {}", category_hash("")));
    let texts: Vec<String> = texts.into_iter().chain([String::new()]).collect();
    assert!(n_following(&blank, &texts) > 0);
}

fn text_of(value: &serde_json::Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A model of one tree: a split by the categories 3 and 70 below one that takes zeros for missing where `decision` says so.
fn coded(infos: &str, decision: u8, words: &str) -> Imported {
    let n_words = words.split(' ').count();
    let text = format!(
        "tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=1\nobjective=regression\nfeature_names=a plan\n\
         feature_infos=[-1:1] {infos}\n\nTree=0\nnum_leaves=3\nnum_cat=1\nsplit_feature=0 1\nthreshold=1 0\ndecision_type={decision} 1\n\
         left_child=-1 -2\nright_child=1 -3\nleaf_value=1 2 3\nleaf_count=5 6 7\ncat_boundaries=0 {n_words}\ncat_threshold={words}\n\n\
         end of trees\n"
    );
    read(Library::LightGbm, text.as_bytes()).unwrap()
}

/// A list of all numbers up to the largest would be as long as a few digits say.
#[test]
fn codes_are_listed_as_far_as_the_file_names_them() {
    let mut model = coded("-1:999999:9223372036854775807:3", 2, "8 0 64");
    let specs = model.schema_features(|_| None).unwrap();
    assert_eq!(specs[1].categories, ["3", "70", "999999"]);
    let leaf = |category: f64| model.margin.trees[0].value(&[5.0, category]);
    // Positions, the last for every number that the file does not name.
    assert_eq!([leaf(0.0), leaf(1.0), leaf(2.0), leaf(3.0), leaf(f64::NAN)], [2.0, 2.0, 3.0, 3.0, 3.0]);

    // Numbers of a table are known too, behind those of the file.
    let mut model = coded("none", 2, "8 0 64");
    let texts = ["2", "70", " 71", "2"].map(str::to_owned);
    assert_eq!(model.schema_features(|_| Some(texts.to_vec())).unwrap()[1].categories, ["3", "70", "2", "71"]);
    assert_eq!(model.margin.trees[0].value(&[5.0, 1.0]), 2.0);

    // Texts are positions of the table, whichever of them the file names.
    let mut model = coded("none", 2, "8");
    let specs = model.schema_features(|_| Some(["e", "d", "c", "b", "a"].map(str::to_owned).to_vec())).unwrap();
    let position = specs[1].category_index("d").unwrap();
    let leaves = [0, 1, 2, 3, 4].map(|category| model.margin.trees[0].value(&[5.0, f64::from(category)]));
    assert_eq!((leaves[position], leaves.iter().sum::<f64>()), (2.0, 14.0));
    assert!(coded("none", 2, "8").schema_features(|_| Some(["a", "b", "c"].map(str::to_owned).to_vec())).is_err());
}

#[test]
fn a_weight_times_any_value_is_a_number() {
    let text = String::from_utf8(data("xgboost_linear.json")).unwrap();
    let text = text.replacen("9.0810984E-1", "3E38", 1).replacen("-1.3402711E-1", "-3E38", 1);
    let mut model = read(Library::XgBoost, text.as_bytes()).unwrap();
    let specs = model.schema_features(|_| None).unwrap();
    let schema = FeatureSchema::new(specs, None, "target".into(), "1".into(), None).unwrap();
    model.margin.check(&schema).unwrap();
    for row in [[f64::MAX, f64::MAX], [f64::INFINITY, f64::INFINITY], [f64::MIN, f64::MAX], [1e39, -1e39]] {
        assert!(model.margin.margin(&row).is_finite(), "{row:?}");
    }
}

/// What is below a zero stands there twice, sets too: they are counted by their categories.
#[test]
fn sets_below_zeros_are_counted_by_their_size() {
    let depth = 12_i64;
    let list = |number: &dyn Fn(i64) -> i64, n: i64| (0..n).map(|at| number(at).to_string()).collect::<Vec<_>>().join(" ");
    let names = list(&|at| at, depth + 1);
    let file = |n_words: usize| {
        // A chain of zeros with a split by categories at its end.
        format!(
            "tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx={depth}\nobjective=regression\nfeature_names={names}\n\nTree=0\n\
             num_leaves={}\nnum_cat=1\nsplit_feature={}\nthreshold={}\ndecision_type={}\nleft_child={}\nright_child={}\nleaf_value={}\n\
             cat_boundaries=0 {n_words}\ncat_threshold={}\n\nend of trees\n",
            depth + 2,
            list(&|at| at, depth + 1),
            list(&|at| i64::from(at < depth), depth + 1),
            // Missing type Zero, by default right; then categories.
            list(&|at| if at < depth { 4 } else { 1 }, depth + 1),
            list(&|at| if at < depth { at + 1 } else { -1 }, depth + 1),
            list(&|at| -2 - at, depth + 1),
            list(&|_| 1, depth + 2),
            vec!["4294967295"; n_words].join(" "),
        )
    };
    read(Library::LightGbm, file(1).as_bytes()).unwrap();
    let error = read(Library::LightGbm, file(1_000).as_bytes()).unwrap_err().to_string();
    assert!(error.contains("zero_as_missing"), "{error}");
}
