"""The join line: what a daughter must know, and exact words for what is wrong with one."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tackybox.config import JoinLine
from tackybox.config.addresses import parse_mother
from tackybox.config.joining import parse_joins
from tackybox.keys import CODE_BYTES, PublicKey

HOST_KEY = PublicKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519" + bytes(36))
CODE = bytes(range(100, 100 + CODE_BYTES))
LINE = JoinLine("north-clinic", parse_mother("relay@mother.example:2222"), HOST_KEY, CODE)
WORDS = LINE.text().split()


def with_word(number, word):
    return " ".join([*WORDS[:number], word, *WORDS[number + 1 :]])


@given(st.binary(min_size=CODE_BYTES, max_size=CODE_BYTES), st.sampled_from(["h", "[::1]"]))
def test_a_line_is_read_as_it_was_written(code, host):
    line = JoinLine("north", parse_mother(f"relay@{host}:22"), HOST_KEY, code)
    assert JoinLine.parse(line.text()) == line
    assert parse_joins(f"  {line.text()} ;\n") == (line,)
    assert "\n" not in line.text() and ";" not in line.text()


@given(st.integers(min_value=0, max_value=len(LINE.text()) - 1))
def test_a_line_that_is_cut_off_anywhere_is_refused(end):
    with pytest.raises(ValueError, match="copy all of") as caught:
        JoinLine.parse(LINE.text()[:end])
    assert WORDS[-1][:20] not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no line of tackybox enrol; copy all of the line that begins with tackybox-join"),
        ("relay@mother:2222", "is no line of tackybox enrol"),
        (LINE.text() + " " + LINE.text(), "holds more than one line; part them with ;"),
        (with_word(1, "North"), "'North' is not a box name"),
        (with_word(2, "mother.example"), "'mother.example' is not a mother"),
        (with_word(2, "relay@-oProxy=x:1"), "has a bad host"),
        (with_word(3, "ssh-dss"), "is no public key"),
        (with_word(4, "AAAA"), "is a public key that is cut off or changed"),
        (with_word(5, WORDS[5] + "AA"), "has a code that is cut off or changed"),
        (with_word(5, "!" + WORDS[5][1:]), "has a code that is cut off or changed"),
    ],
)
def test_what_is_wrong_is_named_and_the_code_is_not(text, words):
    with pytest.raises(ValueError) as caught:
        JoinLine.parse(text)
    assert words in str(caught.value)
    assert WORDS[5][1:20] not in str(caught.value)


def test_neither_str_nor_repr_nor_mark_gives_the_code_away():
    code = base64.urlsafe_b64encode(CODE).decode()
    for shown in (str(LINE), repr(LINE), LINE.mark):
        assert code[:8] not in shown
        assert repr(CODE)[2:12] not in shown
    assert "north-clinic" in str(LINE)


def test_several_lines_but_one_for_each_mother():
    other = JoinLine("north-clinic", parse_mother("relay@b.example:2222"), HOST_KEY, CODE)
    text = f"{LINE.text()}\n{other.text()}"
    assert parse_joins(text) == parse_joins(text.splitlines()) == (LINE, other)
    assert LINE.mark != other.mark
    with pytest.raises(ValueError, match=r"two lines for relay@mother.example:2222; keep"):
        parse_joins(f"{LINE.text()};{LINE.text()}")
    with pytest.raises(ValueError, match="is not text"):
        parse_joins(5)
