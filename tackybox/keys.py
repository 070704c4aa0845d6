"""OpenSSH keys as text: public keys checked, and a private key file as the code of a join line.

No cryptography of our own: ssh-keygen makes keys and ssh uses them. Here bytes are only taken
apart and put together again, as OpenSSH's PROTOCOL.key and RFC 4253 section 6.6 lay them out.
Not promised: that a key is strong, or that a code's two halves belong together; sshd finds out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tackybox.errors import ConfigError, UnavailableError
from tackybox.spool.durable import write_atomically

KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa", "sk-ssh-ed25519@openssh.com")
CODE_BYTES = 64  # the ed25519 seed and public key, 32 bytes each (RFC 8032 section 5.1.5)

_ED25519 = b"ssh-ed25519"
_MAGIC = b"openssh-key-v1\0"
_BEGIN, _END = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"
_PEM_COLUMNS = 70
_CHECK_BYTES = bytes(8)  # two equal numbers; they only tell a wrong passphrase, and there is none
_BLOCK_BYTES = 8


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key without comment and options; `str` is how authorized_keys and others have it."""

    kind: str
    blob: bytes

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """The key at the beginning of `text`, "type base64 …"; raises ValueError."""
        words = text.split()
        if len(words) < 2 or words[0] not in KEY_TYPES:
            raise ValueError(f"is no public key; write a line of type {', '.join(KEY_TYPES)}")
        try:
            blob = base64.b64decode(words[1], validate=True)
        except (binascii.Error, ValueError):
            blob = b""
        if not blob.startswith(_string(words[0].encode())):
            raise ValueError("is a public key that is cut off or changed; copy all of its line")
        return cls(words[0], blob)

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen -l shows it: SHA256:…"""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode()
        return f"SHA256:{digest.rstrip('=')}"

    def __str__(self) -> str:
        return f"{self.kind} {base64.b64encode(self.blob).decode()}"


def make_key_pair(path: Path, comment: str) -> None:
    """A new ed25519 key pair without passphrase at `path` and `path`.pub, which must not exist.

    Raises UnavailableError if ssh-keygen is not installed or fails.
    """
    _ssh_keygen("-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))


def sign(file: Path, key: Path, purpose: str) -> Path:
    """Sign `file` with the private key at `key`: an SSH signature in `file`.sig, whose path it is.

    `purpose` is the signature's namespace, so that it counts for nothing else. Who has the public
    key checks it with ssh-keygen -Y verify. Raises UnavailableError as `make_key_pair` does.
    """
    _ssh_keygen("-q", "-Y", "sign", "-f", str(key), "-n", purpose, str(file))
    return file.with_name(f"{file.name}.sig")


def own_key(path: Path, comment: str, setting: str) -> PublicKey:
    """The public half of this box's own private key at `path`; the pair is made if there is none.

    Raises ConfigError, naming the variable `setting`, if it can't be made or used.
    """
    if not path.exists():
        with tempfile.TemporaryDirectory(prefix="tackybox-key-") as directory:
            made = Path(directory) / "key"
            make_key_pair(made, comment)
            try:
                public = made.with_name("key.pub").read_bytes()
                write_atomically(path.with_name(f"{path.name}.pub"), public, mode=0o644)
                write_atomically(path, made.read_bytes(), mode=0o600)
            except OSError as error:
                raise ConfigError(
                    f"{setting}: {path} is not there and can't be made: {error.strerror}; "
                    f"let user number {os.geteuid()} write {path.parent}"
                ) from error
    return public_key_of(path, setting)


def public_key_of(path: Path, setting: str) -> PublicKey:
    """The public half of the private key at `path`.

    Raises ConfigError, naming the variable `setting`, if there is no such key without passphrase.
    """
    try:
        return PublicKey.parse(_ssh_keygen("-y", "-P", "", "-f", str(path)))
    except (UnavailableError, ValueError):
        raise ConfigError(
            f"{setting}: {path} is no private key that can be used; it must be there, without "
            "passphrase, readable for this user (and ssh wants: for nobody else)"
        ) from None


def code_of(private_key_file: str) -> bytes:
    """Seed and public key out of an ed25519 key file without passphrase; raises ValueError."""
    lines = private_key_file.split()
    data = base64.b64decode("".join(lines[4:-4]))  # the PEM lines are four words each
    if not data.startswith(_MAGIC):
        raise ValueError("is no OpenSSH private key")
    rest = data[len(_MAGIC) :]
    cipher, rest = _take(rest)
    for _ in range(2):  # the derivation's name and options
        _, rest = _take(rest)
    _, rest = _take(rest[4:])  # the number of keys, then the public key
    private, _ = _take(rest)
    kind, rest = _take(private[len(_CHECK_BYTES) :])
    _, rest = _take(rest)
    code, _ = _take(rest)
    if (cipher, kind, len(code)) != (b"none", _ED25519, CODE_BYTES):
        raise ValueError("is no ed25519 key without passphrase")
    return code


def private_key_file(code: bytes) -> str:
    """The key file that `code_of` gives `code` for."""
    public = code[CODE_BYTES // 2 :]
    private = _CHECK_BYTES + _string(_ED25519) + _string(public) + _string(code) + _string(b"")
    private += bytes(range(1, 1 + -len(private) % _BLOCK_BYTES))
    data = _MAGIC + _string(b"none") * 2 + _string(b"") + (1).to_bytes(4, "big")
    data += _string(_string(_ED25519) + _string(public)) + _string(private)
    text = base64.b64encode(data).decode()
    lines = [text[n : n + _PEM_COLUMNS] for n in range(0, len(text), _PEM_COLUMNS)]
    return "\n".join([_BEGIN, *lines, _END, ""])


def _string(value: bytes) -> bytes:
    """RFC 4251 section 5, "string"."""
    return len(value).to_bytes(4, "big") + value


def _take(data: bytes) -> tuple[bytes, bytes]:
    """The string at the beginning of `data`, and what comes after it."""
    end = 4 + int.from_bytes(data[:4], "big")
    return data[4:end], data[end:]


def _ssh_keygen(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["ssh-keygen", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise UnavailableError(
            "ssh-keygen is needed; install the Debian package openssh-client"
        ) from None
    if done.returncode:
        raise UnavailableError(f"ssh-keygen failed: {' '.join(done.stderr.split())[:300]}")
    return done.stdout
