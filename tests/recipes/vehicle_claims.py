"""Fraud in real car-insurance claims (1994-96): no card, no second, only year, month and week of the month."""

import pyarrow as pa
import pyarrow.compute as pc

from ray_mlops.algorithms import ALGORITHMS
from ray_mlops.contract import Column, Schema
from ray_mlops.fraud.features import FeaturesConfig, Split
from ray_mlops.pipeline import Config
from ray_mlops.stages.ingest import IngestConfig, Parquet
from ray_mlops.stages.register import RegisterConfig

TYPES = {"PolicyNumber": "int64", "time": "timestamp", "FraudFound_P": "int64"}
TYPES |= dict.fromkeys(("Age", "Deductible", "DriverRating", "WeekOfMonthClaimed", "RepNumber"), "int64")
CATEGORIES = """Make AccidentArea Sex MaritalStatus Fault PolicyType VehicleCategory VehiclePrice Days_Policy_Accident
    Days_Policy_Claim PastNumberOfClaims AgeOfVehicle AgeOfPolicyHolder PoliceReportFiled WitnessPresent AgentType
    NumberOfSuppliments AddressChange_Claim NumberOfCars BasePolicy MonthClaimed DayOfWeekClaimed"""
TYPES |= dict.fromkeys(CATEGORIES.split(), "string")


def with_time(table: pa.Table) -> pa.Table:
    """The first day of the accident's week of the month."""
    day = pc.cast(pc.subtract(pc.multiply(table["WeekOfMonth"], 7), 6), pa.string())
    text = pc.binary_join_element_wise(pc.cast(table["Year"], pa.string()), table["Month"], day, "-")
    return table.append_column("time", pc.strptime(text, "%Y-%b-%d", "us"))


def vehicle_claims() -> Config:
    columns = tuple(Column(name=name, type=kind) for name, kind in TYPES.items())
    data = Schema(columns=columns, key="PolicyNumber", time="time", label="FraudFound_P")
    source = Parquet(path="../shared/data/vehicle_claims/claims.parquet", transform=with_time)
    split = Split(train_days=600, delay_days=30, validation_days=120, test_days=180)
    return Config(
        name="vehicle_claims",
        algorithm=ALGORITHMS["lightgbm"](),
        ingest=IngestConfig(name="insurance.claims", data=data, sources=(source,)),
        features=FeaturesConfig(inputs=tuple(TYPES)[3:], calendar=("month",), split=split),
        register=RegisterConfig(name="vehicle_claims", gates={"roc_auc": 0.7}),
    )
