import pytest

from ray_mlops.reports import vega


@pytest.fixture(autouse=True)
def fresh():
    vega.library.cache_clear()
    yield
    vega.library.cache_clear()


def test_the_library_is_bundled_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_MLOPS_HOME", str(tmp_path))
    script = vega.library()
    (kept,) = (tmp_path / "cache").iterdir()
    assert kept.read_text() == script and "vegaEmbed" in script
    assert "</script" not in script.lower() and "<!--" not in script
    kept.write_text("kept")
    vega.library.cache_clear()
    assert vega.library() == "kept"


def test_a_home_that_cannot_be_written_only_costs_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAY_MLOPS_HOME", str(tmp_path / "file" / "home"))
    assert "vegaEmbed" in vega.library()
