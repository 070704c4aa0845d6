"""Real database servers for the tests: private, on a free loopback port, stopped by pid."""

from __future__ import annotations

import contextlib
import getpass
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pymysql
import pytest
from pymysql.constants import CLIENT

from mysql_utilities.mysql_store import MysqlAddress
from tackybox.demo.stack import free_port
from tests.peers import freeze, is_frozen

SCHEMA = Path(__file__).parents[1] / "tackybox.sql"
PASSWORD = "pässwörd-€/@:5"
_STARTUP_S = 60.0


@contextmanager
def database_server(flavour: str, directory: Path) -> Iterator[Server]:
    """A running server until the block ends, or a skip that says what to install."""
    if reason := _missing(flavour):
        pytest.skip(reason)
    server = Server(flavour, directory)
    try:
        yield server
    finally:
        server.stop()


def as_setting(address: MysqlAddress) -> str:
    """The address as TACKYBOX_SQL has it."""
    user, password = quote(address.user, safe=""), quote(address.password, safe="")
    return f"{user}:{password}@{address.host}:{address.port}/{address.database}"


class Server:
    """A private database server on a loopback port; `flavour` is mariadb or mysql."""

    def __init__(self, flavour: str, directory: Path) -> None:
        self.flavour = flavour
        self.port = free_port()
        self._data = directory / "data"
        self._socket = directory / "s"
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._names = (f"journal_{number}" for number in itertools.count())
        self._initialise()
        self.start()
        user = f"'tackybox'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'"
        self.as_root(f"CREATE USER {user}")

    def _initialise(self) -> None:
        if self.flavour == "mariadb":
            command = [
                "mariadb-install-db", "--no-defaults", f"--datadir={self._data}",
                "--auth-root-authentication-method=normal", "--skip-test-db",
                f"--user={getpass.getuser()}",
            ]  # fmt: skip
        else:
            command = [
                "mysqld", "--no-defaults", "--initialize-insecure", f"--datadir={self._data}",
                f"--user={getpass.getuser()}",
            ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    def start(self) -> None:
        program = "mariadbd" if self.flavour == "mariadb" else "mysqld"
        extra = [] if self.flavour == "mariadb" else ["--mysqlx=OFF", "--secure-file-priv="]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    shutil.which(program) or f"/usr/sbin/{program}", "--no-defaults",
                    f"--datadir={self._data}", f"--socket={self._socket}",
                    f"--port={self.port}", "--bind-address=127.0.0.1",
                    f"--pid-file={self._data}/pid", f"--user={getpass.getuser()}",
                    "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=2", *extra,
                ],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        deadline = time.monotonic() + _STARTUP_S
        while self._client("SELECT 1").returncode:
            assert time.monotonic() < deadline, self._log.read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, self._log.read_text(errors="replace")[-2000:]
            time.sleep(0.1)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(60)
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        freeze(self._process.pid)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    @property
    def is_frozen(self) -> bool:
        assert self._process is not None
        return is_frozen(self._process.pid)

    def _client(self, sql: str, *options: str) -> subprocess.CompletedProcess[str]:
        command = [
            "mariadb", "--no-defaults", f"--socket={self._socket}", "--user=root",
            "--default-character-set=utf8mb4", "--batch", "--skip-column-names", *options,
        ]  # fmt: skip
        return subprocess.run(
            command, input=sql, capture_output=True, text=True, check=False, timeout=60
        )

    def as_root(self, sql: str, *options: str) -> str:
        done = self._client(sql, *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def empty_database(self) -> MysqlAddress:
        name = next(self._names)
        self.as_root(f"CREATE DATABASE {name}; GRANT ALL ON {name}.* TO 'tackybox'@'127.0.0.1'")
        return MysqlAddress("127.0.0.1", self.port, "tackybox", PASSWORD, name)

    def load(self, address: MysqlAddress, path: Path = SCHEMA) -> str:
        """Load a schema file as an administrator does; what the client printed."""
        return self.as_root(path.read_text(), address.database)

    def database(self) -> MysqlAddress:
        address = self.empty_database()
        self.load(address)
        return address

    @contextmanager
    def session(self, address: MysqlAddress) -> Iterator[Callable[[str], None]]:
        """Runs scripts as the ordinary user; an error of any statement in it is raised."""
        connection = pymysql.connect(
            host=address.host, port=address.port, user=address.user,
            password=address.password.encode(), database=address.database, charset="utf8mb4",
            client_flag=CLIENT.MULTI_STATEMENTS,
        )  # fmt: skip

        def run_script(sql: str) -> None:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                while cursor.nextset():
                    pass

        with contextlib.closing(connection):
            yield run_script

    def query(self, address: MysqlAddress, sql: str) -> list[list[str]]:
        return [line.split("\t") for line in self.as_root(sql, address.database).splitlines()]


def _missing(flavour: str) -> str:
    needed = {"mariadb": ["mariadbd", "mariadb-install-db", "mariadb"], "mysql": ["mysqld"]}
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    if not all(shutil.which(program, path=path) for program in needed[flavour]):
        how = {"mariadb": "apt-get install mariadb-server", "mysql": "make test-containers"}
        return how[flavour]
    if flavour == "mysql":
        version = subprocess.run(
            [shutil.which("mysqld", path=path) or "mysqld", "--version"],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        if "MariaDB" in version or "Ver" not in version:
            return "mysqld on PATH is not Oracle's; make test-containers has it"
    return ""
