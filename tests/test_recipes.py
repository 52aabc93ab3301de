"""Every recipe that ships, or that the tests bring, is a valid config; recipes are found by name, file or dump."""

from pathlib import Path

import pytest

from ray_mlops import recipes, runs
from ray_mlops.errors import ConfigError
from ray_mlops.platform import store
from ray_mlops.platform.source_code import digest

CLAIMS = Path(__file__).parent / "recipes" / "vehicle_claims.py"


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_a_shipped_recipe_is_valid(name: str) -> None:
    config, recipe = recipes.load(name)
    assert config.name == name == recipe


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_a_recorded_config_is_the_recipe_to_the_bit(name: str, tmp_path: Path) -> None:
    config, recipe = recipes.load(name)
    (tmp_path / "config.yaml").write_text(runs.dump(config, recipe))
    again, _ = recipes.load(str(tmp_path / "config.yaml"))
    assert digest(store.describe(again)) == digest(store.describe(config))


def test_a_recipe_file_is_found_and_keeps_its_size() -> None:
    config, _ = recipes.load(str(CLAIMS))
    assert config.name == "vehicle_claims"
    assert len(CLAIMS.read_text().splitlines()) <= 40
    named, _ = recipes.load(f"{CLAIMS}:vehicle_claims")
    assert runs.dump(named, "claims") == runs.dump(config, "claims")


def test_a_recipe_file_without_a_recipe_says_what_it_needs(tmp_path: Path) -> None:
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    with pytest.raises(ConfigError, match="one function annotated `-> Config`"):
        recipes.load(str(empty))
    with pytest.raises(ConfigError, match="no recipe 'claims'"):
        recipes.load(f"{CLAIMS}:claims")
