"""Defaults ← tackybox.yml ← environment, into one frozen config.

Promises: a config that loads is whole and checked; anything else raises one ConfigError whose
message is one line naming the variable (or the file and key), what is wrong and what to write
instead. A variable that is set to nothing counts as unset, as compose files leave them.
Does not look at the network, at keys or at the spool: `tackybox check` does.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import yaml

from tackybox.config.boxes import BoxConfig, DaughterConfig, MotherConfig, Setting
from tackybox.config.joining import as_destinations
from tackybox.errors import ConfigError

PREFIX = "TACKYBOX_"
CONFIG_VARIABLE = "TACKYBOX_CONFIG"
_FILE = "_FILE"
_LONGEST_FILE_BYTES = 1 << 20
_BOXES: dict[type[BoxConfig], str] = {DaughterConfig: "daughter", MotherConfig: "mother"}

B = TypeVar("B", bound=BoxConfig)


class Described(NamedTuple):
    """One setting as `tackybox check` shows it; a secret's value is masked."""

    key: str
    value: str
    source: str
    help: str


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as found, and the place an error message names."""

    raw: object
    source: str


def load_daughter(environ: Mapping[str, str] | None = None) -> DaughterConfig:
    """The daughter that `environ` (the process's own unless given) sets; raises ConfigError."""
    return _load(DaughterConfig, os.environ if environ is None else environ)


def load_mother(environ: Mapping[str, str] | None = None) -> MotherConfig:
    """The mother that `environ` (the process's own unless given) sets; raises ConfigError."""
    return _load(MotherConfig, os.environ if environ is None else environ)


def load_box(environ: Mapping[str, str] | None = None) -> DaughterConfig | MotherConfig:
    """The box that `environ` sets: with destinations or join a daughter, with archives a mother.

    Raises ConfigError, also when neither or both are set.
    """
    environ = os.environ if environ is None else environ
    given = {**_from_yaml(environ), **_from_environment(environ)}
    is_daughter, is_mother = bool({"destinations", "join"} & given.keys()), "archives" in given
    if is_daughter == is_mother:
        which = "both are" if is_daughter else "neither is"
        raise ConfigError(
            f"TACKYBOX_DESTINATIONS, TACKYBOX_ARCHIVES: {which} set; "
            "set the first (or TACKYBOX_JOIN) on a daughter, the second on a mother"
        )
    return load_daughter(environ) if is_daughter else load_mother(environ)


def describe(config: BoxConfig) -> list[Described]:
    """Every setting of `config`, in its class's order."""
    lines = []
    for key, setting in settings(type(config)).items():
        value = getattr(config, key)
        source = config.sources.get(key, "default")
        lines.append(Described(key, _shown(value, setting), source, setting.help))
    return lines


def settings(box: type[BoxConfig]) -> dict[str, Setting]:
    """The settings of a box's class by field name."""
    found = {}
    for key, hint in get_type_hints(box, include_extras=True).items():
        if get_origin(hint) is Annotated:
            found[key] = next(part for part in get_args(hint) if isinstance(part, Setting))
    return found


def variable(key: str) -> str:
    """The environment variable of a field."""
    return PREFIX + key.upper()


def _load(box: type[B], environ: Mapping[str, str]) -> B:
    known = settings(box)
    given = {**_from_yaml(environ), **_from_environment(environ)}
    read: dict[str, Any] = {}
    for key, found in given.items():
        if key not in known:
            raise ConfigError(f"{found.source}: {_unknown(key, box)}")
        if known[key].yaml_only and isinstance(found.raw, str):
            raise ConfigError(f"{found.source}: can't be a variable; write it in tackybox.yml")
        try:
            read[key] = known[key].read(found.raw)
        except ValueError as error:
            raise ConfigError(f"{found.source}: {error}") from None
    sources = {key: found.source for key, found in given.items()}
    if read.get("join"):
        _check_join(read, sources["join"])
        if "destinations" not in read:
            read["destinations"] = as_destinations(read["join"])
            sources["destinations"] = sources["join"]
    if "commitment" in read:
        _check_commitment(read, sources["commitment"])
    for field in fields(box):
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in read:
            raise ConfigError(f"{variable(field.name)}: is not set; write {known[field.name].help}")
    return box(**read, sources=sources)


def _check_join(read: Mapping[str, Any], source: str) -> None:
    """A join line must be for this very box."""
    for line in read["join"]:
        if line.name != read.get("name", line.name):
            raise ConfigError(
                f"{source}: the line was made for {line.name}, this box is {read['name']} "
                "(TACKYBOX_NAME); use the line that was made for this box"
            )


def _check_commitment(read: Mapping[str, Any], source: str) -> None:
    """What is asked of an archive must be asked of one that there is."""
    known = {address for group in read.get("archives", ()) for address in group.alternatives}
    for address in read["commitment"].by_archive:
        if address not in known:
            raise ConfigError(
                f"{source}: {address} is none of the archives; write it as TACKYBOX_ARCHIVES has it"
            )


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    """Raw values by field name; a name that is no field's comes along and is refused later."""
    given: dict[str, _Given] = {}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE or not environ[name].strip():
            continue
        if name.endswith(_FILE):
            name_of_value = name.removesuffix(_FILE)
            if environ.get(name_of_value, "").strip():
                raise ConfigError(f"{name}: {name_of_value} is set too; keep one of them")
            found = _Given(_content(Path(environ[name].strip()), name).strip(), name)
        else:
            name_of_value, found = name, _Given(environ[name], name)
        given[name_of_value.removeprefix(PREFIX).lower()] = found
    return given


def _from_yaml(environ: Mapping[str, str]) -> dict[str, _Given]:
    path = environ.get(CONFIG_VARIABLE, "").strip()
    if not path:
        return {}
    try:
        document = yaml.load(_content(Path(path), CONFIG_VARIABLE), Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it can't be read"
        raise ConfigError(f"{path}{where}: not good YAML ({problem}); correct it") from None
    if document is None:
        return {}
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise ConfigError(f"{path}: is not a list of settings; write lines such as parallel: 4")
    return {
        key: _Given(value, f"{path}, {key}") for key, value in document.items() if value is not None
    }


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, except that a key given twice is an error and not the last one's."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for number, key in enumerate(keys):
            if key in keys[:number]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key} is there twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _content(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST_FILE_BYTES + 1)
        if len(content) > _LONGEST_FILE_BYTES:
            raise ConfigError(f"{name}: {path} is larger than 1 MiB; name the right file")
        return content.decode("utf-8")
    except OSError as error:
        raise ConfigError(
            f"{name}: {path} can't be read ({error.strerror}); name a file that can"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: {path} is not UTF-8 text; name the right file") from None


def _unknown(key: str, box: type[BoxConfig]) -> str:
    for other, title in _BOXES.items():
        if other is not box and key in settings(other):
            return f"is a setting of a {title}, this box is a {_BOXES[box]}; remove it"
    near = difflib.get_close_matches(key, settings(box), n=1)
    if near:
        return f"is not known; write {variable(near[0])} (in tackybox.yml {near[0]}) if you mean it"
    return "is not known; remove it"


def _shown(value: object, setting: Setting) -> str:
    if value is None:
        return "unset"
    if isinstance(value, tuple):
        return ";".join(map(str, value))
    if setting.secret:
        return f"{value} (password ***)"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
