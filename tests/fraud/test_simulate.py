"""The simulator follows the public description, and its rows depend on nothing but its settings."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ray_mlops.errors import DataError
from ray_mlops.fraud.simulate import TERMINAL_FRAUD_DAYS, TRANSACTIONS, Drift, Simulator, simulate

DAY_US = 86_400_000_000


def everything(simulator: Simulator) -> pa.Table:
    return pa.concat_tables(simulate(simulator, index) for index in range(simulator.chunks))


def column(table: pa.Table, name: str) -> np.ndarray:
    array = table.column(name)
    return (array.cast(pa.int64()) if name == "time" else array).to_numpy()


def days(table: pa.Table) -> np.ndarray:
    return (column(table, "time") - column(table, "time").min() // DAY_US * DAY_US) // DAY_US


@pytest.fixture(scope="module")
def default() -> pa.Table:
    return everything(Simulator())


def test_its_statistics_are_those_of_the_public_file(default: pa.Table, shared_data) -> None:
    public = pq.read_table(shared_data / "handbook" / "transactions.parquet")
    assert default.num_rows / 183 == pytest.approx(public.num_rows / 183, rel=0.03)
    assert column(default, "is_fraud").mean() == pytest.approx(column(public, "TX_FRAUD").mean(), rel=0.10)
    quantiles = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
    ours, theirs = (np.quantile(column(t, n), quantiles) for t, n in ((default, "amount"), (public, "TX_AMOUNT")))
    np.testing.assert_allclose(ours, theirs, rtol=0.06)
    for scenario, tolerance in ((1, 0.3), (2, 0.15), (3, 0.15)):
        count = (column(public, "TX_FRAUD_SCENARIO") == scenario).sum()
        assert (column(default, "fraud_scenario") == scenario).sum() == pytest.approx(count, rel=tolerance)
    assert pc.count_distinct(default["customer_id"]).as_py() == pytest.approx(4_990, abs=10)
    assert pc.count_distinct(default["terminal_id"]).as_py() == 10_000


def test_its_time_of_day_is_centred_on_noon(default: pa.Table) -> None:
    seconds = column(default, "time") % DAY_US / 1e6
    assert seconds.mean() == pytest.approx(43_200, abs=200)
    assert 0 < seconds.min() + 1 and seconds.max() < 86_400


def test_it_has_the_declared_columns_and_unique_ids_in_order_of_time(default: pa.Table) -> None:
    assert set(TRANSACTIONS.names) < set(default.column_names)
    assert default.schema.field("time").type == pa.timestamp("us", tz="UTC")
    assert pc.count_distinct(default["transaction_id"]).as_py() == default.num_rows
    chunk = simulate(Simulator(), 3)
    assert (np.diff(column(chunk, "time")) >= 0).all() and (np.diff(column(chunk, "transaction_id")) > 0).all()


def test_every_large_amount_is_fraud_and_the_label_is_the_scenario(default: pa.Table) -> None:
    fraud = column(default, "is_fraud")
    assert (fraud[column(default, "amount") > 220] == 1).all()
    assert ((column(default, "fraud_scenario") > 0) == (fraud == 1)).all()


def test_a_compromised_terminal_is_all_fraud_for_its_days(default: pa.Table) -> None:
    scenario, day = column(default, "fraud_scenario"), days(default)
    hit = default.filter(pa.array((scenario == 2) & (day < 100)))
    terminal = column(hit, "terminal_id")[0]
    its_days = day[(column(default, "terminal_id") == terminal) & (scenario == 2)]
    inside = (column(default, "terminal_id") == terminal) & (day >= its_days.min()) & (day <= its_days.max())
    if its_days.max() - its_days.min() < TERMINAL_FRAUD_DAYS:
        assert (column(default, "is_fraud")[inside] == 1).all()


def test_a_customer_pays_near_home(default: pa.Table) -> None:
    per_customer = default.group_by("customer_id").aggregate([("terminal_id", "count_distinct")])
    used = column(per_customer, "terminal_id_count_distinct")
    assert 20 < np.median(used) < 90  # about 78 of the 10,000 terminals are within reach


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    small = Simulator(customers=300, terminals=500, days=20)
    assert everything(small).equals(everything(small))
    assert not everything(small).equals(everything(small.model_copy(update={"seed": 1})))


def test_a_chunk_does_not_need_the_other_chunks() -> None:
    simulator = Simulator(customers=600, terminals=500, days=10)
    assert simulator.chunks == 3
    whole = everything(simulator)
    alone = simulate(simulator, 2)
    assert whole.slice(whole.num_rows - alone.num_rows).equals(alone)
    assert column(alone, "customer_id").min() >= 500


def test_any_size_works_and_customers_out_of_reach_buy_nothing() -> None:
    assert everything(Simulator(customers=1, terminals=1, days=1, radius=0.001)).num_rows == 0
    assert everything(Simulator(customers=3, terminals=2, days=5, radius=200)).num_rows > 0


def test_a_chunk_that_does_not_exist_is_named() -> None:
    with pytest.raises(DataError, match="chunks 0 to 0, not 1"):
        simulate(Simulator(customers=10), 1)


def test_drift_begins_on_its_day() -> None:
    drift = Drift(day=30, amount_factor=2.0, activity_factor=1.5, fraud_factor=4.0, testing_cards=2)
    table = everything(Simulator(customers=1_000, terminals=2_000, days=60, drift=drift))
    day, scenario, amount = days(table), column(table, "fraud_scenario"), column(table, "amount")
    normal = scenario == 0
    before, after = normal & (day < 30), normal & (day >= 30)
    assert amount[after].mean() / amount[before].mean() == pytest.approx(2.0, rel=0.1)
    assert after.sum() / before.sum() == pytest.approx(1.5, rel=0.1)
    assert (scenario[day >= 45] == 3).mean() > 2 * (scenario[(day >= 15) & (day < 30)] == 3).mean()
    testing = scenario == 4
    assert testing.sum() == 2 * 30 * 12 and day[testing].min() == 30
    assert amount[testing].max() <= 5 and (column(table, "is_fraud")[testing] == 1).all()


def test_without_a_day_drift_changes_nothing() -> None:
    plain = Simulator(customers=50, terminals=200, days=10)
    assert everything(plain).equals(everything(plain.model_copy(update={"drift": Drift(amount_factor=3)})))


def test_identity_follows_what_decides_the_rows() -> None:
    one = Simulator().identity()
    assert one == Simulator(rename={"amount": "amount"}).identity()
    assert one != Simulator(seed=1).identity() != Simulator(drift=Drift(day=3)).identity()


def test_pieces_cover_all_chunks() -> None:
    simulator = Simulator(customers=600, terminals=100, days=5)
    tables = [lines.table for piece in simulator.pieces(TRANSACTIONS) for lines in piece.read()]
    assert pa.concat_tables(tables).equals(everything(simulator))
