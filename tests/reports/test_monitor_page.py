from ray_mlops.monitoring.judging import Judging
from ray_mlops.reports.monitor_page import monitor_page
from ray_mlops.reports.page import render

TOLD = {
    "endpoint": "fraud", "version": "3", "digest": "d", "requests": 500, "degraded": 2, "refused": 1,
    "capture": {"dropped": 7}, "settings": Judging().model_dump(mode="json"), "first": "2024-01-01T00:00:00Z",
    "last": "2024-01-02T00:00:00Z", "windows": [], "status": "ok", "alarms": [], "readings": [],
    "replay": {"windows": 0, "fired": 0}, "not_compacted": "", "cause": None, "quality": [], "tested": {},
}  # fmt: skip
ALARM = "data drift: feature amount: PSI 0.50; in 2 of 3 windows"
WINDOW = {"start": "2024-01-01T00:00:00Z", "end": "2024-01-01T00:05:00Z", "requests": 500, "alarms": [ALARM]}
READING = {
    "monitor": "data drift", "name": "feature amount", "rows": 500, "effect": 0.48, "limit": 0.2, "chance": 1e-9,
    "words": "PSI 0.50", "exceeds": True,
    "measures": {"psi": 0.5, "expected": 0.02, "ks": 0.3, "js": 0.1, "wasserstein": 0.2},
}  # fmt: skip
QUALITY = READING | {"monitor": "data quality", "name": "amount missing", "words": "7.0% of 500, 0.0% in training"}
CAUSE = {
    "id": "fraud-d-7", "endpoint": "fraud", "version": "3", "digest": "d", "window": 7, "start": 600, "end": 900, "since": 300,
    "causes": [{
        "key": "data drift: feature amount", "monitor": "data drift", "words": "PSI 0.50", "effect": 0.48, "limit": 0.2,
        "chance": 1e-9, "since": 300, "windows": 2, "shows": "amount is from 5 up", "samples": ["17", "<b>18</b>"],
    }],
    "slices": [{"name": "channel online", "requests": 120, "psi": 0.9}],
    "action": "retrain", "reasons": ["feature amount moved, and the answers have become worse"],
}  # fmt: skip
SIDE = {"edges": [0.1, 0.10000001, 5.0], "counts": [0, 10, 20, 0], "missing": 1}


def test_too_few_requests_are_no_verdict():
    html = render(monitor_page(TOLD | {"status": "insufficient_data", "requests": 50}, {}))
    assert "150 more requests" in html and "No alarm" not in html


def test_a_rule_that_has_judged_nothing_is_not_said_to_have_kept_quiet():
    told = TOLD | {"status": "insufficient_data", "windows": [WINDOW], "replay": {"windows": 0, "fired": 0}}
    html = render(monitor_page(told, {}))
    assert "enough requests to be judged yet" in html and "would have fired" not in html


def test_quiet_traffic_is_told():
    html = render(monitor_page(TOLD, {}))
    assert "No alarm" in html and "2024-01-01 00:00:00" in html


def test_an_alarm_is_told_with_both_distributions():
    told = TOLD | {"status": "alarm", "alarms": [ALARM], "readings": [READING, QUALITY], "windows": [WINDOW]}
    told |= {"replay": {"windows": 200, "fired": 3}}
    html = render(monitor_page(told, {"feature amount": {"before": SIDE, "now": SIDE | {"counts": [0, 1, 2, 30]}}}))
    for text in (ALARM, "7.0% of 500", "fired in 3 of the last 200 windows", "Data quality"):
        assert text in html
    for label in ("0.1", "0.1 (2)", "higher", "missing"):
        assert f'"feature amount": "{label}"' in html.replace("\\u0022", '"')
    assert '"feature amount": "lower"' not in html


def test_the_cause_of_an_alarm_is_told_with_what_to_do_and_requests_that_show_it():
    html = render(monitor_page(TOLD | {"status": "alarm", "alarms": [ALARM], "cause": CAUSE}, {}))
    for text in ("Proposed: retrain.", "Feature amount moved, and the answers", "fraud-d-7", "1970-01-01 00:05:00"):
        assert text in html
    for text in ("amount is from 5 up", "17, &lt;b&gt;18&lt;/b&gt;", "channel online"):
        assert text in html
