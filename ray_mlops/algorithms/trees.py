"""Boosted trees, compiled ahead of time: the scores of the library, bit for bit, for a few rows in microseconds.

For one row a library spends its time on what surrounds the trees. Here they are flat arrays that compiled code walks
through in the order and the precision of the library's own predictor. Large batches and explanations stay with the library.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ray_mlops.algorithms.tree_codes import LEAF, NAN

if TYPE_CHECKING:
    import lightgbm
    import xgboost

MOST_ROWS = 64  # above, the library's blocks of rows and its threads win


@dataclass(frozen=True)
class Trees:
    """All nodes of all trees, `roots` where each begins; a leaf has feature -1 and its value as `threshold`.

    A row goes left where its value is at most the threshold; `rule` is what a missing value does: bit 0, whether it goes
    left, bits 1 and 2, which values are missing (`tree_codes`). `start` is the margin without trees; margins are summed in
    its precision. From a margin below `-most` the score falls no further.
    """

    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    rule: np.ndarray
    start: np.floating[Any]
    most: np.floating[Any]

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Scores `(rows,)` of features `(rows, features)` float32, in the library's precision."""
        from ray_mlops.algorithms.tree_walk import walk  # the compiler takes half a second to load

        scores = np.empty(len(batch), self.threshold.dtype)
        walk(np.ascontiguousarray(batch), self._arrays, scores)
        return scores

    @cached_property
    def _arrays(self) -> tuple[Any, ...]:
        return (self.roots, self.feature, self.threshold, self.left, self.right, self.rule, self.start, self.most)


def of_xgboost(booster: "xgboost.Booster") -> Trees | None:
    """The trees of a binary classifier; None for what this module does not know: categories, other objectives, DART."""
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    model = learner["gradient_booster"]
    binary = learner["objective"]["name"] == "binary:logistic" and learner["learner_model_param"]["num_target"] == "1"
    if model["name"] != "gbtree" or not binary:
        return None
    trees = model["model"]["trees"]
    if any(tree["categories_nodes"] for tree in trees):
        return None
    base = np.float32(json.loads(learner["learner_model_param"]["base_score"].strip("[]")))
    start = -np.log(np.float32(1) / base - np.float32(1))
    return _joined([_xgboost_nodes(tree) for tree in trees], start, np.float32(88.7))


def of_lightgbm(booster: "lightgbm.Booster") -> Trees | None:
    """The trees of a binary classifier; None for what this module does not know: categories, linear leaves, forests."""
    head, *rest = booster.model_to_string().split("\nTree=")
    trees = [_fields(text.split("\n\n")[0]) for text in rest]
    known = "objective=binary sigmoid:1\n" in f"{head}\n" and "average_output" not in head
    if not known or any(tree["num_cat"] != "0" or tree.get("is_linear", "0") != "0" for tree in trees):
        return None
    return _joined([_lightgbm_nodes(tree) for tree in trees], np.float64(0), np.float64(np.inf))


class _Nodes:
    """The nodes of one tree; children are counted from its first node."""

    def __init__(self, feature: Any, threshold: Any, left: Any, right: Any, rule: Any) -> None:
        self.feature = np.asarray(feature, np.int32)
        self.threshold = np.asarray(threshold)
        self.left, self.right = np.asarray(left, np.int32), np.asarray(right, np.int32)
        self.rule = np.asarray(rule, np.uint8)


def _joined(trees: Sequence[_Nodes], start: Any, most: Any) -> Trees:
    sizes = [len(tree.feature) for tree in trees]
    roots = np.concatenate([[0], np.cumsum(sizes[:-1])]).astype(np.int32)[: len(trees)]

    def together(name: str, dtype: Any) -> np.ndarray:
        return np.concatenate([getattr(tree, name) for tree in trees] or [np.empty(0)]).astype(dtype)

    shift = np.repeat(roots, sizes)
    return Trees(
        roots,
        together("feature", np.int32),
        together("threshold", start.dtype),
        together("left", np.int32) + shift,
        together("right", np.int32) + shift,
        together("rule", np.uint8),
        start,
        most,
    )


def _xgboost_nodes(tree: Mapping[str, Any]) -> _Nodes:
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    conditions = np.array(tree["split_conditions"], np.float32)
    leaf = left == -1
    # Its values go left below the condition: at most the float32 before it.
    threshold = np.where(leaf, conditions, np.nextafter(conditions, np.float32(-np.inf)))
    rule = np.array(tree["default_left"]) + 2 * NAN
    return _Nodes(np.where(leaf, LEAF, tree["split_indices"]), threshold, left, right, rule)


def _lightgbm_nodes(tree: Mapping[str, str]) -> _Nodes:
    def numbers(name: str, dtype: Any) -> np.ndarray:
        return np.array([float(word) for word in tree.get(name, "").split()], np.float64).astype(dtype)

    leaves, splits = int(tree["num_leaves"]), int(tree["num_leaves"]) - 1
    left, right = (numbers(name, np.int32)[:splits] for name in ("left_child", "right_child"))
    kind = numbers("decision_type", np.int32)[:splits]
    nothing = np.zeros(leaves, np.int32)
    left, right = (np.concatenate([np.where(child < 0, splits + ~child, child), nothing]) for child in (left, right))
    return _Nodes(
        np.concatenate([numbers("split_feature", np.int32)[:splits], nothing + LEAF]),
        np.concatenate([numbers("threshold", np.float64)[:splits], numbers("leaf_value", np.float64)]),
        left,
        right,
        np.concatenate([(kind >> 1) & 1 | ((kind >> 2) & 3) << 1, nothing]),
    )


def _fields(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
