"""The shape of the code, measured: who may import whom, what an import loads, how large things may grow."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ray_mlops"
HEAVY = {"ray", "torch", "mlflow", "xgboost", "lightgbm", "sklearn", "polars", "altair", "pandas", "pyiceberg"}

# Budgets only ever ratchet down: when the largest shrinks, lower the number.
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 7
MEAN_FUNCTION_LINES = 15


def sources() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *(ROOT / "jobs").rglob("*.py")])


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def loaded_by(statement: str) -> set[str]:
    command = f"import sys; {statement}; print(' '.join({{name.split('.')[0] for name in sys.modules}}))"
    return set(subprocess.check_output([sys.executable, "-c", command], text=True, cwd=ROOT).split())


def test_imports_point_one_way_and_ray_stays_at_the_rim() -> None:
    command = [
        Path(sys.executable).with_name("lint-imports"),
        "--no-cache",
    ]  # in this process it would switch loggers off
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_no_import_cycle_not_even_inside_functions() -> None:
    import grimp

    graph = grimp.build_graph("ray_mlops")
    for module in graph.modules:
        behind = graph.find_upstream_modules(module)
        assert module not in behind, f"{module} imports itself by way of others"


@pytest.mark.parametrize("statement", ["import ray_mlops", "import ray_mlops.cli", "import ray_mlops.contract"])
def test_the_door_loads_nothing_heavy(statement: str) -> None:
    assert not loaded_by(statement) & HEAVY


def test_help_loads_neither_pydantic_nor_rich() -> None:
    assert not loaded_by("import ray_mlops.cli") & {"pydantic", "rich"}


@pytest.mark.parametrize("statement", ["import ray_mlops.recipes", "import ray_mlops.commands"])
def test_reading_a_recipe_loads_neither_ray_nor_torch(statement: str) -> None:
    assert not loaded_by(statement) & (HEAVY - {"pandas", "pyiceberg"})


def test_only_the_rim_names_ray() -> None:
    tables, training = (
        ("tables", "table_parts", "exchange", "time_slices"),
        ("fleet", "ray_worker", "streams", "search", "population"),
    )
    platform = ("runtime", "local_head", "room", "user_code", *tables, *training)
    rim = ("stages/", "serving/", "online/", "clusters/", *(f"platform/{name}.py" for name in platform))
    for path in PACKAGE.rglob("*.py"):
        inside = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "ray" for name in names):
                assert inside.startswith(rim), f"{inside}:{node.lineno} imports Ray"


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_functions_stay_small(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert lines <= MAX_FILE_LINES, f"{path.name} has {lines} lines"
    for node in functions(path):
        assert length(node) <= MAX_FUNCTION_LINES, f"{path.name}:{node.lineno} {node.name} has {length(node)} lines"
        parameters = [*node.args.args, *node.args.kwonlyargs]
        wide = f"{path.name}:{node.lineno} {node.name} takes {len(parameters)} parameters"
        assert len(parameters) <= MAX_PARAMETERS or _is_command(node), wide


def _is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A command's parameters are its options."""
    return any("command" in ast.unparse(decorator) for decorator in node.decorator_list)


def test_functions_are_short_on_the_whole() -> None:
    lengths = [length(node) for path in sources() for node in functions(path)]
    assert sum(lengths) / len(lengths) <= MEAN_FUNCTION_LINES


def test_no_file_has_a_name_that_says_nothing() -> None:
    banned = {"utils", "util", "helpers", "helper", "manager", "common", "base", "impl", "misc"}
    assert not [path for path in sources() if path.stem in banned]


def test_every_module_and_public_function_says_what_it_is() -> None:
    for path in sources():
        tree = ast.parse(path.read_text())
        if path.read_text().strip():
            assert ast.get_docstring(tree), f"{path} has no docstring"
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}:{node.lineno} {node.name} has no docstring"
