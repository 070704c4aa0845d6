"""Who may send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tackybox.config.modalities import NOBODY, parse_modalities

addresses = st.ip_addresses().filter(lambda place: getattr(place, "ipv4_mapped", None) is None)


@given(addresses, addresses)
def test_a_single_address_lets_in_that_one_alone(allowed, other):
    modalities = parse_modalities(f"CT1@{allowed}")
    assert str(modalities) == f"CT1@{allowed}"
    assert modalities.allows("CT1", str(allowed))
    assert not modalities.allows("CT2", str(allowed))
    assert modalities.allows("CT1", str(other)) == (allowed == other)


def test_networks_and_any_title():
    modalities = parse_modalities("CT1@10.1.0.0/16; *@192.168.7.0/24;MR@[2001:db8::]/32")
    assert modalities.allows("CT1 ", "10.1.255.3")
    assert modalities.allows("CT1", "::ffff:10.1.2.3")
    assert not modalities.allows("MR", "10.1.2.3")
    assert modalities.allows("WHATEVER", "192.168.7.9")
    assert not modalities.allows("CT1", "not an address")
    assert modalities.knows_aet("CT1")
    assert modalities.knows_aet("OTHER")  # by the * rule
    assert not parse_modalities("CT1@10.1.0.0/16").knows_aet("MR")


def test_any_and_nobody():
    anyone = parse_modalities("any")
    assert anyone.allows("X", "not an address")
    assert anyone.knows_aet("X")
    assert not NOBODY.allows("X", "127.0.0.1")
    assert not NOBODY.knows_aet("X")


@pytest.mark.parametrize(
    ("text", "part_of_message"),
    [
        ("CT1", "not a caller"),
        ("CT1@scanner.local", "no address"),
        ("CT1@10.1.2.3/16", "write 10.1.0.0/16"),
        ("CT1@::ffff:10.1.2.3", "write it as IPv4"),
        ("@10.1.2.3", "not an AE title"),
        ("CT1@10.1.2.3;CT1@10.1.2.3", "twice"),
        ("CT1@10.1.2.3;", "not a caller"),
        ("ABCDEFGHIJKLMNOPQ@10.1.2.3", "not an AE title"),
    ],
)
def test_what_is_wrong_is_said(text, part_of_message):
    with pytest.raises(ValueError, match=part_of_message):
        parse_modalities(text)


@given(st.text(max_size=40))
def test_whatever_is_written_is_parsed_or_refused(text):
    try:
        modalities = parse_modalities(text)
    except ValueError as error:
        assert "; " in str(error)
    else:
        assert modalities.anyone or modalities.rules
