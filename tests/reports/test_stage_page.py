"""The pages of stages that make none, and the picture that ties them together."""

from xml.etree import ElementTree

import pytest

from ray_mlops.reports.lineage import EDGES, PLACES, picture
from ray_mlops.reports.page import render
from ray_mlops.reports.run_page import run_page
from ray_mlops.reports.stage_page import stage_page
from tests.reports.test_run_page import RECORDS

MADE = {record["stage"]: record for record in RECORDS}
SVG = "{http://www.w3.org/2000/svg}"


MADE_BY = {"git": {"commit": "0123456789abcdef", "dirty": True}, "modules": {"ray_mlops.stages.train": "f00"}}


def drawn(records: list[dict], links: dict[str, str], **more: dict) -> ElementTree.Element:
    return ElementTree.fromstring(picture(records, links, **more))


def words(found: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in found.iter(f"{SVG}text")]


@pytest.mark.parametrize("stage", ["ingest", "features", "train", "register", "deploy"])
def test_a_stage_without_a_page_gets_one_that_leads_to_its_neighbours(stage: str) -> None:
    page = render(stage_page(MADE[stage], MADE, subtitle="of a run"))
    assert stage.capitalize() in page and 'href="report.html"' in page and "<script>" not in page
    neighbours = {one for one, other in EDGES if other == stage} | {other for one, other in EDGES if one == stage}
    assert [name for name in neighbours & MADE.keys() if f">{name}</a>" not in page] == []


def test_what_a_stage_made_is_told() -> None:
    pages = {stage: render(stage_page(MADE[stage], MADE)) for stage in ("features", "train", "register", "deploy")}
    assert "amount" in pages["features"] and "2024-02-01" in pages["features"]
    assert "depth" in pages["train"] and "43,210" in pages["train"]
    assert "ray-mlops card fraud/3" in pages["register"]
    assert "POST http://127.0.0.1:8000/fraud/score" in pages["deploy"]


def test_the_picture_has_a_box_for_each_stage_and_an_arrow_for_each_edge() -> None:
    found = drawn(RECORDS, {"decide": "decide.html"}, made_by=MADE_BY)
    assert len(found.findall(f".//{SVG}rect")) == len(PLACES)
    assert len([path for path in found.iter(f"{SVG}path") if path.get("class") == "edge"]) == len(EDGES)
    assert [link.get("href") for link in found.iter(f"{SVG}a")] == ["decide.html"]
    assert "tune from decide" in (found.get("aria-label") or "")


def test_the_picture_tells_code_and_hardware() -> None:
    told = words(drawn(RECORDS, {}, made_by=MADE_BY))
    assert {"commit 0123456789", "with changes", "A Processor & More", "16 cores, 128 GiB"} <= set(told)
    fitted = MADE["train"]["artifact"]
    hardware = {**fitted["hardware"], "gpus": ["NVIDIA H100"] * 2}
    other = {**MADE["train"], "artifact": {**fitted, "hardware": hardware}}
    assert {"package", "2 x NVIDIA H100"} <= set(words(drawn([other], {}, made_by={**MADE_BY, "git": {}})))
    assert {"package"} <= set(words(drawn(RECORDS, {}, made_by={**MADE_BY, "git": "of an older version"})))


def test_a_run_that_stopped_has_the_part_that_is_there() -> None:
    found = drawn(RECORDS[:3], {})
    assert len(found.findall(f".//{SVG}rect")) == 4 and found.findall(f".//{SVG}a") == []
    assert picture([], {}) == ""


def test_what_is_shown_is_escaped() -> None:
    bad = {**RECORDS[0], "artifact": {**RECORDS[0]["artifact"], "sources": {'a/<b>&"': "x"}, "snapshot": "<i>"}}
    assert "<b>" not in picture([bad], {"ingest": '"><script>'}) and "<script>" not in picture(
        [bad], {"ingest": '"><script>'}
    )


def test_boxes_do_not_lie_on_one_another() -> None:
    assert len(set(PLACES.values())) == len(PLACES)


def test_the_page_of_the_run_leads_to_every_stage() -> None:
    page = run_page(RECORDS)
    assert "What was made from what" in page
    for stage in MADE:
        own = MADE[stage]["artifact"].get("report")
        assert (f'href="../../artifacts/{stage}/abc/report.html"' if own else f'href="{stage}.html"') in page, stage
