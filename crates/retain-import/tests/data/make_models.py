"""Trains the small models beside this file and writes what their libraries predict.

Versions: lightgbm 4.7.0, xgboost 3.2.0, catboost 1.2.10. Run in this folder: `python make_models.py`.

`expected.json` has for each model rows of values (`null` is missing, infinities are texts) and the raw scores of the library.
Among the rows are the thresholds of the model, their neighbours, both zeros, subnormal numbers and infinities.
"""

import json
import re
from pathlib import Path

import catboost as cb
import lightgbm as lgb
import numpy as np
import pandas as pd
import xgboost as xgb

N_TRAINING_ROWS = 2000
N_ROWS = 60
PLANS = ["gold", "silver", "böse wörter", "a plan with a name of more than sixty-four letters, which is hashed in chunks of sixty-four"]
rng = np.random.default_rng(7)


def training_table() -> tuple[pd.DataFrame, np.ndarray]:
    n = N_TRAINING_ROWS
    table = pd.DataFrame({
        "a": rng.normal(size=n),
        "b": np.where(rng.random(n) < 0.2, np.nan, rng.integers(-3, 4, n).astype(float)),
        "tiny": rng.choice([0.0, -0.0, 1e-36, -1e-36, 1e-30, -1e-30, 1.0, -1.0], n),
        "often_zero": np.where(rng.random(n) < 0.5, 0.0, rng.normal(size=n)),
        "plan": rng.choice(PLANS, n),
        "region": rng.integers(0, 40, n).astype(str),
    })
    score = table.a + np.abs(table.often_zero) + table.b.fillna(2.0) * 0.5 + (table.plan == "gold") + np.sin(table.region.astype(int))
    score += 2.0 * (table.often_zero == 0.0) + np.sign(table.tiny)
    return table, (score + rng.normal(size=n) - 1.5).to_numpy()


def values_around(thresholds: list[float], in_f32: bool) -> list[float]:
    values = [0.0, -0.0, 5e-324, -5e-324, 1e-35, -1e-35, float(np.float32(1e-35)), 1e-45, -1e-45, 1e300, -1e300, np.nan]
    for t in thresholds:
        values += [t, np.nextafter(t, np.inf), np.nextafter(t, -np.inf)]
        if in_f32:
            f = np.float32(t)
            up, down = np.nextafter(f, np.float32(np.inf)), np.nextafter(f, np.float32(-np.inf))
            for half in [(float(f) + float(up)) / 2, (float(f) + float(down)) / 2]:
                values += [half, np.nextafter(half, np.inf), np.nextafter(half, -np.inf)]
            values += [float(up), float(down)]
    return values


def rows_of(table: pd.DataFrame, thresholds: dict[str, list[float]], extra: list[float], in_f32: bool) -> pd.DataFrame:
    """Rows drawn column by column: half from the table, half from around the thresholds."""
    drawn = {}
    for column in table.columns:
        pool = list(table[column].sample(N_ROWS, random_state=1))
        if not isinstance(pool[0], str):
            around = values_around(thresholds.get(column, []), in_f32) + extra
            if in_f32:
                # Larger numbers are infinite there.
                around = [v for v in around if not abs(v) > float(np.finfo(np.float32).max) or v in extra]
            pool += [float(v) for v in rng.choice(around, N_ROWS)]
            pool = [pool[i] for i in rng.permutation(len(pool))]
        drawn[column] = pool[:N_ROWS]
    return pd.DataFrame(drawn)


def as_json(rows: pd.DataFrame) -> list[list]:
    def cell(value):
        if isinstance(value, str) or value is None:
            return value
        value = float(value)
        return None if np.isnan(value) else value if np.isfinite(value) else str(value)

    return [[cell(value) for value in row] for row in rows.astype(object).itertuples(index=False)]


EXPECTED = {}


def write(name: str, table: pd.DataFrame, rows: pd.DataFrame, margins: np.ndarray) -> None:
    texts = {column: sorted(table[column].unique()) for column in table.columns if isinstance(table[column].iloc[0], str)}
    cells = as_json(rows)
    EXPECTED[name] = {"columns": list(rows.columns), "texts": texts, "rows": cells, "margins": [float(m) for m in margins]}


def lightgbm_thresholds(text: str) -> dict[str, list[float]]:
    names = re.search(r"^feature_names=(.*)$", text, re.M)[1].split()
    found: dict[str, list[float]] = {}
    blocks = zip(re.findall(r"^split_feature=(.+)$", text, re.M), re.findall(r"^threshold=(.+)$", text, re.M))
    for features, thresholds in blocks:
        for feature, threshold in zip(features.split(), thresholds.split()):
            found.setdefault(names[int(feature)], []).append(float(threshold))
    return found


def lightgbm_case(name: str, table: pd.DataFrame, target, n_trees: int = 4, **params) -> None:
    categories = [column for column in table.columns if table[column].dtype == object or str(table[column].dtype) == "str"]
    typed = table.astype({column: pd.CategoricalDtype(sorted(table[column].unique())) for column in categories})
    params = {"num_leaves": 8, "verbose": -1, "min_data_per_group": 20, "cat_smooth": 1, "num_threads": 1, "seed": 1} | params
    model = lgb.train(params, lgb.Dataset(typed, target), n_trees)
    model.save_model(f"{name}.txt")
    rows = rows_of(table, lightgbm_thresholds(Path(f"{name}.txt").read_text()), [np.inf, -np.inf], in_f32=False)
    for column in categories:
        rows.loc[rows.sample(5, random_state=2).index, column] = "never seen"
        rows.loc[rows.sample(5, random_state=3).index, column] = None
    asked = rows.astype({column: typed[column].dtype for column in categories})
    margins = model.predict(asked, raw_score=True)
    if params.get("boosting") == "rf":
        # The raw score of a random forest is the sum; what it predicts is the mean.
        margins = margins / n_trees
    write(f"{name}.txt", table, rows, margins)


def xgboost_thresholds(path: str) -> dict[str, list[float]]:
    learner = json.loads(Path(path).read_text())["learner"]
    booster = learner["gradient_booster"]
    trees = (booster["gbtree"] if "gbtree" in booster else booster)["model"].get("trees", [])
    found: dict[str, list[float]] = {}
    for tree in trees:
        for left, feature, threshold in zip(tree["left_children"], tree["split_indices"], tree["split_conditions"]):
            if left != -1:
                found.setdefault(learner["feature_names"][feature], []).append(threshold)
    return found


def xgboost_case(name: str, table: pd.DataFrame, target, n_trees: int = 4, ubj: bool = False, **params) -> None:
    categories = [column for column in table.columns if table[column].dtype == object or str(table[column].dtype) == "str"]
    types = {column: pd.CategoricalDtype(sorted(table[column].unique())) for column in categories}
    params = {"max_depth": 3, "nthread": 1, "seed": 1} | params
    model = xgb.train(params, xgb.DMatrix(table.astype(types), target, enable_categorical=True), n_trees)
    model.save_model(f"{name}.json")
    rows = rows_of(table, xgboost_thresholds(f"{name}.json"), [], in_f32=True)
    if params.get("booster") == "gblinear":
        rows = table.sample(N_ROWS, random_state=1).astype(np.float32).astype(float)
    for column in categories:
        rows.loc[rows.sample(5, random_state=3).index, column] = None
    margins = model.predict(xgb.DMatrix(rows.astype(types), enable_categorical=True), output_margin=True)
    write(f"{name}.json", table, rows, margins)
    if ubj:
        model.save_model(f"{name}.ubj")
        EXPECTED[f"{name}.ubj"] = EXPECTED[f"{name}.json"]


def catboost_thresholds(path: str) -> dict[str, list[float]]:
    features = json.loads(Path(path).read_text())["features_info"]["float_features"]
    return {feature["feature_id"]: feature["borders"] for feature in features}


def catboost_case(name: str, table: pd.DataFrame, target, n_trees: int = 4, **params) -> None:
    categories = [column for column in table.columns if table[column].dtype == object or str(table[column].dtype) == "str"]
    params = {"depth": 3, "verbose": 0, "allow_writing_files": False, "one_hot_max_size": 50, "thread_count": 1, "random_seed": 1,
              "border_count": 16} | params
    model = cb.CatBoost(params | {"iterations": n_trees}).fit(cb.Pool(table, target, cat_features=categories))
    model.save_model(f"{name}.json", format="json")
    # What is not a part of the model makes the files large.
    file = json.loads(Path(f"{name}.json").read_text())
    file["model_info"] = {"params": {"loss_function": file["model_info"]["params"]["loss_function"]}}
    Path(f"{name}.json").write_text(json.dumps(file))
    rows = rows_of(table, catboost_thresholds(f"{name}.json"), [np.inf, -np.inf], in_f32=True)
    for column in categories:
        rows.loc[rows.sample(5, random_state=2).index, column] = "never seen"
    margins = model.predict(cb.Pool(rows, cat_features=categories), prediction_type="RawFormulaVal")
    write(f"{name}.json", table, rows, margins)


def main() -> None:
    table, score = training_table()
    label, amount = (score > 0).astype(int), np.abs(score) + 0.1
    numbers = table[["a", "b", "tiny", "often_zero"]]

    lightgbm_case("lightgbm_binary", table, label, objective="binary", sigmoid=0.7, max_cat_to_onehot=2)
    lightgbm_case("lightgbm_zero_as_missing", numbers, score, objective="regression", zero_as_missing=True, num_leaves=16)
    lightgbm_case("lightgbm_no_missing", numbers, amount, objective="poisson", use_missing=False)
    lightgbm_case("lightgbm_forest", numbers, score, objective="huber", boosting="rf", bagging_freq=1, bagging_fraction=0.5)
    lightgbm_case("lightgbm_dart", numbers, amount, objective="tweedie", boosting="dart", drop_rate=0.5)

    xgboost_case("xgboost_logistic", table, label, objective="binary:logistic", max_cat_to_onehot=2, ubj=True)
    xgboost_case("xgboost_dart", numbers, amount, n_trees=6, objective="reg:gamma", booster="dart", rate_drop=0.5)
    xgboost_case("xgboost_linear", numbers[["a", "often_zero"]], score, objective="reg:squarederror", booster="gblinear")
    xgboost_case("xgboost_forest", numbers, amount, n_trees=1, objective="count:poisson", num_parallel_tree=4, subsample=0.5)

    catboost_case("catboost_symmetric", table, label, loss_function="Logloss")
    catboost_case("catboost_depthwise", table, score, loss_function="RMSE", grow_policy="Depthwise")
    catboost_case("catboost_nan_max", numbers, amount, loss_function="Poisson", nan_mode="Max", grow_policy="Lossguide")

    texts = [f"category {'x' * n}" for n in range(0, 150, 3)] + ["", "a", "ab", "abc", "12", "-1", "böse", "gold", "12345678", "123456789"]
    file = {"texts": texts, "hashes": [catboost_hash(text) for text in texts]}
    EXPECTED["catboost_hashes"] = file
    Path("expected.json").write_text(json.dumps(EXPECTED, ensure_ascii=False) + "\n")


def catboost_hash(text: str) -> int:
    """The hash in a model that has one reason to ask for this text."""
    others = ["one other text", "another text"]
    pool = cb.Pool(pd.DataFrame({"x": [text, *others] * 20}), [1, 0, 0] * 20, cat_features=["x"])
    model = cb.CatBoost({"iterations": 1, "depth": 1, "verbose": 0, "allow_writing_files": False, "one_hot_max_size": 5}).fit(pool)
    model.save_model("hash.json", format="json")
    [split] = json.loads(Path("hash.json").read_text())["oblivious_trees"][0]["splits"]
    Path("hash.json").unlink()
    return split["value"] & 0xFFFFFFFF


if __name__ == "__main__":
    main()
