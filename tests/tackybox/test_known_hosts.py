"""Pins as ssh itself reads them."""

import subprocess

import pytest

from tackybox import keys, known_hosts


@pytest.fixture
def two_keys(tmp_path):
    made = []
    for name in ("one", "two"):
        keys.make_key_pair(tmp_path / name, name)
        made.append(keys.public_key_of(tmp_path / name, "X"))
    return made


def ssh_finds(path, name):
    """The keys that OpenSSH finds for a host."""
    done = subprocess.run(
        ["ssh-keygen", "-F", name, "-f", str(path)], capture_output=True, text=True, check=False
    )
    return [" ".join(line.split()[1:3]) for line in done.stdout.splitlines() if line[0] != "#"]


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("mother.example", 2222, "[mother.example]:2222"),
        ("mother.example", 22, "mother.example"),
        ("::1", 2222, "[::1]:2222"),
    ],
)
@pytest.mark.parametrize("hashed", [False, True])
def test_a_pin_replaces_the_one_for_its_host_and_port(tmp_path, two_keys, host, port, name, hashed):
    path = tmp_path / "known_hosts"
    old, new = two_keys
    others = [known_hosts.line_for("other.example", 2222, old), "# a comment\n"]
    path.write_text(known_hosts.line_for(host, port, old) + "".join(others))
    assert ssh_finds(path, name) == [str(old)]
    if hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(path)], check=True, stderr=-3)
        others = path.read_text().splitlines(keepends=True)[1:]
    assert known_hosts.is_pinned(path, host, port)
    known_hosts.pin(path, host, port, new, "joined-0123456789ab")
    assert ssh_finds(path, name) == [str(new)]
    assert path.read_text().splitlines(keepends=True)[:-1] == others
    assert known_hosts.has_mark(path, "joined-0123456789ab")
    assert not known_hosts.has_mark(path, "joined-000000000000")
    assert not known_hosts.is_pinned(path, host, 4444)


def test_another_host_on_the_same_line_keeps_its_pin(tmp_path, two_keys):
    path = tmp_path / "known_hosts"
    old, new = two_keys
    path.write_text(f"[a.example]:2222,[b.example]:2222 {old} both\n")
    known_hosts.pin(path, "a.example", 2222, new, "")
    assert ssh_finds(path, "[a.example]:2222") == [str(new)]
    assert ssh_finds(path, "[b.example]:2222") == [str(old)]


def test_where_there_is_no_file_one_is_made(tmp_path, two_keys):
    path = tmp_path / "known_hosts"
    assert not known_hosts.is_pinned(path, "a.example", 2222)
    known_hosts.pin(path, "a.example", 2222, two_keys[0], "")
    assert known_hosts.is_pinned(path, "a.example", 2222)
