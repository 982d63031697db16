"""The house keeps its walls: which room may import which, how errors map, how long a thing may be."""

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "restead"

_DOORS = {"domain", "ports"}
ROOMS: dict[str, set[str]] = {
    "domain": set(),
    "ports": {"domain"},
    "repository": _DOORS,
    "drivers": _DOORS,
    "records": _DOORS,
    "calendar_times": {"domain"},
    "workflows": _DOORS | {"repository", "records", "calendar_times"},
    "service": _DOORS | {"records", "calendar_times"},
    "api": _DOORS | {"service"},
    "cli": _DOORS | {"service", "settings", "places"},
    "web": _DOORS | {"service"},
    "settings": {"domain", "places", "settings_notify"},
    "settings_notify": {"domain"},
    "places": set(),
    "app": _DOORS
    | {"repository", "drivers", "records", "workflows", "service", "api", "cli", "web", "settings", "settings_notify"},
    "__init__": set(),
    "__main__": {"app"},
}  # fmt: skip
PURE = {"domain", "ports", "places"}  # only the standard library
SHARED = {"nbd", "disks"}  # inside drivers: no driver, but what drivers may share


def _files() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if "migrations" not in path.parts)


def _room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; say restead.… in full"
            module = node.module or ""
            yield node.lineno, module
            if module == "restead" or module.startswith("restead."):
                for alias in node.names:
                    yield node.lineno, f"{module}.{alias.name}"


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def _beyond(values: list[int], share: float) -> int:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@pytest.mark.parametrize("path", _files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_the_rooms_it_may(path: Path) -> None:
    """Imports go one way: domain, ports, {repository, drivers, records}, workflows, service, {api, cli, web}, app."""
    room = _room(path)
    assert room in ROOMS, f"{path}: no such room in the house"
    for line, name in _imports(path):
        parts = name.split(".")
        if parts[0] == "restead" and len(parts) > 1:
            assert parts[1] == room or parts[1] in ROOMS[room] or parts[1] == "__version__", (
                f"{path}:{line}: {room} may not import {name}"
            )


@pytest.mark.parametrize("path", [p for p in _files() if _room(p) in PURE], ids=lambda p: str(p.relative_to(SOURCE)))
def test_the_inner_rooms_need_only_the_standard_library(path: Path) -> None:
    """The nouns and the doors can be read, and tested, without installing anything."""
    import sys

    for line, name in _imports(path):
        top = name.split(".")[0]
        assert top == "restead" or top in sys.stdlib_module_names, f"{path}:{line}: imports {name}"


def test_drivers_do_not_know_each_other() -> None:
    """A driver can be taken out without touching another; what they share knows none of them."""
    for path in _files():
        parts = path.relative_to(SOURCE).parts
        if parts[0] != "drivers" or len(parts) < 2 or parts[1] == "__init__.py":
            continue
        own = parts[1].removesuffix(".py")
        for line, name in _imports(path):
            if name.startswith("restead.drivers."):
                imported = name.split(".")[2]
                assert imported == own or imported in SHARED, f"{path}:{line}: driver {own} imports {name}"


def test_there_are_no_import_cycles() -> None:
    """Every module can be understood after those it imports."""
    modules = {_module(path): path for path in _files()}
    edges = {
        name: {target for imported in _needed(path, modules) if (target := _known(imported, modules))} - {name}
        for name, path in modules.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in edges[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in modules:
        visit(name, ())


def _needed(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yield what a file needs: of `from package import module` the module, not the package around it."""
    names = {name for _, name in _imports(path)}
    for name in names:
        inside = [other for other in names if other.rpartition(".")[0] == name]
        if not inside or any(other not in modules for other in inside):
            yield name


def _module(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _known(name: str, modules: dict[str, Path]) -> str | None:
    while name:
        if name in modules:
            return name if name != "restead" else None
        name = name.rpartition(".")[0]
    return None


def test_broad_excepts_stand_in_outermost_frames_only() -> None:
    """`except Exception` is the outermost frame of a request, of a run and of a chore."""
    found = []
    for path in _files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and _is_broad(node.type):
                found.append(f"{path.relative_to(SOURCE)}:{node.lineno}")
    assert {place.split(":")[0] for place in found} <= {"api/errors.py", "workflows/durable.py"}, found
    assert len(found) <= 3, found


def _is_broad(caught: ast.expr | None) -> bool:
    """Naming no class, Exception or BaseException, unless the handler's only purpose is to clean up and re-raise."""
    return (isinstance(caught, ast.Name) and caught.id == "Exception") or caught is None


def test_every_code_is_raised_somewhere() -> None:
    """A code that nothing raises is a promise that nothing keeps."""
    from restead.domain.errors import Code

    text = "\n".join(path.read_text() for path in _files() if path != SOURCE / "domain" / "errors.py")
    defaults = (SOURCE / "domain" / "errors.py").read_text()
    for code in Code:
        used = f"Code.{code.name}" in text or f"code = Code.{code.name}" in defaults
        assert used, f"{code.name} ({code.value}) is raised nowhere"


def test_there_are_few_error_classes() -> None:
    """A class is added only where code of ours acts differently; at most 15."""
    classes = []
    for path in _files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and any(_is_error(base) for base in node.bases):
                classes.append(f"{path.relative_to(SOURCE)}: {node.name}")
    assert len(classes) <= 15, classes


def _is_error(base: ast.expr) -> bool:
    names = {"Exception", "BaseException", "ResteadError", "InvalidRequest", "NotFound", "Unavailable", "Damaged",
             "OSError", "RuntimeError", "ValueError"}  # fmt: skip
    return isinstance(base, ast.Name) and base.id in names


def test_every_error_class_has_one_http_status() -> None:
    """The one mapping from error to status names every class of the tree."""
    from restead.api.errors import STATUS
    from restead.domain import errors

    tree = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.ResteadError) and value is not errors.ResteadError
    }
    assert tree == set(STATUS)


def test_files_and_functions_stay_short() -> None:
    """Median file at most 150 lines, nine of ten at most 400, none over 600; functions 10, 35 and 70."""
    files = [len(path.read_text().splitlines()) for path in _files() if path.read_text().strip()]
    functions = {
        f"{path.relative_to(SOURCE)}:{f.lineno} {f.name}": _length(f) for path in _files() for f in _functions(path)
    }
    lengths = list(functions.values())
    assert statistics.median(files) <= 150
    assert _beyond(files, 0.9) <= 400
    assert max(files) <= 600
    assert statistics.median(lengths) <= 10
    assert _beyond(lengths, 0.9) <= 35
    assert max(lengths) <= 70, sorted(functions.items(), key=lambda item: -item[1])[:5]


def test_no_file_is_called_utils() -> None:
    """A name that says nothing collects everything."""
    vague = {"utils", "helpers", "common", "base", "manager", "misc"}
    assert [path for path in _files() if path.stem in vague] == []


def test_our_own_modules_are_never_patched() -> None:
    """Fakes are written by hand and pass the conformance suites."""
    patching = re.compile(r"(patch|patch\.object|monkeypatch\.setattr)\(\s*[\"']?restead\.")
    assert [path for path in Path(__file__).parent.rglob("*.py") if patching.search(path.read_text())] == []


def test_the_project_stands_alone() -> None:
    """Nothing in it reads a folder outside it."""
    root = Path(__file__).parent.parent
    word = "shared" + "/"
    for folder in ("src", "tests", "docs", "scripts", "benchmarks", "demo", ".ci"):
        for path in (root / folder).rglob("*"):
            if path.is_file() and path.suffix in {".py", ".md", ".sh", ".toml", ""} and "__pycache__" not in path.parts:
                text = path.read_text(errors="replace")
                assert f"../{word}" not in text, path
                assert f"/work/{word}" not in text, path
