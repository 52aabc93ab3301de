from datetime import date, timedelta

from ray_mlops.reports.page import render
from ray_mlops.reports.profile_page import profile_page


def day(number: int, rows: int = 100) -> dict:
    named = (date(2020, 1, 1) + timedelta(days=number)).isoformat()
    return {
        "day": named, "rows": rows, "positives": 1, "amount": 50.0 * rows, "amount_positive": 90.0,
        "prevalence": 1 / rows, "prevalence_by_amount": 90 / (50 * rows),
    }  # fmt: skip


def findings(**changes: object) -> dict:
    """What `findings` tells of a small table."""
    quantiles = {"0.5": 40.0, "0.99": 200.0}
    amount = {
        "kind": "number", "missing": 0, "missing_share": 0.0, "distinct": 900, "distinct_exact": True, "minimum": 1.0,
        "maximum": 400.0, "mean": 50.0, "std": 20.0, "quantiles": quantiles,
        "histogram": {"edges": [0.0, 100.0, 200.0], "counts": [90, 9], "above": 1},
        "rates": [{"from": 1.0, "rows": 50, "rate": 0.0}, {"from": 200.0, "rows": 50, "rate": 0.02}],
    }  # fmt: skip
    kind = {
        "kind": "text", "missing": 20, "missing_share": 0.2, "distinct": 2, "distinct_exact": True,
        "top": [{"value": "<chip>", "rows": 60, "positives": 1, "rate": 1 / 60}],
    }  # fmt: skip
    power = {
        "column": "amount", "source": "column", "direction": "higher", "auc": 0.8, "ap": 0.2, "auc_any_shape": 0.81,
        "ap_any_shape": 0.1,
    }  # fmt: skip
    card = {
        "distinct": 40, "sampled": False, "events": {"mean": 2.5, "minimum": 1, "0.5": 2, "0.9": 4, "0.99": 9, "1": 10},
        "sizes": [{"events": "1", "entities": 40}], "with_positives": 0.1, "largest_share": 0.1,
        "top": [{"value": 12345, "rows": 10, "positives": 1, "rate": 0.1}],
    }  # fmt: skip
    checks = {
        "boundary_share": 0.2, "time": {"auc": 0.51}, "key": {"auc": None}, "warnings": [],
        "entities": {"card": {"auc": 0.6, "overlap": 0.9}},
    }  # fmt: skip
    hours = [{"value": hour, "rows": 4, "rate": 0.01} for hour in range(24)]
    weekdays = [{"value": weekday, "rows": 14, "rate": 0.01} for weekday in range(7)]
    return {
        "rows": 100, "positives": 1, "prevalence": 0.01, "amount": 5000.0, "amount_positive": 90.0,
        "prevalence_by_amount": 0.018, "first": "2020-01-01T00:00:00+00:00", "last": "2020-01-03T00:00:00+00:00",
        "leaks": [], "power": [power], "duplicates": {"rows": 0, "exact": True}, "days": [day(0), day(1)],
        "calendar": {"hour": hours, "weekday": weekdays, "month": []}, "columns": {"amount": amount, "kind": kind},
        "entities": {"card": card}, "checks": checks, **changes,
    }  # fmt: skip


def told(**changes: object) -> str:
    return render(profile_page(findings(**changes), title="Data profile", subtitle="a table"))


def test_figures_and_warnings_are_told():
    html = told()
    for words in (
        "1.000 %",
        "1.800 %",
        "&lt;chip&gt;",
        "kind is missing in 20.0 % of the rows",
        "12345",
        "Only 1 positives",
    ):
        assert words in html
    assert "One card has 10.0 % of all events" in html and "1 larger values are not drawn" in html


def test_leaks_and_repeats_are_told_first():
    html = told(leaks=["scenario"], duplicates={"rows": 1200, "exact": False})
    assert "scenario alone gives the label away" in html and "about 1,200 rows repeat" in html


def test_a_long_history_is_drawn_by_week():
    html = told(days=[day(number) for number in range(500)])
    assert "Prevalence by week" in html and '"week": "2019-12-30"' in html and '"2020-01-02"' not in html


def test_a_table_without_amount_entities_or_power_has_a_page():
    bare = {"prevalence_by_amount": None, "entities": {}, "power": [], "columns": {}}
    html = told(**bare)
    assert "no column can tell" in html and "names no entities" in html and "by amount" not in html


def test_leak_checks_are_told_and_their_warnings_stand_first() -> None:
    assert "Nothing was found." in told() and "earlier ones of the same card" in told()
    checks = {**findings()["checks"], "warnings": ["id tells the label"]}
    page = told(checks=checks)
    assert page.index("id tells the label") < page.index("Leak checks</h2>") and "Nothing was found." not in page
