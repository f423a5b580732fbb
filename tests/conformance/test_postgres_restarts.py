"""A PostgreSQL that crashes under load, of a size that a suite can bear; tests/bench/restarts.py runs it for long."""

import importlib.util
import sys
import time
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"
CRASHES = 4
PARALLEL = 8


@pytest.fixture
def restarts():
    spec = importlib.util.spec_from_file_location("restarts", BENCH / "restarts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_acknowledgement_is_lost_and_every_turn_ends(restarts, scripted_server, scripted, another_frontdesk, tmp_path_factory):
    # The user that PostgreSQL runs as must be able to enter its parents.
    folder = tmp_path_factory.mktemp("crashes")
    # Up to pytest's own folder and no further: what lies above is somebody's.
    parents = [folder, *folder.parents]
    last = next((i for i, parent in enumerate(parents) if parent.name.startswith("pytest-of-")), 1)
    for parent in parents[: last + 1]:
        parent.chmod(parent.stat().st_mode | 0o055)
    postgres = sys.modules["postgres"]
    url, ledger = postgres.start(folder / "postgres", durable=True), restarts.Ledger()
    try:
        restarts.script(scripted)
        frontdesk = another_frontdesk(restarts.provider(scripted_server), database=url, **restarts.TOOLING)

        def some_turns(clients):
            """Until each client but one has got on by a turn: work is under way when it crashes."""
            before = [len(client.turns) for client in clients]
            end = time.monotonic() + restarts.PATIENCE_S
            while sum(len(c.turns) > b for c, b in zip(clients, before, strict=True)) < PARALLEL - 1:
                assert time.monotonic() < end and all(c.wrong is None for c in clients), [c.wrong for c in clients]
                time.sleep(0.01)

        went = restarts.run(frontdesk, ledger, folder / "postgres", url, PARALLEL, lambda crashes, _: crashes == CRASHES, some_turns, again=10)
        assert went["turns"] >= CRASHES * (PARALLEL - 1), went
        assert went["asked_again"] > 0, f"no crash was felt: {went}"
        assert went["effects"]["once"] > 0 and went["behind_every_number"] > 10, went
        frontdesk.program.stop()
    finally:
        ledger.stop()
        postgres.stop(folder / "postgres")
