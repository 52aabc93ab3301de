"""What a job takes along: our code, the recipe with the modules it imports from beside it, what was asked for, no more."""

import ast
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

import ray_mlops
from ray_mlops import runs
from ray_mlops.errors import ConfigError

MOST_BYTES = 50 << 20
_DATA = re.compile(
    r"\.(arrow|avro|bmp|bz2|csv|db|feather|gz|jpe?g|jsonl|mp4|np[yz]|orc|parquet|pkl|png|pth?|safetensors|sqlite3?|"
    r"t?gz|tar|tiff?|tsv|webp|xz|zip|zst)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Package:
    """A folder to send; `recipe` is what the command is to name there, `files` how many, `bytes` how large."""

    folder: str
    recipe: str
    files: int
    bytes: int

    def discard(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def pack(recipe: str, include: Sequence[str] = ()) -> Package:
    """Copy into a new folder what the recipe needs on a cluster, and the files or folders `include`.

    Raises `ConfigError` for a git repository, a virtual environment, data, and more than 50 MB.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray-mlops-job-"))
    try:
        source = Path(ray_mlops.__file__).parent
        shutil.copytree(source, folder / "ray_mlops", ignore=shutil.ignore_patterns("__pycache__"))
        name = _pack_recipe(recipe, folder)
        for path in include:
            _pack_path(Path(path), folder)
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
        if sum(sizes) > MOST_BYTES:
            largest = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
            raise ConfigError(
                f"the job would take {sum(sizes) / 1e6:.0f} MB along, the limit is {MOST_BYTES / 1e6:.0f} MB; the "
                f"largest file is {largest.relative_to(folder)}. Put what is large on s3:// and read it from there."
            )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Package(str(folder), name, len(sizes), sum(sizes))


def _pack_recipe(recipe: str, folder: Path) -> str:
    """What the recipe is called in the folder, once it is there."""
    if recipe.endswith((".yaml", ".yml")):
        inner, fields = runs.read_config(recipe)
        text = yaml.safe_dump({"recipe": _pack_recipe(inner, folder), "config": fields}, sort_keys=False)
        (folder / "config.yaml").write_text(text)
        return "config.yaml"
    path, _, function = recipe.partition(":")
    if not path.endswith(".py"):
        return recipe
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"the recipe file {file} is not there")
    for root in (file.parent, Path.cwd()):
        for module in _imported(file, root):
            _copy(module, folder / os.path.relpath(module, root))
    _copy(file, folder / file.name)
    return f"{file.name}:{function}" if function else file.name


def _imported(file: Path, root: Path) -> Iterator[Path]:
    """The Python files below `root` that a file imports, directly or not."""
    waiting, seen = [file], {file.resolve()}
    while waiting:
        for name in _names(waiting.pop()):
            for found in _files(name, root):
                if found.resolve() not in seen:
                    seen.add(found.resolve())
                    waiting.append(found)
                    yield found


def _names(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(), filename=str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(name: str, root: Path) -> Iterator[Path]:
    """The files that importing a dotted name from `root` runs; ours are packed anyway."""
    parts = name.split(".")
    if parts[0] == "ray_mlops":
        return
    for depth in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:depth])
        for candidate in (place / "__init__.py", place.with_suffix(".py")):
            if candidate.is_file():
                yield candidate


def _pack_path(path: Path, folder: Path) -> None:
    if not path.exists():
        raise ConfigError(f"{path}, which is to be taken along, is not there")
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        _refuse(file)
        if file.is_file() and "__pycache__" not in file.parts:
            inside = Path(path.name) / file.relative_to(path) if path.is_dir() else Path(path.name)
            _copy(file, folder / inside)


def _refuse(file: Path) -> None:
    if ".git" in file.parts:
        raise ConfigError(f"{file} is a git repository's: name the folder with the code in it, not the one above")
    if file.name == "pyvenv.cfg":
        raise ConfigError(
            f"{file.parent} is a virtual environment: the nodes have their libraries, or get them by --install"
        )
    if file.is_file() and _DATA.fullmatch(file.suffix):
        raise ConfigError(f"{file} is data: put it on s3:// and read it from there")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
