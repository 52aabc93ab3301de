"""Bad images to the command line: a clear message that says what is wrong, where, and what to do; nothing half-written."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import lifecycle, small_images
from tests.vision.pictures import encoded, noise

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(300)]


def digits(folder: Path, count: int = 60) -> None:
    """A directory per class."""
    for number, row in enumerate(small_images.digits().slice(0, count).to_pylist()):
        put(folder / row["label"] / f"{number}.png", row["image"])


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def without_classes(folder: Path) -> None:
    for number in range(6):
        put(folder / f"{number}.png", encoded(noise(seed=number)))


def corrupt(folder: Path) -> None:
    for number in range(6):
        put(folder / "ab"[number % 2] / f"{number}.png", b"no picture")


def one_class(folder: Path) -> None:
    for number in range(6):
        put(folder / "only" / f"{number}.png", encoded(noise(seed=number)))


def a_lonely_class(folder: Path) -> None:
    digits(folder)
    put(folder / "rare" / "one.png", encoded(noise(8, 8, 1)))


CASES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "without classes": (without_classes, ("{folder}", "a directory per class")),
    "empty": (lambda folder: folder.mkdir(), ("{folder}", "is empty")),
    "not there": (lambda folder: None, ("no file or folder {folder}",)),
    "corrupt": (corrupt, ("6 of 6 images", "not an image (6", "a/0.png", "clean.max_bad_share")),
    "one class": (one_class, ("'only' for all 6 images", "{folder}")),
    "a class of one": (a_lonely_class, ("no image of rare (1 in all)", "at least three")),
}


def run(root: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    more = [part for setting in settings for part in ("-s", setting)]
    return lifecycle.call("run", "vision", "--root", str(root), "-s", "decide.bar.min_images=3", *more)


@pytest.mark.parametrize("case", CASES)
def test_a_bad_folder_is_refused_in_one_clear_line(case: str, tmp_path: Path) -> None:
    make, words = CASES[case]
    folder, root = tmp_path / "in", tmp_path / "root"
    make(folder)
    done = run(root, f"ingest.sources.0={{kind: folder, path: {folder}}}")
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr + done.stdout
    for word in words:
        assert word.format(folder=folder) in done.stderr, done.stderr


def test_a_data_set_that_torchvision_does_not_have_is_named(tmp_path: Path) -> None:
    done = run(tmp_path / "root", f"ingest.sources.0={{kind: torchvision, name: FashonMNIST, path: {tmp_path}}}")
    assert done.returncode in {1, 2} and "no data set 'FashonMNIST'; did you mean FashionMNIST" in done.stderr
    done = run(tmp_path / "root", f"ingest.sources.0={{kind: torchvision, name: FashionMNIST, path: {tmp_path}}}")
    assert done.returncode == 1 and f"{tmp_path}" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_weights_of_another_network_are_named_before_the_fit(tmp_path: Path) -> None:
    import torch

    weights = tmp_path / "other.pth"
    torch.save({"layer.weight": torch.zeros(3, 3)}, weights)
    digits(tmp_path / "in", 400)
    source, few = f"ingest.sources.0={{kind: folder, path: {tmp_path / 'in'}}}", "decide.bar.min_images=1000"
    given = ("--root", str(tmp_path / "root"), "--override", "a test", "-s", source, "-s", few)
    done = lifecycle.call("run", "vision", *given, "-s", f"algorithm.weights={weights}")
    assert done.returncode == 1 and f"the weights in {weights} do not fit" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
