"""A tool of one's own in each language: the folder, the language's real toolchain, the folder's tests in the sandbox,
and a server that answers with it. The lines are those of docs/authoring.md, but that toolchains come from the folders
the suite has already (nothing is installed here)."""

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

# A net under a hung process: compiling CPython takes a while on a busy machine.
PATIENCE_S = 600


def lacking(what):
    assert not os.environ.get("CI"), what
    pytest.skip(what)


def toolchain(language):
    built = os.environ.get("FRONTDESK_INTERPRETERS")
    if not built:
        lacking("FRONTDESK_INTERPRETERS names no folder of toolchains (providers/wasm/interpreters/build.sh)")
    return Path(built) / "toolchain" / language


# What a language's library does with the time and with chance, beside the template's own tools.
PYTHON = """
import datetime
import random
import secrets
import time


@tool("Draws lots.", {"type": "object"}, effect="none", risk="read")
def draw() -> dict[str, object]:
    return {"number": random.random(), "token": secrets.token_hex(8)}


@tool("Tells the time, and naps.", {"type": "object"}, effect="none", risk="read")
def now() -> dict[str, object]:
    began = time.monotonic()
    time.sleep(0.01)
    return {"now": datetime.datetime.now(datetime.timezone.utc).isoformat(), "napped": time.monotonic() - began >= 0.01}
"""
CASE = """
- tool: now
  now: 1767225600
  result: { now: "2026-01-01T00:00:00+00:00", napped: true }
"""


def python(folder, env):
    env["PATH"] = f"{toolchain('python') / 'bin'}:{env['PATH']}"
    for file, more in [("tool.py", PYTHON), ("tests.yaml", CASE)]:
        with (folder / file).open("a") as text:
            text.write(more)


def javascript(folder, env):
    (folder / "node_modules" / ".bin").mkdir(parents=True)
    link(folder, toolchain("javascript") / "node_modules", "componentize-qjs", "bin/componentize-qjs")


def typescript(folder, env):
    javascript(folder, env)
    if not (node := os.environ.get("FRONTDESK_NODE")):
        lacking("FRONTDESK_NODE names no folder with the packages of tests/conformance/node")
    link(folder, Path(node) / "node_modules", "typescript", "bin/tsc")


def link(folder, packages, name, program):
    (folder / "node_modules" / name).symlink_to(packages / name)
    (folder / "node_modules" / ".bin" / Path(program).name).symlink_to(packages / name / program)


def rust(folder, env):
    # Its first build reads crates that were fetched before (tests/run.sh does), and needs the target or a library for it.
    if not os.environ.get("FRONTDESK_AUTHORING_RUST"):
        lacking("FRONTDESK_AUTHORING_RUST is not set: Rust for tools, and the crates of the template, were not fetched")
    if guest := os.environ.get("FRONTDESK_GUEST"):
        linker = "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER"
        env |= {"RUSTC": f"{guest}/rustc", "RUSTC_BOOTSTRAP": "1", "CARGO_UNSTABLE_BUILD_STD": "std,panic_abort", linker: f"{guest}/wasm-ld"}


LANGUAGES = {"python": python, "js": javascript, "ts": typescript, "rust": rust}


@pytest.mark.parametrize("language", LANGUAGES)
def test_from_nothing_to_a_published_tool(language, frontdesk, tmp_path):
    name = f"orders-{language}"
    folder = tmp_path / name
    env = {**os.environ, "FRONTDESK_URL": frontdesk.url, "FRONTDESK_API_KEY": frontdesk.key}

    def tool(*arguments, at=folder):
        command = [os.environ["FRONTDESK_BIN"], "tool", *arguments]
        ran = subprocess.run(command, cwd=at, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    tool("new", "--lang", language, name, at=tmp_path)
    LANGUAGES[language](folder, env)
    # Beside what the world says, its runtime's own.
    wasi = ", wasi" if language == "python" else ""
    assert tool("build").endswith(f"asks for log, fetch{wasi}\n")
    tested = tool("test")
    cases = 7 if language == "python" else 6
    assert f"{cases} passed, 0 failed" in tested and "log info: the carrier answered 200 for PX-481" in tested, tested
    assert tested.count(f"used log, fetch{wasi})") == 2 and tested.count(f"used fetch{wasi})") == 1, tested
    tool("push", "--grant", "log", "--grant", "fetch")

    def invoke(tool_name, **kwargs):
        answer = frontdesk.http.post("/v1/tool-runtime/invoke", json={"tool_name": f"{name}/{tool_name}", "kwargs": kwargs})
        assert answer.status_code == 200, answer.text
        return answer.json()

    found = invoke("order_status", order_number="48213")
    assert json.loads(found["content"]) == {"order_number": "48213", "status": "shipped", "parcel": "PX-481"}
    assert "no order has the number 1" in invoke("order_status", order_number="1")["error_message"]
    if language != "python":
        return
    lots = [json.loads(invoke("draw")["content"]) for _ in range(3)]
    for what in ("number", "token"):
        assert len({lot[what] for lot in lots}) == 3, lots
    told = json.loads(invoke("now")["content"])
    assert told["napped"] and abs(datetime.now(UTC) - datetime.fromisoformat(told["now"])) < timedelta(hours=1), told
