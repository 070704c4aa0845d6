"""The arrows and doors of docs/ARCHITECTURE.md, held by reading every module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tree import ROOT, python_files

PARTS = ("daughter.receiver", "daughter.pusher", "mother.inbox", "mother.forwarder")

# A room may import from the rooms beside it, and from itself; the first that fits decides.
ARROWS = {
    "mysql_utilities": (),
    "tackybox.commands": ("tackybox", "mysql_utilities"),
    "tackybox": ("mysql_utilities",),
    **dict.fromkeys(PARTS, ("tackybox", "mysql_utilities")),
    "daughter": (),
    "mother": (),
}
# What only some modules may import; a name with a dot at its end is a package.
DOORS = {
    "pynetdicom": ("daughter.receiver.scp", "tackybox.dimse."),
    "pymysql": ("mysql_utilities.",),
    "sqlite3": ("mysql_utilities.",),
    "yaml": ("tackybox.config.",),
    "watchdog": ("mother.forwarder.watch",),
}
# What only some modules may call or read.
ENVIRONMENT = ("tackybox.config.",)
FILES = ("tackybox.spool.", "mysql_utilities.")
GUARDED = {
    **dict.fromkeys(("os.environ", "os.environb", "os.getenv", "os.putenv"), ENVIRONMENT),
    **dict.fromkeys(("os.rename", "os.replace", "os.link", "os.renames"), FILES),
    **dict.fromkeys(("os.fsync", "os.fdatasync", "shutil.move"), FILES),
}
GUARDED_METHODS = dict.fromkeys(("rename", "hardlink_to"), FILES)
# Programs that only some modules may start.
PROGRAMS = dict.fromkeys(("rsync", "ssh"), ("daughter.pusher.rsync",))


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the house with its tree."""
    for room in ("mysql_utilities", "tackybox", "daughter", "mother"):
        for path in python_files(ROOT / room):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), ast.parse(path.read_text(), str(path))


MODULES = dict(modules())


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything imported, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import hides its arrow"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def lies_in(name: str, room: str) -> bool:
    """Whether `name` is the module or package `room`, or inside it."""
    room = room.removesuffix(".")
    return name == room or name.startswith(f"{room}.")


def is_let_through(module: str, doors: tuple[str, ...]) -> bool:
    """Whether `module` is one of `doors`."""
    return any(lies_in(module, door) if door.endswith(".") else module == door for door in doors)


def may_start_with(module: str, doors: tuple[str, ...]) -> bool:
    """As `is_let_through`, where a door without a dot also opens for modules named after it."""
    return any(module.startswith(door) for door in doors)


def test_the_walk_sees_the_house():
    assert {"tackybox.spool.spool", "mysql_utilities.events", "tackybox.config"} <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_arrows_point_one_way(module):
    room = next(room for room in ARROWS if lies_in(module, room))
    for line, imported in imports(MODULES[module]):
        if imported.split(".")[0] not in ("mysql_utilities", "tackybox", "daughter", "mother"):
            continue
        above = lies_in(room, imported)  # an empty __init__.py
        allowed = above or any(lies_in(imported, target) for target in (room, *ARROWS[room]))
        assert allowed, f"{module}:{line} imports {imported}"
        for closed in ("tackybox.commands", "tackybox.checks"):
            if lies_in(imported, closed):
                command_line = (closed, "tackybox.commands", "tackybox.__main__")
                inside = any(lies_in(module, door) for door in command_line)
                assert inside, f"{module}:{line}: only the command line imports {imported}"


@pytest.mark.parametrize("module", MODULES)
def test_each_library_has_one_door(module):
    for line, imported in imports(MODULES[module]):
        doors = DOORS.get(imported.split(".")[0])
        assert doors is None or is_let_through(module, doors), f"{module}:{line}: {imported}"


@pytest.mark.parametrize("module", MODULES)
def test_environment_and_durable_moves_have_one_door(module):
    tree = MODULES[module]
    for line, imported in imports(tree):
        doors = GUARDED.get(imported)
        assert doors is None or may_start_with(module, doors), f"{module}:{line}: {imported}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        doors = GUARDED.get(ast.unparse(node)) or GUARDED_METHODS.get(node.attr)
        allowed = doors is None or may_start_with(module, doors)
        assert allowed, f"{module}:{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("module", MODULES)
def test_rsync_and_ssh_are_started_in_one_place(module):
    """A list that begins with a program's name is a command line."""
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.List | ast.Tuple) and node.elts:
            first = node.elts[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                doors = PROGRAMS.get(first.value.rsplit("/", 1)[-1])
                allowed = doors is None or module in doors or len(node.elts) == 1
                assert allowed, f"{module}:{node.lineno} starts {first.value}"


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_stay_short(module):
    """A file of at most 400 lines, a function of at most 40."""
    tree = MODULES[module]
    path = ROOT / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    assert len(path.read_text().splitlines()) <= 400, module
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= 40, f"{module}:{node.lineno}: {node.name} has {lines} lines"


def test_no_shell_is_ever_started():
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                raise AssertionError(f"{module}:{node.lineno}: shell=")
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in ("os.system", "os.popen"), f"{module}:{node.lineno}"
