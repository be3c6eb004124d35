"""Tasks of tasks.toml: the table of each, what its columns are, and its folds."""

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

import tables
from peers.problem import read_table

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
N_FOLDS = 5
SEED = 0


@dataclass(frozen=True)
class Loaded:
    """A task with its table. `label` is 0 or 1 for churn and an amount for the others; one `group` and one label a row."""

    name: str
    task: dict
    table: pd.DataFrame
    label: np.ndarray
    groups: np.ndarray
    categories: list[str]
    numbers: list[str]
    made_by: str

    @property
    def kind(self):
        return self.task["kind"]

    @property
    def target(self):
        return self.task["target"]


def read_tasks():
    """All tasks, in the order of the file."""
    return tomllib.loads((HERE / "tasks.toml").read_text(encoding="utf-8"))


def load(name, task, folder, retain):
    """The task with its table, or None where the table is not there. `folder`: the data folder or None."""
    if "builder" in task:
        if folder is None or not all((folder / source).exists() for source in task["sources"]):
            return None
        table, made_by = tables.build(task, folder, retain)
    else:
        places = [PROJECT / task["bundled"]] if "bundled" in task else []
        places += [folder / task["file"]] if folder is not None else []
        path = next((place for place in places if place.exists()), None)
        if path is None:
            return None
        # A label is compared as text, so that `1.0` and `True` stay what the file says.
        text = [task["target"]] if task["kind"] == "churn" else []
        table, made_by = read_table(path, text), "as published"
    return _with_roles(name, task, table.drop(columns=task.get("drop", []), errors="ignore"), made_by)


def _with_roles(name, task, table, made_by):
    entity, target = task.get("entity"), task["target"]
    group = task.get("group", entity)
    groups = table[group].astype(str).to_numpy() if group else np.arange(len(table)).astype(str)
    features = [column for column in table if column not in (entity, group, target)]
    numbers = [column for column in features if pd.api.types.is_numeric_dtype(table[column])]
    # Booleans would be read back as texts.
    numbers = [column for column in numbers if not pd.api.types.is_bool_dtype(table[column])]
    label = table[target]
    if task["kind"] == "churn":
        label = label.astype(str) == task["positive"]
        if label.nunique() < 2:
            raise SystemExit(f"{name}: `positive = \"{task['positive']}\"` leaves the target `{target}` one class")
    return Loaded(
        name=name,
        task=task,
        table=table,
        label=label.to_numpy(float),
        groups=groups,
        categories=[column for column in features if column not in numbers],
        numbers=numbers,
        made_by=made_by,
    )


def folds(loaded):
    """Pairs of row numbers, to train on and to predict; together the second are the rows that are judged."""
    task, rows = loaded.task, np.arange(len(loaded.table))
    if task["split"] == "first_rows":
        return [(rows[: task["train_rows"]], rows[task["train_rows"] :])]
    if task["split"] == "tail":
        start = round(len(rows) * (1 - task["test_share"]))
        return [(rows[:start], rows[start:])]
    # Amounts have no classes: their folds share the customers with nothing evenly, which is most of what decides the total.
    strata = loaded.label if loaded.kind == "churn" else loaded.label > 0
    grouped, one_class = task["split"] == "grouped", len(np.unique(strata)) == 1
    whole = GroupKFold if one_class else StratifiedGroupKFold
    single = KFold if one_class else StratifiedKFold
    cutter = (whole if grouped else single)(N_FOLDS, shuffle=True, random_state=SEED)
    return list(cutter.split(rows, strata, loaded.groups if grouped else None))


def write_fold(loaded, train, test, folder):
    """Writes train.csv, test.csv (no target), fold.json for the peers and task.toml for `retain`; returns what identifies them."""
    folder.mkdir(parents=True)
    loaded.table.iloc[train].to_csv(folder / "train.csv", index=False)
    loaded.table.iloc[test].drop(columns=loaded.target).to_csv(folder / "test.csv", index=False)
    about = {
        "kind": loaded.kind,
        "target": loaded.target,
        "positive": loaded.task.get("positive"),
        "past": loaded.task.get("past"),
        "categories": loaded.categories,
        "numbers": loaded.numbers,
        "groups": loaded.groups[train].tolist(),
    }
    (folder / "fold.json").write_text(json.dumps(about))
    (folder / "task.toml").write_text(retain_task(loaded), encoding="utf-8")
    parts = [(folder / part).read_bytes() for part in ("train.csv", "test.csv", "fold.json")]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def retain_task(loaded):
    """The task file for `retain train`: what the peers are told, and no more."""
    task = loaded.task
    lines = ["[task]", f"name = {_text(loaded.name.replace('_', '-'))}", f"kind = {_text(loaded.kind)}"]
    lines += [f"definition = {_text(f'{loaded.target} of the {loaded.name} table')}"]
    lines += [f"horizon_days = {task.get('horizon_days', 30)}", "", "[table]", f"target = {_text(loaded.target)}"]
    lines += [f"{role} = {_text(task[role])}" for role in ("positive", "entity", "group") if role in task]
    return "\n".join(lines) + "\n"


def _text(value):
    """A TOML string; JSON escapes are TOML escapes."""
    return json.dumps(value)
