"""How verbs write."""

import pytest

from tackybox.commands import output


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (5 << 50, "5120 TiB")],
)
def test_sizes(size_bytes, text):
    assert output.size(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0, "0 s"), (61, "1 min 1 s"), (3600, "1 h"), (90_061, "1 d 1 h"), (-5, "0 s")],
)
def test_durations(seconds, text):
    assert output.duration(seconds) == text


def test_what_a_peer_says_steers_no_terminal(capsys):
    table = output.table("title", ["a"])
    output.add_row(table, ["\x1b[2J[bold]x[/bold]"])
    output.console().print(table)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[2J[bold]x[/bold]" in out
