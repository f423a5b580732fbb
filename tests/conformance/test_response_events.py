"""Every event that a response of ours can be told by: made, judged by the official packages for Python and for Node, and read
again from behind every number.

The list is the encoder's own (`encoded`), so an event that it learns and that no scene here makes fails the suite.
"""

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from response_stream import checked, frames, stream_of
from test_responses_mcp import PROVIDER, SERVER
from test_responses_web import LAMPS, SEARCHES, engine  # noqa: F401 (a fixture)

MODEL = "up/scripted"
ENCODER = Path(__file__).parents[2] / "services" / "wire" / "src" / "openai" / "responses"
LOOK = {"type": "function", "name": "look", "strict": True, "parameters": {"type": "object", "properties": {"id": {"type": "string"}}}}
SCHEMA = {"type": "json_schema", "name": "a", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}
INCLUDE = ["file_search_call.results", "web_search_call.action.sources", "code_interpreter_call.outputs"]
REFUSED = {"status": 400, "json": {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}}}
PATIENCE_S = 120


def encoded():
    """The names that the encoder writes events under."""
    files = [ENCODER / "stream.rs", *(ENCODER / "stream").glob("*.rs")]
    others = [path for path in ENCODER.glob("*.rs") if path not in files]
    assert not [path.name for path in others if ".tell(" in path.read_text()], "events are written in one place"
    names = set()
    for path in files:
        if path.name != "tests.rs":
            names |= set(re.findall(r'"(response\.[a-z_.]+|error)"', path.read_text()))
    return names


@pytest.fixture(scope="module")
def desk(another_frontdesk, scripted_server, engine):  # noqa: F811
    up = f'{{ id: up, type: openai, config: {{ base_url: "{scripted_server.url}/v1", models: [scripted] }} }}'
    tools = [
        f'{{ id: search, type: searxng, config: {{ base_url: "{engine.url}" }} }}',
        f'{{ id: {PROVIDER}, type: mcp, config: {{ inside: ["127.0.0.1"], timeout_s: 30, request_servers: true }} }}',
        "{ id: code, type: code_interpreter }",
    ]
    return another_frontdesk(up, tools=tools)


@pytest.fixture(scope="module")
def pages(desk):
    upload = desk.http.post("/v1/files", files={"file": ("returns.md", b"# Returns\n\nReturns are free within 30 days.")}, data={"purpose": "assistants"})
    return desk.http.post("/v1/vector_stores", json={"name": "pages", "file_ids": [upload.json()["id"]]}).json()["id"]


def calls(name, arguments, **more):
    return {"tool_call": {"name": name, "arguments": arguments}, **more}


@pytest.fixture(scope="module")
def scenes(pages, program):
    """What is asked, and what the model answers, by what it is about."""
    server = program(sys.executable, SERVER, 0, "stream").url
    mcp = {"type": "mcp", "server_label": "shop", "server_url": server, "require_approval": "never"}
    scenes = {
        "words": ({"metadata": {"a": "b"}}, [{"text": "It is on its way.", "reasoning": "Let me see.", "piece": 4}]),
        "a summary": ({"reasoning": {"summary": "auto"}}, [{"text": "It is on its way.", "reasoning": "Let me see.", "piece": 4}]),
        "a form": ({"text": {"format": SCHEMA}}, [{"text": '{"a":1}'}]),
        "a refusal": ({}, [{"refusal": "I will not help with that.", "piece": 5}]),
        "functions": ({"tools": [LOOK]}, [{"tool_calls": [{"name": "look", "arguments": {"id": n}} for n in "78"], "argument_piece": 3}]),
        "a file": (
            {"input": "Are returns free?", "tools": [{"type": "file_search", "vector_store_ids": [pages]}]},
            [{"text": "Free within 30 days [1]."}],
        ),
        "the web": ({"tools": [{"type": "web_search"}]}, [SEARCHES, {"text": f"See {LAMPS['url']}."}]),
        "a server": ({"tools": [mcp]}, [calls("look", {"id": "7"}, argument_piece=3), calls("broken", {}), {"text": "It does not work."}]),
        "no server": ({"tools": [{**mcp, "server_url": "http://127.0.0.1:9/mcp"}]}, [{"text": "Without it."}]),
        "a word": ({"tools": [{**mcp, "require_approval": "always"}]}, [calls("look", {"id": "7"})]),
        "a limit": ({"max_output_tokens": 16}, [{"text": "one two three", "finish_reason": "length"}]),
        "a failure": ({}, [REFUSED]),
        "the background": ({"background": True}, [{"text": "later"}]),
    }
    if os.environ.get("FRONTDESK_INTERPRETERS"):
        scenes["code"] = ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, [calls("code_interpreter", {"code": "6 * 7"}), {"text": "42"}])
    else:
        assert not os.environ.get("CI"), "FRONTDESK_INTERPRETERS names no folder of built interpreters"
    return scenes


@pytest.fixture(scope="module")
def told(desk, scripted_server, scenes):
    """The events of each scene, as they came."""
    told = {}
    for name, (asked, replies) in scenes.items():
        scripted_server.reset()
        scripted_server.script([{"reply": reply} for reply in replies])
        asked = {"model": MODEL, "input": "hello", "include": INCLUDE, "stream": True, **asked}
        told[name] = stream_of(desk, "/v1/responses", "POST", json=asked)
    told["a call as it is written"] = written(desk, scripted_server, scenes["a server"][0])
    told["rows that cannot be read"] = lost(desk, scripted_server)
    return told


def opened(desk, name, then, **asked):
    """The events of a response; `then` is done behind the first of this name."""
    text, done = "", False
    with desk.http.stream("POST", "/v1/responses", json={"model": MODEL, "input": "hello", "stream": True, **asked}) as response:
        for piece in response.iter_text():
            text += piece
            if not done and f"event: {name}\n" in text:
                done = True
                then()
    assert done, text
    return checked(text)


def written(desk, scripted_server, asked):
    """A call that is made here, of which the first piece is shown before the second is written."""
    scripted_server.reset()
    look = calls("look", {"id": "7"}, argument_piece=6, gates={"more": 3})
    scripted_server.script([{"reply": look}, {"reply": {"text": "It is on its way."}}])

    def then():
        # The upstream stands at its gate.
        scripted_server.waiting("more")
        scripted_server.release("more")

    name = "response.mcp_call_arguments.delta"
    seen = opened(desk, name, then, **asked)
    assert [data["delta"] for event, _, data in seen if event == name] == ['{"id":', '"7"}']
    return seen


def lost(desk, scripted_server):
    """A stream whose rows are taken away under it, and put back."""
    scripted_server.reset()
    scripted_server.script([{"reply": {"text": "one two", "gates": {"hold": 2}}}])
    rows = sqlite3.connect(desk.home / "data" / "frontdesk.db", isolation_level=None, timeout=PATIENCE_S)

    def then():
        scripted_server.waiting("hold")
        rows.execute("ALTER TABLE event RENAME TO away")
        scripted_server.release("hold")

    seen = opened(desk, "response.output_text.delta", then)
    rows.execute("ALTER TABLE away RENAME TO event")
    rows.close()
    assert seen[-1][0] == "error"
    return seen


def test_every_event_that_can_be_told_is_openais(told):
    names = {name for seen in told.values() for name, _, _ in seen}
    missing = {name for name in encoded() if "code" in told or "code_interpreter" not in name} - names
    assert missing == set(), "no scene makes these"
    assert names - encoded() == set()


def test_from_behind_every_number_the_same_bytes_come(desk, told):
    for scene, seen in told.items():
        if seen[-1][0] == "error":
            continue
        response = seen[-1][2]["response"]["id"]
        path = f"/v1/responses/{response}?stream=true" + "".join(f"&include={word}" for word in INCLUDE)
        whole = desk.http.get(path).text
        assert list(frames(whole)) == seen, scene
        blocks = [f"{block}\n\n" for block in whole.split("\n\n")[:-1]]
        for after in range(len(seen)):
            assert desk.http.get(f"{path}&starting_after={after}").text == "".join(blocks[after + 1 :]), (scene, after)


@pytest.mark.parametrize("package", ["openai", "llama_stack_client"])
def test_what_is_sent_in_silence_is_no_event_to_a_client_that_remembers_an_id(package):
    decoder = pytest.importorskip(f"{package}._streaming").SSEDecoder()
    turns = (ENCODER.parents[3] / "gateway" / "src" / "http" / "turns" / "mod.rs").read_text()
    (comment,) = re.findall(r'STILL_HERE: Bytes = Bytes::from_static\(b"(.*)"\);', turns)
    said = [b'id: 1\ndata: {"a":1}\n\n', comment.encode().decode("unicode_escape").encode(), b'id: 2\ndata: {"a":2}\n\n']
    assert [event.json() for event in decoder.iter_bytes(iter(said))] == [{"a": 1}, {"a": 2}]
    # It is the empty line behind a comment that is taken for one.
    said[1] += b"\n"
    assert [event.data for event in type(decoder)().iter_bytes(iter(said))][1] == ""


def compiled(packages, home, values):
    """What the compiler says where each event stands as a literal of the package's type: nothing where all fit it, members
    that the type does not have included."""
    home.mkdir()
    (home / "node_modules").symlink_to(Path(packages, "node_modules"))
    lines = "".join(f"  {json.dumps(value)},\n" for value in values)
    imported = 'import type { ResponseStreamEvent } from "openai/resources/responses/responses";\n'
    (home / "seen.ts").write_text(f"{imported}export const seen: ResponseStreamEvent[] = [\n{lines}];\n")
    options = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--skipLibCheck", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"]
    tsc = Path(packages, "node_modules", "typescript", "bin", "tsc")
    return subprocess.run(["node", str(tsc), *options, "seen.ts"], cwd=home, text=True, capture_output=True, timeout=PATIENCE_S).stdout


def as_declared(event):
    """Without what OpenAI's own API sends and this package does not declare: `usage` that is null while there is none,
    `store` and `max_tool_calls`, as they stand in the examples of OpenAI's reference, and the `error` of a call as an
    object, as the package for Python has it; with `output_text`, which it declares and makes itself."""
    event = json.loads(json.dumps(event))
    for item in [event.get("item", {}), *event.get("response", {}).get("output", [])]:
        if item.get("type") == "mcp_call" and item["error"]:
            item["error"] = item["error"]["content"][0]["text"]
    if response := event.get("response"):
        for name in ("max_tool_calls", "store"):
            response.pop(name, None)
        response["output_text"] = ""
        if response["usage"] is None:
            del response["usage"]
    return event


def test_every_event_that_can_be_told_is_declared_by_the_package_for_node(told, packages, tmp_path):
    if not Path(packages, "node_modules", "typescript").is_dir():
        why = "no TypeScript beside the client (tests/run.sh puts it there)"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    events = [as_declared(data) for seen in told.values() for _, _, data in seen]
    assert compiled(packages, tmp_path / "all", events) == ""
    # The compiler does look: an event with a member too many, and one with one too few.
    for number, wrong in enumerate([{**events[0], "more": 1}, {k: v for k, v in events[-1].items() if k != "sequence_number"}]):
        assert "error TS" in compiled(packages, tmp_path / str(number), [wrong])
