"""Candidates on folds: every row is judged once, by what it had no part in."""

import numpy as np
import pytest

from ray_mlops.vision import contest
from ray_mlops.vision.candidates import Candidate, Material


def test_each_row_is_judged_by_what_was_learned_from_other_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[set[int], set[int]]] = []

    def predict(earlier: Material, later: Material, classes: int, seed: int) -> np.ndarray:
        seen.append((set(earlier.units.tolist()), set(later.units.tolist())))
        return later.labels if 0 in later.units else 1 - later.labels

    only = Candidate("constant", "a stand-in", predict)
    monkeypatch.setattr(contest, "SIMPLE", {"constant": only})
    monkeypatch.setattr(contest, "NETWORK", Candidate("network", "another", predict))
    rows = np.arange(12)
    found = Material(np.zeros((12, 2, 2, 1), np.uint8), np.zeros(12, np.int64), rows % 2, rows)
    folds = [(rows % 3 != fold, rows % 3 == fold) for fold in range(2)]
    standings = contest.hold(found, folds, 2, seed=0)
    assert all(not earlier & later for earlier, later in seen) and len(seen) == 4
    judged = rows[rows % 3 < 2]
    assert standings["network"].right.tolist() == (judged % 3 == 0).tolist()
    assert standings["constant"].figures == {"accuracy": 0.5, "macro_recall": 0.5}
