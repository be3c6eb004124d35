"""Tests of tasks.py and tables.py on small tables: what is split how, and what a model is told."""

import tempfile
import tomllib
import unittest
from pathlib import Path

import numpy as np
import pandas as pd

import tables
import tasks
from peers.problem import read_problem

LOG = """who,when,paid
a,1997-01-01,10
a,1997-01-01,5
a,1997-01-11,30
a,1997-01-20,-4
b,1997-01-15,0
a,1997-02-01,7
a,1997-02-02,-1
c,1997-02-03,9
"""
ROLES = {"customer": "who", "date": "when", "amount": "paid", "observe_at": "1997-01-31", "horizon_days": 28}


def loaded(kind="churn", split="stratified", n=200):
    """A task whose customers have four rows each, with awkward names and texts."""
    rows = np.arange(n)
    table = pd.DataFrame({"id": rows // 4, 'plan "x"': np.where(rows % 3, "None", "a,b"), "spend": rows * 0.1})
    table["left"] = np.where(rows % 5 == 0, "1", "0") if kind == "churn" else (rows % 5) * 1.5
    task = {"kind": kind, "entity": "id", "target": "left", "positive": "1", "split": split, "past": "spend"}
    task |= {"first_rows": {"train_rows": 150}, "tail": {"test_share": 0.3}}.get(split, {})
    return tasks._with_roles("small_task", task, table, "by hand")


class Folds(unittest.TestCase):
    def test_every_row_is_judged_once_and_by_a_model_that_did_not_see_it(self):
        for split in ("stratified", "grouped"):
            cuts = tasks.folds(loaded(split=split))
            self.assertEqual(sorted(np.concatenate([test for _, test in cuts])), list(range(200)))
            self.assertTrue(all(not set(train) & set(test) for train, test in cuts))

    def test_grouped_folds_never_part_a_customer(self):
        for kind in ("churn", "ltv"):
            task = loaded(kind, "grouped")
            for train, test in tasks.folds(task):
                self.assertFalse(set(task.groups[train]) & set(task.groups[test]))

    def test_ordered_splits_judge_the_end(self):
        for split, first in (("first_rows", 150), ("tail", 140)):
            ((train, test),) = tasks.folds(loaded(split=split))
            self.assertEqual((train[-1], test[0], test[-1]), (first - 1, first, 199))


class Files(unittest.TestCase):
    def test_peers_read_back_what_was_written_and_test_rows_have_no_target(self):
        task = loaded()
        train, test = tasks.folds(task)[0]
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "fold"
            tasks.write_fold(task, train, test, folder)
            problem = read_problem(folder, threads=1)
            self.assertNotIn("left", pd.read_csv(folder / "test.csv"))
        self.assertEqual(problem.label.tolist(), task.label[train].tolist())
        self.assertEqual(list(problem.train), ['plan "x"', "spend"])
        pd.testing.assert_frame_equal(problem.test, task.table.iloc[test][list(problem.test)].reset_index(drop=True))

    def test_the_task_file_is_toml_with_the_same_roles(self):
        table = tomllib.loads(tasks.retain_task(loaded()))["table"]
        self.assertEqual(table, {"target": "left", "positive": "1", "entity": "id"})

    def test_every_task_names_what_its_kind_needs(self):
        for name, task in tasks.read_tasks().items():
            self.assertIn("positive" if task["kind"] == "churn" else "past", task, name)
            self.assertTrue(("file" in task) != ("builder" in task), name)


class Transactions(unittest.TestCase):
    def test_features_end_on_the_day_and_labels_begin_after_it(self):
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "log.csv"
            path.write_text(LOG)
            table, _ = tables.transactions({"log": ROLES}, [path], None)
        rows = table.set_index("who")
        self.assertEqual(list(rows.index), ["a", "b"])
        known = ["frequency", "recency_days", "t_days", "days_since_last", "monetary", "total_spend", "max_amount"]
        self.assertEqual(rows.loc["a", known].tolist(), [1, 10, 30, 20, 30, 41, 30])
        self.assertEqual(rows.loc[["a", "b"], "value_next"].tolist(), [6, 0])
        self.assertEqual(rows.loc[["a", "b"], "churned_next"].tolist(), [0, 1])


if __name__ == "__main__":
    unittest.main()
