"""Times of two samples become that of all rows: fixed work stays, work that grows grows, nothing falls."""

import pytest

from ray_mlops.errors import ConfigError
from ray_mlops.planning.estimate import Sampled, estimates
from ray_mlops.planning.trial import plan, told

SMALL, LARGE = Sampled(0.01, 1_000, {"ingest": 3.0, "train": 1.0}), Sampled(0.02, 2_000, {"ingest": 3.0, "train": 1.5})


def test_a_fixed_part_stays_and_the_rest_grows_with_the_rows() -> None:
    ingest, train = estimates(SMALL, LARGE)
    assert (ingest.stage, ingest.about, ingest.most) == ("ingest", 3.0, 150.0)
    assert (train.stage, train.about, train.most) == ("train", pytest.approx(0.5 + 100_000 * 0.0005), 75.0)


def test_a_sample_that_was_faster_with_more_rows_says_nothing_of_growth() -> None:
    (only,) = estimates(Sampled(0.01, 1_000, {"clean": 2.0}), Sampled(0.02, 2_000, {"clean": 1.0}))
    assert only.about == 1.0


def test_work_that_grows_faster_than_its_rows_is_never_above_what_is_called_the_most() -> None:
    (only,) = estimates(Sampled(0.01, 1_000, {"clean": 1.0}), Sampled(0.02, 2_000, {"clean": 8.0}))
    assert only.about == only.most == 400.0


def test_the_table_has_every_stage_the_sum_and_the_price() -> None:
    lines = list(told(list(estimates(SMALL, LARGE)), SMALL, LARGE, cores=2, price=0.05))
    assert "about 100,000" in lines[1]
    assert [line.split()[0] for line in lines[2:5]] == ["ingest", "train", "all"]
    assert lines[5].startswith("cost: about 0.00, at most 0.01, at 0.05 a core and hour on 2 cores")


def test_what_nodes_cost_that_nobody_has_seen_is_not_called_nothing() -> None:
    lines = list(told(list(estimates(SMALL, LARGE)), SMALL, LARGE, cores=0, price=0.05))
    assert lines[5].startswith("cost: unknown") and "0.00" not in "".join(lines) and "0 cores" not in "".join(lines)


@pytest.mark.parametrize("share", [0.0, 0.6, -1.0])
def test_a_share_that_is_none_is_refused_before_anything_runs(share: float) -> None:
    with pytest.raises(ConfigError, match="--share"):
        plan("fraud", "nowhere", [], share=share)
