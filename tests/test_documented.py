"""What the documents name exists: settings, verbs, paths, modules, log events, reasons, codes.

Their commands are run by tests/test_docs.py.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from tackybox import errors, reasons, service, statuses
from tackybox.__main__ import VERBS
from tackybox.config import DaughterConfig, MotherConfig
from tackybox.config.loading import settings, variable
from tackybox.config.modalities import NOBODY
from tests.documents import DOCUMENTS, README
from tests.tree import ROOT, python_files

ARCHITECTURE = ROOT / "docs" / "ARCHITECTURE.md"
OPERATING = ROOT / "docs" / "OPERATING.md"
PACKAGES = ("tackybox", "mysql_utilities", "daughter", "mother")


def rows(document: Path, *heading: str) -> list[list[str]]:
    """The cells of the one table in `document` whose columns begin with `heading`."""
    lines = document.read_text().splitlines()
    starts = [n for n, line in enumerate(lines) if tuple(_cells(line)[: len(heading)]) == heading]
    (start,) = starts
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append(_cells(line))
    return found


def _cells(line: str) -> list[str]:
    line = line.strip().removeprefix("|").removesuffix("|")
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]


def test_the_settings_table_has_each_variable_as_the_code_has_it():
    boxes = {"daughter": DaughterConfig, "mother": MotherConfig}
    known: dict[str, dict[str, object]] = {}
    for title, box in boxes.items():
        for one in fields(box):
            if one.name in settings(box):
                known.setdefault(variable(one.name), {})[title] = one.default
    listed = {row[0].strip("`"): row[1:3] for row in rows(README, "variable", "box", "default")}
    assert listed.keys() <= known.keys()
    for name, (title, told) in listed.items():
        assert title == ("both" if len(known[name]) == 2 else next(iter(known[name]))), name
        for default in known[name].values():
            named = {MISSING: "must be set", None: "unset", NOBODY: "nobody"}
            assert told == named.get(default, str(default)), name
    required = {name for name, found in known.items() if MISSING in found.values()}
    assert required <= listed.keys()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_variable_that_is_named_exists(document):
    known = {variable(key) for box in (DaughterConfig, MotherConfig) for key in settings(box)}
    for compose_file in ROOT.glob("docker-compose.*.yml"):
        known |= set(re.findall(r"\$\{(TACKYBOX_\w+)", compose_file.read_text()))
    named = set(re.findall(r"\bTACKYBOX_[A-Z][A-Z_]*[A-Z]\b", document.read_text()))
    assert named - known - {"TACKYBOX_CONFIG"} == set()


def test_the_verbs_are_those_of_the_command_line(capsys):
    (sentence,) = re.findall(r"^All verbs: (.*)\.$", README.read_text(), re.MULTILINE)
    listed = re.findall(r"`([^`]+)`", sentence)
    assert [verb.split()[0] for verb in listed] == list(VERBS)
    calls = []
    for verb in listed:
        name, _, actions = verb.partition(" ")
        calls += [[name, action] for action in actions.split("|")] if actions else [[name]]
    main = importlib.import_module("tackybox.__main__")
    for call in calls:
        with pytest.raises(SystemExit) as end:
            main.run([*call, "--help"])
        assert end.value.code == 0
        assert "--json" in capsys.readouterr().out, call


def test_every_verb_that_is_called_anywhere_exists():
    for document in DOCUMENTS:
        called = re.findall(r"(?:`|^)tackybox ([a-z]+)", document.read_text(), re.MULTILINE)
        assert set(called) <= set(VERBS), document


def test_the_views_exist():
    (sentence,) = re.findall(r"views are for people: (.*?)\.", README.read_text(), re.DOTALL)
    schema = (ROOT / "tackybox.sql").read_text()
    named = re.findall(r"`(\w+)`", sentence)
    assert named
    for view in named:
        assert re.search(rf"\bVIEW {view} AS\b", schema), view


def test_the_daemons_start_as_the_readme_says():
    started = [row[2].strip("`").split()[-1] for row in rows(README, "daemon", "does", "starts as")]
    parts = [path for part in ("daughter", "mother") for path in ROOT.glob(f"{part}/*/__main__.py")]
    assert sorted(started) == sorted(f"{p.parent.parent.name}.{p.parent.name}" for p in parts)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_is_named_exists(document):
    """Files, and directories of this repository; what stands in a spool has names of its own."""
    words = re.findall(r"`([^`\s]+)`", document.read_text())
    top = {path.name for path in ROOT.iterdir()}
    files = {w for w in words if re.fullmatch(r"[\w./-]+\.(md|sql|py|toml|lock)", w)}
    directories = {w for w in words if re.fullmatch(r"[\w.-]+(/[\w.-]+)*/", w)}
    directories = {w for w in directories if w.split("/")[0] in top}
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text())
    in_rooms = {path.name for package in PACKAGES for path in python_files(ROOT / package)}
    for name in {*files, *directories}:
        bare_module = "/" not in name and name in in_rooms
        assert bare_module or (ROOT / name).exists() or (document.parent / name).exists(), name
    for link in links:
        assert (document.parent / link).exists(), link


def test_the_map_names_each_module_and_no_other():
    named = set()
    room = ""
    for line in ARCHITECTURE.read_text().splitlines():
        if match := re.match(r"### `([\w/]+)/`", line):
            room = match[1]
        elif line.startswith("#"):
            room = ""
        elif room and (match := re.match(r"- `(\w+\.py)`: \S", line)):
            named.add(f"{room}/{match[1]}")
    modules = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in python_files(ROOT / package)
        if path.name != "__init__.py"
    }
    assert named == modules


def test_functions_that_the_map_names_exist():
    source = "\n".join(p.read_text() for package in PACKAGES for p in python_files(ROOT / package))
    for owner, name in re.findall(r"`([A-Z][a-z]\w+)\.(\w+)`", ARCHITECTURE.read_text()):
        assert re.search(rf"^class {owner}\b", source, re.MULTILINE), owner
        assert re.search(rf"^    def {name}\(", source, re.MULTILINE), f"{owner}.{name}"


def test_every_log_event_that_is_named_is_written_somewhere():
    parts = {
        "receiver": ["daughter/receiver"],
        "pusher": ["daughter/pusher", "tackybox/fanout.py"],
        "inbox": ["mother/inbox"],
        "forwarder": ["mother/forwarder", "tackybox/fanout.py"],
        "all": ["tackybox/service.py"],
    }
    for part, told in rows(OPERATING, "part", "events to know"):
        paths = [ROOT / place for place in parts.pop(part)]
        files = [f for path in paths for f in (python_files(path) if path.is_dir() else [path])]
        source = "\n".join(file.read_text() for file in files)
        for event in re.findall(r"`([^`]+)`", told):
            assert re.search(rf'log[\w.()"]*\.\w+\(\s*"{event}"', source, re.IGNORECASE), event
    assert not parts


def test_each_reason_for_quarantine_has_its_advice():
    told = [word for row in rows(OPERATING, "reason", "what to do") for word in row[0].split(", ")]
    listed = {word.strip("`") for word in told}
    assert set(reasons.Reason) <= listed
    for word in listed - set(reasons.Reason) - {"any other `status-…"}:
        status = int(word.removeprefix("status-"), 16)
        assert statuses.disposition(status).disposition == statuses.Disposition.QUARANTINE


def test_the_exit_codes_are_those_of_the_code():
    listed = {int(row[0]) for row in rows(OPERATING, "code", "meaning")}
    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    codes = {c.exit_code for c in classes if issubclass(c, errors.TackyboxError)}
    assert listed == codes | {0, service.EX_SOFTWARE, service.EX_INTERRUPTED}
    readme = re.search(r"Exit codes follow sysexits.h: (.*?)\.\n", README.read_text(), re.DOTALL)
    assert readme is not None
    assert {int(code) for code in re.findall(r"\b\d+\b", readme[1])} <= listed
