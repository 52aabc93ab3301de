import pytest

from ray_mlops.reports.run_page import relative, run_page

ROOT = "/srv/runs root"


def record(stage: str, *, reused: bool = False, **artifact: object) -> dict:
    uri = f"{ROOT}/artifacts/{stage}/abc"
    return {
        "stage": stage, "status": "reused" if reused else "done", "seconds": 2.5, "rows": artifact.get("rows"),
        "artifact": {"uri": uri, "fingerprint": "abc", **artifact},
    }  # fmt: skip


def report(stage: str) -> str:
    return f"{ROOT}/artifacts/{stage}/abc/report.html"


RECORDS = [
    record("ingest", rows=1000, name="fraud.transactions", snapshot="0123456789abcdef", sources={}),
    record(
        "clean", rows=990, rows_in=1000, quarantined=10, reasons={"amount: below minimum": 10}, sources={"a.csv": "f00"}
    ),
    record("analyse", reused=True, rows=990, positives=9, leaks=["scenario"], report=report("analyse")),
    record(
        "decide", verdict="use_ml", reasons=["boosting saves <more> than the rule"], hints=["watch the cards"],
        scores={"constant": {"ap": 0.01}, "boosting": {"ap": 0.6, "savings": 120.0}}, report=report("decide"),
    ),
    record(
        "features", names=["amount", "night"], rows={"train": 500}, positives={"train": 5},
        intervals={"train": {"start": "2024-01-01T00:00:00Z", "end": "2024-02-01T00:00:00Z"}},
    ),
    record("tune", trials=5, value=0.61),
    record(
        "train", algorithm={"kind": "xgboost", "depth": 6}, workers=1, rows=500,
        performance={"samples_per_second": 43210.0, "start_up_s": 1.5},
        hardware={"processor": "x86_64", "cpu": "A Processor & More", "cores": 16, "memory_gib": 128, "gpus": []},
    ),
    record(
        "evaluate", metrics={"average_precision": 0.61, "roc_auc": 0.87}, thresholds={"block": 0.9},
        report=report("evaluate"),
    ),
    record("register", name="fraud", version="3", digest="d1", aliases=["champion"]),
    record("deploy", name="fraud", url="http://127.0.0.1:8000/fraud", version="3"),
    record(
        "monitor", status="alarm", requests=1234, alarms=["feature amount: PSI 0.50 is above 0.26"],
        report=report("monitor"),
    ),
]  # fmt: skip


def test_a_whole_run_is_told():
    html = run_page(RECORDS, title="fraud", subtitle="run 7")
    for words in (
        "A model is worth having.", "boosting saves &lt;more&gt; than the rule", "watch the cards", "10 of 1,000 rows",
        "0.61", "fraud 3", "http://127.0.0.1:8000/fraud/docs", "feature amount: PSI 0.50 is above 0.26",
        "scenario alone gives the label away", "amount: below minimum", "xgboost", "25 s", "43,210", "Start-up, s",
    ):  # fmt: skip
        assert words in html
    assert 'href="../../artifacts/evaluate/abc/report.html"' in html
    assert ROOT not in html


@pytest.mark.parametrize("count", range(len(RECORDS) + 1))
def test_a_run_that_ended_early_has_a_page(count):
    html = run_page(RECORDS[:count], error="no disk space" if count < len(RECORDS) else "")
    assert ("no disk space" in html) is (count < len(RECORDS))
    assert html.count("<h2") >= 2


def test_a_reused_stage_has_no_time():
    html = run_page([record("tune", reused=True, trials=1, value=0.5)])
    assert "reused" in html and "Where the time went" not in html


def test_links_survive_moving_the_root():
    assert relative(f"{ROOT}/artifacts/decide/f/report.html") == "../../artifacts/decide/f/report.html"
    assert relative("s3://bucket/artifacts/decide/f/report.html") == "../../artifacts/decide/f/report.html"
    assert relative("https://elsewhere/page.html") == "https://elsewhere/page.html"
