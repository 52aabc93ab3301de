"""The declared shape of a table of events."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

ColumnType = Literal["int64", "float64", "string", "bool", "timestamp"]


class Frozen(BaseModel):
    """Immutable, validated value; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Column(Frozen):
    """One declared column: its type and what a legal value is (`minimum` and `maximum` are inclusive)."""

    name: str
    type: ColumnType
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    domain: tuple[str | int, ...] | None = None
    description: str = ""


class Schema(Frozen):
    """The declared shape of a table of events.

    `key` is unique; `time` is the event time (UTC after ingestion; naive source times are read in `timezone`); `label`
    is 0/1; `amount` is the money a missed positive costs; `entities` are what windows group by, the first one being
    what an analyst reviews and blocks (the card); `label_time` is when the label became known, where the data has it.
    """

    columns: tuple[Column, ...]
    key: str
    time: str
    label: str
    amount: str | None = None
    entities: tuple[str, ...] = ()
    label_time: str | None = None
    timezone: str = "UTC"

    @model_validator(mode="after")
    def _roles_are_columns(self) -> "Schema":
        names = self.names
        if len(set(names)) != len(names):
            raise ValueError(f"a column is declared twice: {', '.join(names)}")
        roles = (self.key, self.time, self.label, self.amount, self.label_time, *self.entities)
        if missing := [role for role in roles if role is not None and role not in names]:
            raise ValueError(f"{', '.join(missing)} is given a role but is not a declared column: {', '.join(names)}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)
