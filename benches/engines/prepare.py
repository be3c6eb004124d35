"""Trains the forests of the comparison and writes them, with the rows to score, into a folder: `prepare.py FOLDER`.

Every library learns from the same rows: 30 numbers, some of them with few values, missing at random so that 40 % of the rows have
a gap. Single precision holds all of the numbers, so no library sees other values than the others.
"""

import json
import sys
from pathlib import Path

import catboost as cb
import lightgbm as lgb
import numpy as np
import onnxmltools
import xgboost as xgb
import ydf
from onnxmltools.convert.common.data_types import FloatTensorType

N_FEATURES, N_TRAINING_ROWS, N_ROWS = 30, 50_000, 10_000
N_TREES = [100, 500]
N_LEAVES, LEARNING_RATE = 31, 0.1
# CatBoost's trees are symmetric: a depth of 5 has 32 leaves. 6, 64 leaves, is its default.
DEPTHS = [5, 6]
SEED = 7


def table(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows and what is to be learned; the last term of the score is noise, so no forest runs out of things to learn."""
    rows = rng.standard_normal((n, N_FEATURES))
    rows[:, ::5] = np.round(3 * rows[:, ::5])
    score = sum(np.sin(rows[:, i] * (1 + i % 3)) + 0.3 * rows[:, i] * rows[:, (i + 7) % N_FEATURES] for i in range(N_FEATURES))
    rows[rng.random(rows.shape) < 1 - 0.6 ** (1 / N_FEATURES)] = np.nan
    return rows.astype(np.float32).astype(float), (score + 2 * rng.standard_normal(n) > 0).astype(int)


def main():
    ydf.verbose(0)
    folder = Path(sys.argv[1])
    rng = np.random.default_rng(SEED)
    training, label = table(N_TRAINING_ROWS, rng)
    rows, row_label = table(N_ROWS, rng)
    rows.astype("<f8").tofile(folder / "rows.bin")
    names = [f"f{i}" for i in range(N_FEATURES)]
    blank = np.where(np.isnan(rows), "", rows.astype(str))
    lines = [",".join([*cells, str(target)]) for cells, target in zip(blank, row_label)]
    (folder / "rows.csv").write_text("\n".join([",".join([*names, "churned"]), *lines]) + "\n")
    for n_trees in N_TREES:
        train_lightgbm(folder, training, label, names, n_trees)
        train_xgboost(folder, training, label, n_trees)
        train_ydf(folder, training, label, names, n_trees)
        for depth in DEPTHS:
            train_catboost(folder, training, label, n_trees, depth)
    share = float(np.isnan(rows).any(axis=1).mean())
    about = {"n_features": N_FEATURES, "n_rows": N_ROWS, "n_trees": N_TREES, "n_leaves": N_LEAVES, "depths": DEPTHS}
    (folder / "about.json").write_text(json.dumps(about | {"share_of_rows_with_a_gap": share}))


def train_lightgbm(folder: Path, training, label, names, n_trees: int):
    params = {
        "objective": "binary",
        "num_leaves": N_LEAVES,
        "learning_rate": LEARNING_RATE,
        "num_threads": 1,
        "seed": SEED,
        "verbose": -1,
    }
    model = lgb.train(params, lgb.Dataset(training, label, feature_name=names), n_trees)
    check_size("LightGBM", [tree["num_leaves"] for tree in model.dump_model()["tree_info"]], n_trees, N_LEAVES)
    model.save_model(folder / f"lightgbm-{n_trees}.txt")
    inputs = [("rows", FloatTensorType([None, N_FEATURES]))]
    graph = onnxmltools.convert_lightgbm(model, initial_types=inputs, zipmap=False, target_opset=15)
    (folder / f"lightgbm-{n_trees}.onnx").write_bytes(graph.SerializeToString())


def train_xgboost(folder: Path, training, label, n_trees: int):
    params = {
        "objective": "binary:logistic",
        "grow_policy": "lossguide",
        "max_leaves": N_LEAVES,
        "max_depth": 0,
        "eta": LEARNING_RATE,
        "nthread": 1,
        "seed": SEED,
    }
    model = xgb.train(params, xgb.DMatrix(training, label), n_trees)
    leaves = [sum("leaf=" in line for line in tree.splitlines()) for tree in model.get_dump()]
    check_size("XGBoost", leaves, n_trees, N_LEAVES)
    model.save_model(folder / f"xgboost-{n_trees}.json")


def train_catboost(folder: Path, training, label, n_trees: int, depth: int):
    model = cb.CatBoost(
        {
            "loss_function": "Logloss",
            "iterations": n_trees,
            "depth": depth,
            "learning_rate": LEARNING_RATE,
            "thread_count": 1,
            "random_seed": SEED,
            "allow_writing_files": False,
            "verbose": 0,
        }
    )
    model.fit(cb.Pool(training, label))
    check_size("CatBoost", list(model.get_tree_leaf_counts()), n_trees, 2**depth)
    model.save_model(str(folder / f"catboost-{n_trees}x{2**depth}.cbm"))
    model.save_model(str(folder / f"catboost-{n_trees}x{2**depth}.json"), format="json")


def train_ydf(folder: Path, training, label, names, n_trees: int):
    columns = {name: training[:, i].astype(np.float32) for i, name in enumerate(names)}
    learner = ydf.GradientBoostedTreesLearner(
        label="churned",
        num_trees=n_trees,
        growing_strategy="BEST_FIRST_GLOBAL",
        max_num_nodes=N_LEAVES,
        max_depth=-1,
        shrinkage=LEARNING_RATE,
        validation_ratio=0.0,
        early_stopping="NONE",
        num_threads=1,
        random_seed=SEED,
    )
    model = learner.train(columns | {"churned": label}, verbose=0)
    check_size("YDF", [count_leaves(tree.root) for tree in model.get_all_trees()], n_trees, N_LEAVES)
    model.save(str(folder / f"ydf-{n_trees}"))


def count_leaves(node) -> int:
    return 1 if node.is_leaf else count_leaves(node.neg_child) + count_leaves(node.pos_child)


def check_size(library: str, leaves: list[int], n_trees: int, n_leaves: int):
    """A forest of another size is another benchmark."""
    mean = sum(leaves) / len(leaves)
    if len(leaves) != n_trees or abs(mean - n_leaves) > 1:
        raise SystemExit(f"{library}: {n_trees} trees of {n_leaves} leaves expected, {len(leaves)} of {mean:.1f} found")
    print(f"{library}: {n_trees} trees of {mean:.1f} leaves", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
