"""Augmentation: what each change does, the same for the same draws, and nothing where nothing is asked for."""

import pytest
import torch

from ray_mlops.algorithms.augmentation import Augmentation, mixing

NONE = Augmentation(crop=0, flip=False)
EACH = {
    "crop": Augmentation(crop=2, flip=False),
    "flip": Augmentation(crop=0, flip=True),
    "rotate": Augmentation(crop=0, flip=False, rotate=15),
    "zoom": Augmentation(crop=0, flip=False, zoom=0.2),
    "brightness": Augmentation(crop=0, flip=False, brightness=0.3),
    "contrast": Augmentation(crop=0, flip=False, contrast=0.5),
    "saturation": Augmentation(crop=0, flip=False, saturation=0.9),
    "erase": Augmentation(crop=0, flip=False, erase=1.0),
}


def draws(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(rows: int = 6, height: int = 9, width: int = 12, channels: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (rows, height, width, channels), generator=draws(), dtype=torch.uint8)


def test_nothing_is_done_when_nothing_is_asked_for() -> None:
    assert torch.equal(NONE.apply(pictures(), draws()), pictures())


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_change_keeps_the_shape_and_the_bytes_and_repeats_for_the_same_draws(name: str, channels: int) -> None:
    given = pictures(channels=channels)
    changed = EACH[name].apply(given, draws())
    assert (changed.shape, changed.dtype) == (given.shape, torch.uint8)
    assert torch.equal(given, pictures(channels=channels))
    assert torch.equal(changed, EACH[name].apply(given, draws()))
    assert torch.equal(changed, given) == (name == "saturation" and channels == 1)


def test_a_flip_mirrors_some_pictures_and_leaves_the_others() -> None:
    given = pictures(rows=40)
    changed = EACH["flip"].apply(given, draws())
    same, mirrored = ((changed == other).flatten(1).all(dim=1) for other in (given, given.flip(2)))
    assert (same | mirrored).all()
    assert 10 < int(mirrored.sum()) < 30


def test_a_crop_shifts_by_so_many_pixels_at_most_and_mirrors_the_border() -> None:
    row = torch.arange(8, dtype=torch.uint8)
    given = row.view(1, 1, 8, 1).expand(200, 8, 8, 1).contiguous()
    changed = EACH["crop"].apply(given, draws())
    firsts = changed[:, 0, :, 0]
    shifts = {tuple(first.tolist()) for first in firsts}
    assert (2, 1, 0, 1, 2, 3, 4, 5) in shifts  # two to the right
    assert (2, 3, 4, 5, 6, 7, 6, 5) in shifts  # two to the left
    assert len(shifts) == 5


def test_a_rotation_keeps_the_middle_and_brightness_changes_the_mean() -> None:
    given = torch.zeros(8, 11, 11, 1, dtype=torch.uint8)
    given[:, 5, 5] = 255
    turned = Augmentation(crop=0, flip=False, rotate=90).apply(given, draws())
    assert (turned[:, 5, 5] > 200).all()
    grey = torch.full((50, 4, 4, 1), 100, dtype=torch.uint8)
    means = EACH["brightness"].apply(grey, draws()).float().mean(dim=(1, 2, 3))
    assert 70 <= means.min() < 85 and 115 < means.max() <= 130


def test_an_erased_rectangle_takes_the_mean_colour() -> None:
    given = pictures(rows=30, channels=1)
    changed = EACH["erase"].apply(given, draws())
    share = (changed != given).float().mean(dim=(1, 2, 3))
    assert ((share > 0.03) & (share < 0.3)).all()
    assert torch.equal(Augmentation(crop=0, flip=False, erase=1e-9).apply(given, draws()), given)


@pytest.mark.parametrize("kinds", [{"mixup": 0.4, "cutmix": 0.0}, {"mixup": 0.0, "cutmix": 1.0}])
def test_mixed_pictures_are_made_of_two_in_the_shares_given(kinds: dict[str, float]) -> None:
    given = torch.rand(64, 1, 16, 16, generator=draws())
    mixed, partner, share = mixing(given, draws(), **kinds)
    blended = share.view(-1, 1, 1, 1) * given + (1 - share.view(-1, 1, 1, 1)) * given[partner]
    if kinds["mixup"]:
        assert torch.allclose(mixed, blended)
    else:
        assert (torch.eq(mixed, given) | torch.eq(mixed, given[partner])).all()
        own = (mixed == given).float().mean(dim=(1, 2, 3))
        moved = partner != torch.arange(64)
        assert torch.allclose(own[moved], share[moved])
    assert ((share >= 0) & (share <= 1)).all()
    assert sorted(partner.tolist()) == list(range(64))


def test_with_both_kinds_batches_take_turns_by_their_seed() -> None:
    given = torch.rand(8, 1, 6, 6, generator=draws())
    pasted = [bool(torch.isin(mixing(given, draws(seed), mixup=1.0, cutmix=1.0)[0], given).all()) for seed in range(4)]
    assert pasted == [False, True, False, True]
