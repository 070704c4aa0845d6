"""OpenSSH's sshd as the mother's door: its configuration, its keys, its process.

No daemon of our own: sshd authenticates, `gate` decides what an authenticated daughter may do.
Whose keys those are says tackybox/roster.py; a key or an invitation that comes, changes or goes
takes effect for the next login within a second or two, because `authorized_keys` is written again.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC
from pathlib import Path

import mother
from mother.inbox import sessions
from mother.inbox.gate import DAUGHTER, INVITED
from tackybox import logs
from tackybox.config import MotherConfig
from tackybox.errors import ConfigError, UnavailableError
from tackybox.keys import own_key
from tackybox.roster import Invited, Known

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
# bash, if it is this user's shell, reads ~/.bashrc for each request unless a shell has called it
SetEnv SHLVL=2
MaxSessions 128
MaxStartups 100:30:200
LoginGraceTime 20
ClientAliveInterval 15
ClientAliveCountMax 4
PidFile none
LogLevel INFO
"""

# "--", because the last word is whatever the client says.
_GATE = """\
export {variable}="$1 $2 $3 "{daughters}
PYTHONPATH={root} exec {python} -m mother.inbox.gate --spool {spool} --box {box} \
--daughters {daughters} --enrolments {enrolments} --min-free-bytes {min_free_bytes} \
--log {log} --log-level {log_level} -- "$1" "$2" "$3" "$SSH_ORIGINAL_COMMAND"
"""


def prepare(config: MotherConfig, run_dir: Path) -> list[str]:
    """Write sshd's files into `run_dir`; the command that runs it in the foreground.

    The host key is made if there is none. Raises UnavailableError if OpenSSH's server or rrsync is
    not installed, ConfigError if the host key can't be made or used.
    """
    sshd = shutil.which("sshd", path=os.defpath + ":/usr/sbin:/sbin")
    if sshd is None or shutil.which("rrsync") is None:
        raise UnavailableError(
            "sshd and rrsync are needed; install the Debian packages openssh-server and rsync"
        )
    own_key(config.host_key, config.name, "TACKYBOX_HOST_KEY")
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
    (run_dir / "gate").write_text(_gate_script(config, run_dir))
    write_authorized_keys((), (), run_dir)
    command = [sshd, "-D", "-e", "-f", str(run_dir / "sshd_config")]
    test = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    if test.returncode:
        raise ConfigError(f"sshd does not take its settings: {test.stderr.strip()[:300]}")
    return command


def _gate_script(config: MotherConfig, run_dir: Path) -> str:
    quoted = {
        "root": Path(next(iter(mother.__path__))).parent,
        "python": sys.executable,
        "variable": sessions.VARIABLE,
        "daughters": config.daughters,
        "enrolments": config.enrolments,
        "spool": config.spool.absolute(),
        "box": config.name,
        "min_free_bytes": config.min_free_mib << 20,
        "log": run_dir / "log",
        "log_level": config.log_level,
    }
    return _GATE.format(**{key: shlex.quote(str(value)) for key, value in quoted.items()})


def write_authorized_keys(
    known: Iterable[Known], invited: Iterable[Invited], run_dir: Path
) -> None:
    """Let in these keys and these codes, each bound to the gate and to its own box's name."""
    gate = f"/bin/sh {shlex.quote(str(run_dir / 'gate'))}"  # by name: /tmp may be mounted noexec
    lines = []
    for one in known:
        if one.key is None:
            logs.get("inbox").error("public key not understood, not let in", path=f"{one.name}.pub")
            continue
        command = f"{gate} {DAUGHTER} {one.name} {one.key.fingerprint}"
        lines.append(f'restrict,command="{command}" {one.key}\n')
    for code in invited:
        command = f"{gate} {INVITED} {code.name} {code.key.fingerprint}"
        until = code.until.astimezone(UTC).strftime("%Y%m%d%H%M%SZ")
        lines.append(f'restrict,expiry-time="{until}",command="{command}" {code.key}\n')
    temporary = run_dir / "authorized_keys.new"
    temporary.write_text("".join(lines))
    temporary.replace(run_dir / "authorized_keys")
