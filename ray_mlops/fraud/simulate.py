"""Simulated card transactions after the public description of the Fraud Detection Handbook, with drift on demand.

Customers live on a 100 x 100 map and pay at the terminals near them. Fraud comes in three scenarios, later ones
overwriting earlier ones: (1) an amount above 220; (2) every day some terminals are compromised for 28 days, all their
transactions are fraud; (3) every day some cards are compromised for 14 days, a third of their transactions is five times
as large and fraud. The map and what is compromised come from the seed alone, each chunk of 250 customers from the seed
and its number, so the rows do not depend on how many processes made them.

Reference: Le Borgne, Siblini, Lebichot, Bontempi: Reproducible Machine Learning for Credit Card Fraud Detection, 2022.
"""

import hashlib
from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field

from ray_mlops.contract import Column, Frozen, Schema
from ray_mlops.errors import DataError
from ray_mlops.platform.lines import Lines
from ray_mlops.platform.sources import Piece, Source

TRANSACTIONS = Schema(
    columns=(
        Column(name="transaction_id", type="int64"),
        Column(name="time", type="timestamp"),
        Column(name="customer_id", type="int64"),
        Column(name="terminal_id", type="int64"),
        Column(name="amount", type="float64", minimum=0),
        Column(name="is_fraud", type="int64", domain=(0, 1)),
    ),
    key="transaction_id",
    time="time",
    label="is_fraud",
    amount="amount",
    entities=("customer_id", "terminal_id"),
)
LARGE_AMOUNT = 220.0
TERMINAL_FRAUD_DAYS = 28
CARD_FRAUD_DAYS = 14
_CHUNK_CUSTOMERS = 250
_MAP_SIZE = 100.0
_DAY_S = 86_400
_NOON_S, _TIME_SPREAD_S = 43_200, 20_000
_ROW_BYTES = 56
_BURST, _BURST_UNTIL_S = 12, 5 * 3_600
_WORLD, _CUSTOMERS = 0, 1


class Drift(Frozen):
    """What changes from `day` (counted from the start) on; without a day nothing does.

    `amount_factor` and `activity_factor` multiply amounts and transactions a day; `fraud_factor` multiplies how many
    terminals and cards are newly compromised a day; `testing_cards` adds a scenario of its own (4): so many cards a day
    are tried out by a burst of small payments at terminals anywhere on the map, within an hour of the night.
    """

    day: int | None = Field(default=None, ge=0)
    amount_factor: float = Field(default=1.0, gt=0)
    activity_factor: float = Field(default=1.0, gt=0)
    fraud_factor: float = Field(default=1.0, ge=0)
    testing_cards: int = Field(default=0, ge=0)


class Simulator(Source):
    """Simulated transactions; besides the columns of `TRANSACTIONS` they have `fraud_scenario` (0 is no fraud)."""

    kind: Literal["simulator"] = "simulator"
    customers: int = Field(default=5_000, ge=1)
    terminals: int = Field(default=10_000, ge=1)
    days: int = Field(default=183, ge=1)
    start: date = date(2018, 4, 1)
    radius: float = Field(default=5.0, gt=0)
    compromised_terminals: int = Field(default=2, ge=0)
    compromised_cards: int = Field(default=3, ge=0)
    seed: int = Field(default=0, ge=0)
    drift: Drift = Drift()

    @property
    def chunks(self) -> int:
        """How many independent parts the customers are made in."""
        return -(-self.customers // _CHUNK_CUSTOMERS)

    def pieces(self, schema: Schema) -> list[Piece]:
        """One piece per chunk of customers."""
        size = self.days * 2 * min(self.customers, _CHUNK_CUSTOMERS) * _ROW_BYTES
        return [Piece(f"simulator chunk {index}", size, partial(_read, self, index)) for index in range(self.chunks)]

    def identity(self) -> dict[str, str]:
        """The settings, which with this module's code determine every row."""
        settings = self.model_dump_json(exclude={"rename", "transform", "timezone", "time_format", "time_unit"})
        digest = hashlib.blake2b(settings.encode(), digest_size=16).hexdigest()
        return {f"simulator#{digest[:8]}": digest}


def _read(simulator: Simulator, index: int) -> Iterator[Lines]:
    yield Lines(simulate(simulator, index), [])


class _World(NamedTuple):
    """What all chunks share: `terminals` `(terminals, 2)` positions, and who is compromised when, by day of start."""

    terminals: np.ndarray
    bad_terminals: list[np.ndarray]
    bad_cards: list[np.ndarray]
    testing: list[np.ndarray]


class _Purchases(NamedTuple):
    """Columns of transactions in the making, one entry each."""

    customer: np.ndarray
    terminal: np.ndarray
    second: np.ndarray
    amount: np.ndarray
    scenario: np.ndarray


def _world(simulator: Simulator) -> _World:
    drift = simulator.drift
    place, terminals, cards, testing = (
        np.random.default_rng(part) for part in np.random.SeedSequence(simulator.seed, spawn_key=(_WORLD,)).spawn(4)
    )

    def daily(rng: np.random.Generator, population: int, normal: int, drifted: int) -> list[np.ndarray]:
        counts = [drifted if _drifted(drift, day) else normal for day in range(simulator.days)]
        return [rng.choice(population, min(count, population), replace=False) for count in counts]

    factor = drift.fraud_factor
    new_terminals = round(simulator.compromised_terminals * factor)
    new_cards = round(simulator.compromised_cards * factor)
    return _World(
        terminals=place.uniform(0, _MAP_SIZE, (simulator.terminals, 2)),
        bad_terminals=daily(terminals, simulator.terminals, simulator.compromised_terminals, new_terminals),
        bad_cards=daily(cards, simulator.customers, simulator.compromised_cards, new_cards),
        testing=daily(testing, simulator.customers, 0, drift.testing_cards),
    )


def _drifted(drift: Drift, day: int) -> bool:
    return drift.day is not None and day >= drift.day


def simulate(simulator: Simulator, index: int) -> pa.Table:
    """The transactions of chunk `index`, ordered by (time, id): the columns of `TRANSACTIONS` and `fraud_scenario`."""
    if not 0 <= index < simulator.chunks:
        raise DataError(f"the simulator has chunks 0 to {simulator.chunks - 1}, not {index}")
    rng = np.random.default_rng(np.random.SeedSequence(simulator.seed, spawn_key=(_CUSTOMERS, index)))
    first = index * _CHUNK_CUSTOMERS
    customers = np.arange(first, min(first + _CHUNK_CUSTOMERS, simulator.customers))
    world = _world(simulator)
    purchases = _with_fraud(_purchases(simulator, world, customers, rng), simulator, world, rng)
    return _table(_with_testing(purchases, simulator, world, customers=customers, rng=rng), simulator, index)


def _purchases(simulator: Simulator, world: _World, customers: np.ndarray, rng: np.random.Generator) -> _Purchases:
    """What the customers buy before anybody commits fraud."""
    positions = rng.uniform(0, _MAP_SIZE, (len(customers), 2))
    means = rng.uniform(5, 100, len(customers))
    rates = rng.uniform(0, 4, len(customers))
    drifted = np.array([_drifted(simulator.drift, day) for day in range(simulator.days)])
    activity = np.where(drifted, simulator.drift.activity_factor, 1.0)
    counts = rng.poisson(rates[:, None] * activity[None, :])
    who = np.repeat(np.arange(len(customers)), counts.sum(axis=1))
    day = np.repeat(np.tile(np.arange(simulator.days), len(customers)), counts.ravel())
    clock = rng.normal(_NOON_S, _TIME_SPREAD_S, len(who))
    amount = rng.normal(means[who], means[who] / 2)
    amount = np.where(amount < 0, rng.uniform(0, 2 * means[who]), amount)
    amount *= np.where(drifted[day], simulator.drift.amount_factor, 1.0)
    terminal = _nearby(simulator, world, positions, who, rng)
    kept = (clock > 0) & (clock < _DAY_S) & (terminal >= 0)  # a day has no hour before 0 and none after 24
    return _Purchases(
        customer=customers[who][kept],
        terminal=terminal[kept],
        second=(day * _DAY_S + clock.astype(np.int64))[kept],
        amount=np.round(amount, 2)[kept],
        scenario=np.zeros(int(kept.sum()), dtype=np.int64),
    )


def _nearby(
    simulator: Simulator, world: _World, positions: np.ndarray, who: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A random terminal within reach for each purchase, -1 for customers who have none."""
    from scipy.spatial import KDTree

    near = KDTree(world.terminals).query_ball_point(positions, simulator.radius, return_sorted=True)
    counts = np.array([len(found) for found in near])
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    choices = np.concatenate([np.asarray(found, dtype=np.int64) for found in (*near, [-1])])
    picked = starts[who] + (rng.random(len(who)) * counts[who]).astype(np.int64)
    return np.where(counts[who] > 0, choices[picked], -1)


def _with_fraud(made: _Purchases, simulator: Simulator, world: _World, rng: np.random.Generator) -> _Purchases:
    """The same purchases with the three scenarios, in their order."""
    day = made.second // _DAY_S
    drifted = simulator.drift.day is not None and day >= simulator.drift.day
    limit = LARGE_AMOUNT * np.where(drifted, simulator.drift.amount_factor, 1.0)  # dearer is not yet suspicious
    scenario = np.where(made.amount > limit, 1, made.scenario)
    compromised = _episodes(world.bad_terminals, TERMINAL_FRAUD_DAYS, made.terminal, day)
    scenario = np.where(compromised > 0, 2, scenario)
    amount = made.amount
    stolen = _episodes(world.bad_cards, CARD_FRAUD_DAYS, made.customer, day)
    for episode in range(1, int(stolen.max(initial=0)) + 1):  # a card stolen twice is plundered twice
        taken = (rng.random(len(day)) < 1 / 3) & (stolen >= episode)
        amount = np.where(taken, np.round(amount * 5, 2), amount)
        scenario = np.where(taken, 3, scenario)
    return made._replace(amount=amount, scenario=scenario)


def _episodes(starts: list[np.ndarray], span_days: int, entity: np.ndarray, day: np.ndarray) -> np.ndarray:
    """In how many episodes of `span_days` each entity is on each day; `starts` are who begins one, by day."""
    stride = len(starts) + span_days  # so wide that one entity's days never reach into the next one's
    begun = np.repeat(np.arange(len(starts)), [len(found) for found in starts])
    keys = np.sort(np.concatenate([*starts, np.empty(0, dtype=np.int64)]) * stride + begun)
    now = entity * stride + day
    return np.searchsorted(keys, now, "right") - np.searchsorted(keys, now - span_days, "right")


def _with_testing(
    made: _Purchases, simulator: Simulator, world: _World, *, customers: np.ndarray, rng: np.random.Generator
) -> _Purchases:
    """The purchases and, after a drift that brings them, the bursts that try out cards (scenario 4)."""
    mine = [found[(found >= customers[0]) & (found <= customers[-1])] for found in world.testing]
    card = np.concatenate([*mine, np.empty(0, dtype=np.int64)])
    day = np.repeat(np.arange(simulator.days), [len(found) for found in mine])
    begin = day * _DAY_S + rng.integers(0, _BURST_UNTIL_S, len(card))
    size = len(card) * _BURST
    burst = _Purchases(
        customer=np.repeat(card, _BURST),
        terminal=rng.integers(0, simulator.terminals, size),
        second=np.repeat(begin, _BURST) + rng.integers(0, 3_600, size),
        amount=np.round(rng.uniform(0.5, 5, size), 2),
        scenario=np.full(size, 4),
    )
    return _Purchases(*(np.concatenate(pair) for pair in zip(made, burst, strict=True)))


def _table(made: _Purchases, simulator: Simulator, index: int) -> pa.Table:
    order = np.argsort(made.second, kind="stable")
    micros = made.second[order] * 1_000_000 + np.datetime64(simulator.start, "us").astype(np.int64)
    return pa.table(
        {
            # Chunks share the numbers out in turn: unique, dense, and growing with time in each chunk.
            "transaction_id": np.arange(len(order)) * simulator.chunks + index,
            "time": pa.array(micros).cast(pa.timestamp("us", tz="UTC")),
            "customer_id": made.customer[order],
            "terminal_id": made.terminal[order],
            "amount": made.amount[order],
            "is_fraud": (made.scenario[order] > 0).astype(np.int64),
            "fraud_scenario": made.scenario[order],
        }
    )
