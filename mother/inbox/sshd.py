"""OpenSSH's sshd as the mother's door: its configuration, its keys, its process.

No daemon of our own: sshd authenticates, `gate` decides what an authenticated daughter may do.
Public keys are files `<daughters>/<box name>.pub`; adding, changing or removing one takes effect
for the next login within a second or two, because `authorized_keys` is written again.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import mother
from tackybox import logs
from tackybox.config import MotherConfig
from tackybox.errors import ConfigError, UnavailableError
from tackybox.item import is_box_name

_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa", "sk-ssh-ed25519@openssh.com")

_CONFIG = """\
Port {port}
ListenAddress {bind}
HostKey {host_key}
AuthorizedKeysFile {run_dir}/authorized_keys
AllowUsers {user}
PermitRootLogin forced-commands-only
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
# run_dir is private and ours; what lies above it (a sticky /tmp, say) is not sshd's business
StrictModes no
DisableForwarding yes
PermitTTY no
PermitUserRC no
PermitUserEnvironment no
MaxSessions 128
MaxStartups 100:30:200
LoginGraceTime 20
ClientAliveInterval 15
ClientAliveCountMax 4
PidFile none
LogLevel INFO
"""

_GATE = """\
#!/bin/sh
PYTHONPATH={root} exec {python} -m mother.inbox.gate --spool {spool} --box {box} \
--min-free-bytes {min_free_bytes} --log {log} --log-level {log_level} "$1" "$SSH_ORIGINAL_COMMAND"
"""


def prepare(config: MotherConfig, run_dir: Path) -> list[str]:
    """Write sshd's files into `run_dir`; the command that runs it in the foreground.

    Raises UnavailableError if OpenSSH's server or rrsync is not installed, ConfigError if the
    host key can't be read.
    """
    sshd = shutil.which("sshd", path=os.defpath + ":/usr/sbin:/sbin")
    if sshd is None or shutil.which("rrsync") is None:
        raise UnavailableError(
            "sshd and rrsync are needed; install the Debian packages openssh-server and rsync"
        )
    if not os.access(config.host_key, os.R_OK):
        raise ConfigError(
            f"TACKYBOX_HOST_KEY: {config.host_key} can't be read; "
            "make it with ssh-keygen -t ed25519 -N '' -f FILE"
        )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd's own need, as root only
    user = pwd.getpwuid(os.geteuid()).pw_name
    (run_dir / "sshd_config").write_text(
        _CONFIG.format(
            port=config.ssh_port, bind=config.ssh_bind, host_key=config.host_key,
            run_dir=run_dir, user=user,
        )
    )  # fmt: skip
    os.mkfifo(run_dir / "log", 0o600)
    gate = run_dir / "gate"
    gate.write_text(_gate_script(config, run_dir))
    gate.chmod(0o700)
    write_authorized_keys(config.daughters, run_dir)
    command = [sshd, "-D", "-e", "-f", str(run_dir / "sshd_config")]
    test = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    if test.returncode:
        raise ConfigError(f"sshd does not take its settings: {test.stderr.strip()[:300]}")
    return command


def _gate_script(config: MotherConfig, run_dir: Path) -> str:
    quoted = {
        "root": Path(next(iter(mother.__path__))).parent,
        "python": sys.executable,
        "spool": config.spool.absolute(),
        "box": config.name,
        "min_free_bytes": config.min_free_mib << 20,
        "log": run_dir / "log",
        "log_level": config.log_level,
    }
    return _GATE.format(**{key: shlex.quote(str(value)) for key, value in quoted.items()})


def write_authorized_keys(daughters: Path, run_dir: Path) -> None:
    """Let in the keys under `daughters`, each bound to the gate and to its own box's name."""
    lines = []
    for path in sorted(daughters.glob("*.pub")) if daughters.is_dir() else []:
        key = _public_key(path)
        if key is None or not is_box_name(path.stem):
            logs.get("inbox").error("public key not understood, not let in", path=path.name)
            continue
        command = f"{shlex.quote(str(run_dir / 'gate'))} {path.stem}"
        lines.append(f'restrict,command="{command}" {key}\n')
    temporary = run_dir / "authorized_keys.new"
    temporary.write_text("".join(lines))
    temporary.replace(run_dir / "authorized_keys")


def _public_key(path: Path) -> str | None:
    """Type and key of a one-line OpenSSH public key; never its comment, never an option."""
    try:
        words = path.read_text().split()
    except (OSError, UnicodeDecodeError):
        return None
    if len(words) < 2 or words[0] not in _KEY_TYPES or not words[1].isascii():
        return None
    return f"{words[0]} {words[1]}"


def fingerprint_of_keys(daughters: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes whenever a file under `daughters` was added, changed or removed."""
    if not daughters.is_dir():
        return ()
    return tuple(
        sorted((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in daughters.glob("*.pub"))
    )
