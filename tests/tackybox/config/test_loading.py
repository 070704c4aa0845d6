"""Defaults ← tackybox.yml ← environment."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tackybox.config import (
    DaughterConfig,
    JoinLine,
    MotherConfig,
    describe,
    load_box,
    load_daughter,
    load_mother,
)
from tackybox.config.addresses import parse_mother
from tackybox.config.loading import settings, variable
from tackybox.errors import ConfigError
from tackybox.keys import PublicKey
from tackybox.spool import Lane

DAUGHTER = {
    "TACKYBOX_NAME": "north-clinic",
    "TACKYBOX_AET": "NORTH",
    "TACKYBOX_SPOOL": "/spool",
    "TACKYBOX_DESTINATIONS": "relay@mother.example:2222",
}
MOTHER = {
    "TACKYBOX_NAME": "centre",
    "TACKYBOX_AET": "CENTRE",
    "TACKYBOX_SPOOL": "/spool",
    "TACKYBOX_ARCHIVES": "PACS@archive.example:104",
}


def yaml(tmp_path, text):
    path = tmp_path / "tackybox.yml"
    path.write_text(text)
    return {"TACKYBOX_CONFIG": str(path)}


def refusal(environ, load=load_daughter):
    """The one line that refuses `environ`."""
    with pytest.raises(ConfigError) as caught:
        load(environ)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.exit_code == 78
    return message


def test_what_every_site_sets_is_enough():
    config = load_daughter(DAUGHTER)
    assert (config.port, config.release, config.spool) == (11112, "stored", Path("/spool"))
    assert not config.modalities.allows("CT1", "10.0.0.1")
    assert load_mother(MOTHER).archives[0].name == "PACS_archive.example_104"


@pytest.mark.parametrize("name", sorted(DAUGHTER))
def test_a_required_variable_is_named_when_missing_or_empty(name):
    assert refusal({**DAUGHTER, name: " "}).startswith(f"{name}: is not set; write ")
    assert refusal({key: DAUGHTER[key] for key in DAUGHTER if key != name}).startswith(f"{name}: ")


def test_environment_goes_before_yaml_goes_before_default(tmp_path):
    document = yaml(
        tmp_path, "parallel: 7\nbatch_items: 10\nlanes:\n- {modality: CT, lane: high}\n"
    )
    config = load_daughter({**DAUGHTER, **document, "TACKYBOX_PARALLEL": "9"})
    assert (config.parallel, config.batch_items, config.max_associations) == (9, 10, 100)
    assert config.lanes[0].lane is Lane.HIGH
    sources = {line.key: line.source for line in describe(config)}
    assert sources["parallel"] == "TACKYBOX_PARALLEL"
    assert sources["batch_items"].endswith("tackybox.yml, batch_items")
    assert sources["port"] == "default"


def test_a_list_in_yaml_is_what_semicolons_are_in_a_variable(tmp_path):
    document = yaml(tmp_path, "archives: ['A@h:104', 'B@h:104|C@h:104']\nname: centre\n")
    config = load_mother({**MOTHER, **document, "TACKYBOX_ARCHIVES": ""})
    assert [group.name for group in config.archives] == ["A_h_104", "B_h_104+C_h_104"]


def test_a_value_from_a_file(tmp_path):
    secret = tmp_path / "sql"
    secret.write_text("tackybox:w0rd@db:3306/tackybox\n")
    config = load_daughter({**DAUGHTER, "TACKYBOX_SQL_FILE": str(secret)})
    assert config.sql is not None
    assert config.sql.password == "w0rd"
    both = {**DAUGHTER, "TACKYBOX_SQL_FILE": str(secret), "TACKYBOX_SQL": "a:b@c:1/d"}
    assert refusal(both) == "TACKYBOX_SQL_FILE: TACKYBOX_SQL is set too; keep one of them"
    missing = {**DAUGHTER, "TACKYBOX_AET_FILE": str(tmp_path / "none")}
    assert "TACKYBOX_AET_FILE" in refusal({**missing, "TACKYBOX_AET": ""})


def test_a_secret_is_shown_by_nobody():
    config = load_daughter({**DAUGHTER, "TACKYBOX_SQL": "tackybox:hush1234@db:3306/tackybox"})
    assert "hush1234" not in repr(config)
    assert "hush1234" not in repr(describe(config))


@pytest.mark.parametrize(
    "password",
    ["changeme", "CHANGE_ME", "Change-Me", "password", "<password>", "secret", "${PW}", "xxxx", ""],
)
def test_a_placeholder_password_is_refused(password):
    message = refusal({**DAUGHTER, "TACKYBOX_SQL": f"tackybox:{password}@db:3306/tackybox"})
    assert message.startswith("TACKYBOX_SQL: ")
    assert "; write " in message


def test_a_bad_secret_is_not_quoted():
    assert "hush" not in refusal({**DAUGHTER, "TACKYBOX_SQL": "hush"})


@pytest.mark.parametrize(
    ("name", "value", "part_of_message"),
    [
        ("PORT", "0", "write a whole number from 1 to 65535"),
        ("PORT", "eleven", "write a whole number"),
        ("AET", "ABCDEFGHIJKLMNOPQ", "not an AE title"),
        ("AET", "A\\B", "not an AE title"),
        ("AET", "A\nB", "control character"),
        ("AET", "<your AE title>", "placeholder"),
        ("NAME", "North Clinic", "not a box name"),
        ("SPOOL", "spool", "write one that begins with /"),
        ("RELEASE", "never", "write one of stored, landed"),
        ("DIMSE_TIMEOUT_S", "nan", "write seconds from"),
        ("REQUIRE_CALLED_AET", "perhaps", "write true or false"),
        ("BIND", "localhost", "not an IP address"),
        ("LANES", "[]", "write it in tackybox.yml"),
        ("PARALEL", "3", "write TACKYBOX_PARALLEL"),
        ("NONSENSE_XYZ", "3", "is not known; remove it"),
        ("ARCHIVES", "A@h:104", "is a setting of a mother, this box is a daughter"),
        ("SOURCES", "x", "is not known"),
    ],
)
def test_a_bad_variable_is_named_with_what_to_write(name, value, part_of_message):
    message = refusal({**DAUGHTER, f"TACKYBOX_{name}": value})
    assert message.startswith(f"TACKYBOX_{name}: ")
    assert part_of_message in message


@pytest.mark.parametrize(
    ("text", "part_of_message"),
    [
        ("paralel: 3", "paralel: is not known; write TACKYBOX_PARALLEL (in tackybox.yml parallel)"),
        ("aet: 12", "aet: 12 is not text; put it in quotes"),
        ("require_called_aet: 3", "require_called_aet: 3 is neither yes nor no"),
        ("port: true", "port: True is out of range"),
        ("- a", "is not a list of settings"),
        ("a: [", "line 1: not good YAML"),
        ("port: 1\nport: 2", "port is there twice"),
        ("!!python/object/apply:os.system [id]", "not good YAML"),
    ],
)
def test_bad_yaml_is_named_with_what_to_write(tmp_path, text, part_of_message):
    message = refusal({**DAUGHTER, "TACKYBOX_AET": "", **yaml(tmp_path, text)})
    assert "tackybox.yml" in message
    assert part_of_message in message


def test_a_config_file_that_is_not_there():
    message = refusal({**DAUGHTER, "TACKYBOX_CONFIG": "/nowhere.yml"})
    assert message.startswith("TACKYBOX_CONFIG: /nowhere.yml can't be read")


def test_which_box_it_is(tmp_path):
    assert isinstance(load_box(DAUGHTER), DaughterConfig)
    assert isinstance(load_box(MOTHER), MotherConfig)
    in_yaml = yaml(tmp_path, f"destinations: {DAUGHTER['TACKYBOX_DESTINATIONS']}")
    assert isinstance(
        load_box({**DAUGHTER, **in_yaml, "TACKYBOX_DESTINATIONS": ""}), DaughterConfig
    )
    assert "neither is set" in refusal({"TACKYBOX_NAME": "x"}, load_box)
    assert "both are set" in refusal({**DAUGHTER, **MOTHER}, load_box)


HOST_KEY = PublicKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519" + bytes(36))


def join_line(mother, name="north-clinic"):
    return JoinLine(name, parse_mother(mother), HOST_KEY, b"hush" * 16)


def test_join_lines_alone_say_where_to_deliver():
    a, b = join_line("relay@a.example:2222"), join_line("relay@b.example:22")
    environ = {**DAUGHTER, "TACKYBOX_JOIN": f"{a.text()}\n{b.text()}"}
    config = load_daughter({**environ, "TACKYBOX_DESTINATIONS": ""})
    assert config.join == (a, b)
    assert [str(group) for group in config.destinations] == [
        "relay@a.example:2222",
        "relay@b.example:22",
    ]
    assert config.sources["destinations"] == "TACKYBOX_JOIN"
    assert isinstance(load_box({**environ, "TACKYBOX_DESTINATIONS": ""}), DaughterConfig)
    assert [str(group) for group in load_daughter(environ).destinations] == [
        "relay@mother.example:2222"
    ]


def test_a_join_lines_code_is_shown_by_nobody():
    line = join_line("relay@a.example:2222")
    config = load_daughter({**DAUGHTER, "TACKYBOX_JOIN": line.text()})
    code = line.text().split()[-1]
    (shown,) = [one.value for one in describe(config) if one.key == "join"]
    assert shown == "north-clinic at relay@a.example:2222 (code ***)"
    for text in (repr(config), repr(describe(config))):
        assert code not in text
        assert "hush" not in text
    assert code[:20] not in refusal({**DAUGHTER, "TACKYBOX_JOIN": line.text()[:-3]})


def test_a_join_line_for_another_box_is_refused_with_both_names():
    message = refusal({**DAUGHTER, "TACKYBOX_JOIN": join_line("relay@a:1", "south").text()})
    assert message.startswith(
        "TACKYBOX_JOIN: the line was made for south, this box is north-clinic"
    )


def test_a_mothers_address_is_a_place():
    assert str(load_mother({**MOTHER, "TACKYBOX_ADDRESS": "Centre.example:2222"}).address) == (
        "centre.example:2222"
    )
    assert "TACKYBOX_ADDRESS: " in refusal(
        {**MOTHER, "TACKYBOX_ADDRESS": "relay@centre.example:2222"}, load_mother
    )


@pytest.mark.parametrize("box", [DaughterConfig, MotherConfig])
def test_every_setting_has_a_line_of_help(box):
    for key, setting in settings(box).items():
        assert setting.help
        assert "\n" not in setting.help
        assert not variable(key).endswith("_FILE")


@given(st.dictionaries(st.sampled_from(sorted(settings(DaughterConfig))), st.text(max_size=20)))
def test_any_environment_loads_or_is_refused_in_one_line(given_values):
    environ = {variable(key): value for key, value in given_values.items()}
    try:
        load_daughter({**DAUGHTER, **environ})
    except ConfigError as error:
        assert str(error).isprintable()
