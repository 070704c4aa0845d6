"""The grammar of destinations and archives."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tackybox.config.addresses import (
    ArchiveAddress,
    ArchiveGroup,
    Endpoint,
    MotherAddress,
    MotherGroup,
    parse_archives,
    parse_endpoint,
    parse_mothers,
    parse_peers,
)

label = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,10}[a-z0-9_])?", fullmatch=True)
host_name = st.lists(label, min_size=1, max_size=4).map(".".join)
host = st.one_of(
    host_name.filter(lambda name: not re.fullmatch(r"[0-9.]+", name)),
    st.ip_addresses().map(str),
)
port = st.integers(1, 65535)
aet = (
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\;|@"))
    .map(lambda text: text[:16].strip())
    .filter(lambda text: len(text) > 0 and not re.fullmatch(r"<.*>|\*+|[xX]{3,}|\$\{.*\}", text))
)
mother = st.builds(
    MotherAddress, st.from_regex(r"[a-z_][a-z0-9_-]{0,31}", fullmatch=True), host, port
)
archive = st.builds(ArchiveAddress, aet, host, port)


def groups(address, kind):
    """Groups of one to three alternatives, no address in them twice."""
    addresses = st.lists(address, min_size=1, max_size=6, unique_by=lambda one: one.name)
    return st.tuples(addresses, st.integers(1, 3)).map(
        lambda pair: tuple(
            kind(tuple(pair[0][start : start + pair[1]]))
            for start in range(0, len(pair[0]), pair[1])
        )
    )


@given(groups(mother, MotherGroup), st.booleans())
def test_mothers_survive_being_written_and_read(destinations, sharing):
    destinations = tuple(
        replace(group, sharing=sharing and len(group.alternatives) > 1) for group in destinations
    )
    assert parse_mothers(";".join(map(str, destinations))) == destinations


@given(groups(archive, ArchiveGroup))
def test_archives_survive_being_written_and_read(archives):
    assert parse_archives(";".join(map(str, archives))) == archives


@given(archive, archive)
def test_names_are_directories_and_tell_archives_apart(one, other):
    assert re.fullmatch(r"[A-Za-z0-9_%][A-Za-z0-9._%-]{0,199}", one.name)
    assert (one.name == other.name) == (one == other)


@given(st.text(max_size=60))
def test_whatever_is_written_is_parsed_or_refused_with_a_sentence(text):
    for parse in (parse_mothers, parse_archives):
        try:
            parsed = parse(text)
        except ValueError as error:
            assert "; write " in str(error) or "; name " in str(error)
            assert "\n" not in str(error)
        else:
            for group in parsed:
                for address in group.alternatives:
                    assert re.fullmatch(r"[A-Za-z0-9_.:][A-Za-z0-9_.:-]*", address.host)


def test_the_example_of_the_design():
    parsed = parse_mothers("relay@host:2222;relay@host2:2222|relay@host3:2200")
    assert [group.name for group in parsed] == ["host_2222", "host2_2222+host3_2200"]
    assert parsed[1].alternatives[1] == MotherAddress("relay", "host3", 2200)


def test_a_swap_of_alternatives_is_the_same_outlet():
    (one,), (other,) = parse_mothers("a@h:1|a@i:1"), parse_mothers("a@i:1|a@h:1")
    assert one.name == other.name
    assert one.alternatives != other.alternatives


def test_mothers_that_share_are_one_outlet():
    (one, other), (swapped,) = parse_mothers("a@h:1, a@i:1;a@j:1"), parse_mothers("a@i:1|a@h:1")
    assert one.sharing and not other.sharing and not swapped.sharing
    assert one.name == swapped.name
    assert str(one) == "a@h:1,a@i:1"


def test_an_archives_ae_title_may_hold_a_comma():
    assert parse_archives("A,B@h:104")[0].alternatives == (ArchiveAddress("A,B", "h", 104),)


def test_a_port_left_out_is_the_gates():
    assert parse_mothers("relay@[2001:DB8::1]")[0].alternatives[0] == MotherAddress(
        "relay", "2001:db8::1", 2222
    )


def test_many_alternatives_still_make_a_directory_name():
    text = "|".join(f"relay@{'x' * 60}{number}.example:2222" for number in range(9))
    (group,) = parse_mothers(text)
    assert len(group.name) == 200
    assert group.name != parse_mothers(text.replace("x8.", "x7a."))[0].name


@pytest.mark.parametrize(
    ("text", "part_of_message"),
    [
        ("", "empty"),
        ("host:22", "write user@host:port"),
        ("relay@-oProxyCommand=x:22", "bad host"),
        ("-l@host:22", "not a mother"),
        ("relay@ho st:22", "bad host"),
        ("relay@$(id):22", "bad host"),
        ("relay@host:0", "bad port"),
        ("relay@host:65536", "bad port"),
        ("relay@host:", "bad port"),
        ("relay@10.0.0.300:22", "bad host"),
        ("relay@2001:db8::1:22", "too many colons"),
        ("relay@[fe80::1%eth0]:22", "no IPv6 address"),
        ("relay@[::1:22", "open bracket"),
        ("relay@a:1;;relay@b:1", "empty"),
        ("relay@a:1|", "empty"),
        ("relay@a:1,,relay@b:1", "empty"),
        ("relay@a:1,relay@b:1|relay@c:1", "both [|] and ,"),
        ("relay@a:1;relay@A:1", "twice"),
        ("relay@a:1|other@a:1", "twice"),
        ("relay@a:1,other@a:1", "twice"),
    ],
)
def test_what_is_wrong_is_said(text, part_of_message):
    with pytest.raises(ValueError, match=part_of_message):
        parse_mothers(text)


@pytest.mark.parametrize(
    ("text", "part_of_message"),
    [
        ("PACS@host", "no port"),
        ("host:104", "write AET@host:port"),
        ("ABCDEFGHIJKLMNOPQ@host:104", "not an AE title"),
        ("A\\B@host:104", "not an AE title"),
        ("@host:104", "not an AE title"),
    ],
)
def test_what_is_wrong_with_an_archive_is_said(text, part_of_message):
    with pytest.raises(ValueError, match=part_of_message):
        parse_archives(text)


@given(st.builds(Endpoint, host, port))
def test_endpoints_survive_being_written_and_read(endpoint):
    assert parse_endpoint(str(endpoint)) == endpoint


@pytest.mark.parametrize("text", ["receiver", "receiver:0", "receiver:x", "[::1]", "a b:1", ":1"])
def test_what_is_no_endpoint_is_refused(text):
    with pytest.raises(ValueError, match="; write"):
        parse_endpoint(text)


@given(
    st.lists(st.builds(ArchiveAddress, aet, host, port), min_size=1, unique_by=lambda one: one.aet)
)
def test_peers_survive_being_written_and_read(peers):
    assert parse_peers(";".join(map(str, peers))) == tuple(peers)


@pytest.mark.parametrize(
    ("text", "part_of_message"),
    [
        ("CT1@host", "has no port; write AET@host:port, such as CT1@host:104"),
        ("host:104", "is not a modality"),
        ("", "is not a modality"),
        ("CT1@host:104;CT1@other:104", "'CT1' is there twice"),
    ],
)
def test_what_is_wrong_with_a_peer_is_said(text, part_of_message):
    with pytest.raises(ValueError, match=part_of_message):
        parse_peers(text)
