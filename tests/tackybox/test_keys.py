"""Keys as text, against the real ssh-keygen."""

import base64
import subprocess

import pytest

from tackybox import keys
from tackybox.errors import ConfigError
from tackybox.keys import PublicKey


def ssh_keygen(*arguments):
    done = subprocess.run(
        ["ssh-keygen", *map(str, arguments)], capture_output=True, text=True, check=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_public_key_has_the_fingerprint_that_openssh_shows(tmp_path, kind):
    ssh_keygen("-q", "-t", kind, "-N", "", "-C", "a comment", "-f", tmp_path / "key")
    text = (tmp_path / "key.pub").read_text()
    key = PublicKey.parse(text)
    assert key.fingerprint == ssh_keygen("-l", "-f", tmp_path / "key.pub").split()[1]
    assert str(key) == " ".join(text.split()[:2])
    assert keys.public_key_of(tmp_path / "key", "X") == key


def test_openssh_takes_a_key_file_that_was_put_together_from_its_code(tmp_path):
    keys.make_key_pair(tmp_path / "key", "north")
    code = keys.code_of((tmp_path / "key").read_text())
    assert len(code) == keys.CODE_BYTES
    again = tmp_path / "again"
    again.touch(0o600)
    again.write_text(keys.private_key_file(code))
    assert ssh_keygen("-y", "-f", again).split() == (tmp_path / "key.pub").read_text().split()[:2]
    assert keys.code_of(again.read_text()) == code
    (tmp_path / "data").write_text("signed with it")
    ssh_keygen("-q", "-Y", "sign", "-f", again, "-n", "test", tmp_path / "data")
    (tmp_path / "signers").write_text(f"north {(tmp_path / 'key.pub').read_text()}")
    with (tmp_path / "data").open() as data:
        checked = subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "signers"), "-I", "north",
             "-n", "test", "-s", str(tmp_path / "data.sig")],
            stdin=data, capture_output=True, check=False,
        )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def test_only_a_bare_ed25519_key_has_a_code(tmp_path):
    ssh_keygen("-q", "-t", "ecdsa", "-N", "", "-f", tmp_path / "ecdsa")
    ssh_keygen("-q", "-t", "ed25519", "-N", "a passphrase", "-f", tmp_path / "locked")
    for name in ("ecdsa", "locked"):
        with pytest.raises(ValueError, match="no ed25519 key without passphrase"):
            keys.code_of((tmp_path / name).read_text())


def test_a_private_key_that_ssh_could_not_use_is_named_by_its_setting(tmp_path):
    ssh_keygen("-q", "-t", "ed25519", "-N", "a passphrase", "-f", tmp_path / "locked")
    for name in ("locked", "locked.pub", "absent"):
        with pytest.raises(ConfigError, match=rf"TACKYBOX_SSH_KEY: .*{name} is no private key"):
            keys.public_key_of(tmp_path / name, "TACKYBOX_SSH_KEY")


BLOB = base64.b64encode(b"\0\0\0\x0bssh-ed25519" + bytes(36)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "", "ssh-ed25519", f"ssh-dss {BLOB}", f"ssh-rsa {BLOB}", "ssh-ed25519 AAAA",
        "ssh-ed25519 ÄÖÜ=", f'command="sh" ssh-ed25519 {BLOB}', f"ssh-ed25519 {BLOB[1:]}",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
)  # fmt: skip
def test_what_is_no_public_key_is_refused(text):
    assert str(PublicKey.parse(f"ssh-ed25519 {BLOB} comment")) == f"ssh-ed25519 {BLOB}"
    with pytest.raises(ValueError, match=r"is no public key|is a public key that"):
        PublicKey.parse(text)
