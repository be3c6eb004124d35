"""Compares imported models with the libraries that trained them, on random rows.

    cargo build --release -p retain-import --example margins
    python benches/import/parity.py --rows 1000000

Half of the values are drawn from the training table, the others are the models' thresholds and their neighbours, zeros, and missing.
LightGBM is asked in `f64`, XGBoost and CatBoost in `f32`. A row in another leaf would miss by a leaf's value. Raw scores should agree to
1e-12 of the largest, but XGBoost adds up in `f32`: its own sums should agree to 1e-6, and the sums of the leaves that it names, in
`f64`, to 1e-12. Ends with code 1 where one does not.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import catboost as cb
import lightgbm as lgb
import numpy as np
import pandas as pd
import xgboost as xgb

ROOT = Path(__file__).resolve().parents[2]
N_TRAINING_ROWS = 20_000
N_TREES = 100
EXACT, SINGLE = 1e-12, 1e-6
TEXTS = {"plan": ["basic", "gold", "silver"], "region": sorted(str(region) for region in range(60))}


def training_table(rng: np.random.Generator) -> tuple[pd.DataFrame, np.ndarray]:
    n = N_TRAINING_ROWS
    columns = {f"x{i}": rng.normal(size=n) * 10.0 ** rng.integers(-3, 4) for i in range(4)}
    columns |= {f"whole{i}": rng.integers(0, 30, n).astype(float) for i in range(2)}
    columns["often_zero"] = np.where(rng.random(n) < 0.5, 0.0, rng.normal(size=n))
    columns["tiny"] = rng.choice([0.0, 1e-36, -1e-36, 1e-30, -1e-30, 1.0, -1.0], n)
    table = pd.DataFrame(columns)
    score = sum(np.sin(table[c].rank(pct=True) * (3 + i)) for i, c in enumerate(table.columns)).to_numpy()
    for column in ["x0", "whole0", "often_zero"]:
        table.loc[rng.random(n) < 0.15, column] = np.nan
    table = table.astype(np.float32).astype(float)
    for i, (column, texts) in enumerate(TEXTS.items()):
        codes = rng.integers(0, len(texts), n)
        table[column] = pd.Categorical.from_codes(codes, texts)
        score = score + np.cos(codes * (1.3 + i))
    return table, score + rng.normal(size=n)


def random_rows(table: pd.DataFrame, thresholds: dict[str, set[float]], n: int, rng, in_f32: bool) -> pd.DataFrame:
    rows = {}
    kind = np.float32 if in_f32 else np.float64
    for column in table.columns:
        if column in TEXTS:
            rows[column] = pd.Categorical.from_codes(rng.integers(-1, len(TEXTS[column]), n), TEXTS[column])
            continue
        at = np.array(sorted(thresholds.get(column, set())) or [0.0]).astype(kind)
        special = np.array([0.0, -0.0, 1e-35, -1e-35, 1e-40, -1e-40, 1e-300, -1e-300, np.nan]).astype(kind)
        around = np.concatenate([at, np.nextafter(at, kind(np.inf)), np.nextafter(at, kind(-np.inf))])
        drawn = np.where(rng.random(n) < 0.9, rng.choice(around, n), rng.choice(special, n))
        from_table = rng.choice(table[column].to_numpy(), n).astype(kind) * (1 + 0.1 * rng.normal(size=n)).astype(kind)
        rows[column] = np.where(rng.random(n) < 0.5, drawn, from_table).astype(kind)
    return pd.DataFrame(rows)


def imported(library: str, model: Path, rows: pd.DataFrame) -> np.ndarray:
    folder = model.parent
    codes = {c: rows[c].cat.codes.replace(-1, np.nan) if c in TEXTS else rows[c] for c in rows.columns}
    np.column_stack([np.asarray(codes[c], dtype="<f8") for c in rows.columns]).tofile(folder / "rows")
    (folder / "texts.json").write_text(json.dumps(TEXTS))
    program = ROOT / "target/release/examples/margins"
    subprocess.run([program, library, model, folder / "texts.json", folder / "rows", folder / "margins"], check=True)
    return np.fromfile(folder / "margins", dtype="<f8")


def report(case: str, found: np.ndarray, expected: np.ndarray, limit: float) -> bool:
    error = np.abs(found - expected) / max(1.0, float(np.abs(expected).max()))
    n_wrong = int((error > limit).sum())
    print(f"{case:<34} {len(found):>9} rows  largest difference {error.max():.1e}  beyond {limit:.0e}: {n_wrong}", flush=True)
    return n_wrong == 0 and len(found) == len(expected)


def lightgbm(folder: Path, table, label, amount, n: int, rng) -> bool:
    good = True
    for name, target, params in [
        ("binary", label, {"objective": "binary"}),
        ("zero_as_missing", amount, {"objective": "tweedie", "zero_as_missing": True, "num_leaves": 8}),
        ("use_missing=false", amount, {"objective": "regression", "use_missing": False}),
    ]:
        params = {"num_leaves": 31, "verbose": -1, "max_cat_to_onehot": 2, "seed": 1} | params
        path = folder / "model.txt"
        model = lgb.train(params, lgb.Dataset(table, target), N_TREES).save_model(path)
        thresholds = {column: set() for column in table.columns}
        names, text = list(table.columns), path.read_text()
        lines = zip(re.findall(r"^split_feature=(.+)$", text, re.M), re.findall(r"^threshold=(.+)$", text, re.M))
        for features, values in lines:
            for feature, value in zip(features.split(), values.split()):
                thresholds[names[int(feature)]].add(float(value))
        rows = random_rows(table, thresholds, n, rng, in_f32=False)
        good &= report(f"LightGBM {name}", imported("lightgbm", path, rows), model.predict(rows, raw_score=True), EXACT)
    return good


def xgboost(folder: Path, table, label, amount, n: int, rng) -> bool:
    good = True
    for name, target, params in [
        ("binary:logistic", label, {"objective": "binary:logistic", "max_depth": 6}),
        ("count:poisson dart", amount, {"objective": "count:poisson", "booster": "dart", "rate_drop": 0.1, "max_depth": 4}),
    ]:
        params = {"max_cat_to_onehot": 2, "seed": 1} | params
        model = xgb.train(params, xgb.DMatrix(table, target, enable_categorical=True), N_TREES)
        path = folder / "model.json"
        model.save_model(path)
        learner = json.loads(path.read_text())["learner"]
        booster = learner["gradient_booster"]
        trees = booster.get("gbtree", booster)["model"]["trees"]
        thresholds = {column: set() for column in table.columns}
        for tree in trees:
            for left, feature, value in zip(tree["left_children"], tree["split_indices"], tree["split_conditions"]):
                if left != -1:
                    thresholds[table.columns[feature]].add(float(np.float32(value)))
        rows = random_rows(table, thresholds, n, rng, in_f32=True)
        matrix = xgb.DMatrix(rows, enable_categorical=True)
        found = imported("xgboost", path, rows)
        good &= report(f"XGBoost {name}", found, model.predict(matrix, output_margin=True).astype(float), SINGLE)
        leaves = model.predict(matrix, pred_leaf=True).astype(int)
        drops = booster.get("weight_drop", [1.0] * len(trees))
        values = [np.float32(tree["split_conditions"]) * np.float32(drop) for tree, drop in zip(trees, drops)]
        sums = sum(value.astype(float)[leaves[:, i]] for i, value in enumerate(values))
        # What all rows start from is the same number.
        start = np.median(found - sums)
        good &= report(f"XGBoost {name}, leaves", found, sums + start, EXACT)
        path_of_ubj = folder / "model.ubj"
        model.save_model(path_of_ubj)
        good &= report(f"XGBoost {name}, UBJSON", imported("xgboost", path_of_ubj, rows), found, 0.0)
    return good


def catboost(folder: Path, table, label, amount, n: int, rng) -> bool:
    good = True
    categories = list(TEXTS)
    for name, target, params in [
        ("Logloss symmetric", label, {"loss_function": "Logloss"}),
        ("RMSE depthwise", amount, {"loss_function": "RMSE", "grow_policy": "Depthwise"}),
        ("Poisson lossguide, NaN max", amount, {"loss_function": "Poisson", "grow_policy": "Lossguide", "nan_mode": "Max"}),
    ]:
        params = {"depth": 6, "verbose": 0, "allow_writing_files": False, "one_hot_max_size": 200, "random_seed": 1} | params
        texts = table.astype(dict.fromkeys(categories, str))
        model = cb.CatBoost(params | {"iterations": N_TREES}).fit(cb.Pool(texts, target, cat_features=categories))
        path = folder / "model.json"
        model.save_model(path, format="json")
        features = json.loads(path.read_text())["features_info"]["float_features"]
        thresholds = {feature["feature_id"]: set(feature["borders"]) for feature in features}
        rows = random_rows(table, thresholds, n, rng, in_f32=True)
        # CatBoost has no missing category.
        for column in categories:
            rows[column] = pd.Categorical.from_codes(rng.integers(0, len(TEXTS[column]), n), TEXTS[column])
        pool = cb.Pool(rows.astype(dict.fromkeys(categories, str)), cat_features=categories)
        expected = model.predict(pool, prediction_type="RawFormulaVal")
        good &= report(f"CatBoost {name}", imported("catboost", path, rows), expected, EXACT)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="random rows for each model")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    table, score = training_table(rng)
    label, amount = (score > np.median(score)).astype(int), np.abs(score)
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for compare in [lightgbm, xgboost, catboost]:
            good &= compare(Path(folder), table, label, amount, arguments.rows, rng)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
