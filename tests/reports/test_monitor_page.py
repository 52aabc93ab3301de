from ray_mlops.reports.monitor_page import monitor_page
from ray_mlops.reports.page import render

TOLD = {
    "endpoint": "fraud", "version": "3", "digest": "d", "requests": 500, "min_requests": 200, "psi_limit": 0.2,
    "false_alarms": 0.01, "other_versions": 4, "degraded": 2, "unreadable": 1, "not_compacted": "", "first": "2024-01-01T00:00:00.5Z",
    "last": "2024-01-02T00:00:00Z", "files": [], "status": "ok", "alarms": [], "shifts": [],
}  # fmt: skip
SHIFT = {
    "name": "amount", "of": "feature", "rows": 500, "psi": 0.5, "expected": 0.02, "threshold": 0.22, "alarm": True,
    "ks": 0.3, "outside_share": 0.01, "missing_share": 0.0, "missing_share_before": 0.1,
}  # fmt: skip
SIDE = {"edges": [0.1, 0.10000001, 5.0], "counts": [0, 10, 20, 0], "missing": 1}


def test_too_few_requests_are_no_verdict():
    html = render(monitor_page(TOLD | {"status": "insufficient_data", "requests": 50}, {}))
    assert "150 more requests" in html and "No drift" not in html


def test_quiet_traffic_is_told():
    html = render(monitor_page(TOLD, {}))
    assert "No drift" in html and "2024-01-01 00:00:00" in html


def test_an_alarm_is_told_with_both_distributions():
    told = TOLD | {"status": "drift", "alarms": ["feature amount: PSI 0.50 is above 0.22"], "shifts": [SHIFT]}
    html = render(monitor_page(told, {"amount": {"before": SIDE, "now": SIDE | {"counts": [0, 1, 2, 30]}}}))
    assert "feature amount: PSI 0.50 is above 0.22" in html
    for label in (
        '"amount": "0.1"',
        '"amount": "0.1 (2)"',
        '"amount": "higher"',
        '"amount": "missing"',
        '"when": "now"',
    ):
        assert label in html.replace("\\u0022", '"')
    assert '"amount": "lower"' not in html
