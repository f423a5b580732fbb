"""Agents call tools out of OpenAPI documents, and a server on loopback receives the very requests that the documents say:
one call at least of each hand-made document, one for each hard feature (providers/openapi/tests/requests.json), and of real
ones (real.json). The same files are what the unit tests hold requests against before they are sent."""

import base64
import json
import os
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from web import Server, Serving

HERE = Path(__file__).parents[2] / "providers/openapi/tests"
# What belongs to the connection and not to the call.
CONNECTION = {"host", "content-length", "accept-encoding", "user-agent"}
# With characters that a query and a cookie escape and a header does not.
SECRETS = {name: f"s3cr3t/{name}+" for name in "k1 k2 k3 k4 crm_token stripe box sendgrid xero figma".split()}
SECRETS |= {name: f"user-{name}:p4ssw0rd/{name}" for name in ["k5", "twilio"]}


class Told(Serving):
    """Takes down what arrives, byte by byte."""

    def do_GET(self):
        self.server.asked.append((f"{self.command} {self.path}", self.headers.items(), self.body()))
        self.say({"ok": len(self.server.asked)})

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET


@pytest.fixture(scope="module")
def server():
    server = Server(Told)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def desk(another_frontdesk, scripted_server, server):
    up = f'{{ id: up, type: openai, config: {{ base_url: "{scripted_server.url}/v1", models: [scripted] }} }}'
    desk = another_frontdesk(up, inside=["127.0.0.1"], tools=["{ id: openapi, type: openapi }"])
    for name, value in SECRETS.items():
        answer = desk.http.post("/v1/secrets", json={"name": name, "value": value, "hosts": [server.url]})
        assert answer.status_code == 201, answer.text
    return desk


def turn(desk, scripted, group, calls):
    """A turn that calls these tools one after the other: what each came to."""
    scripted.script([
        *({"reply": {"tool_call": {"name": call["tool"], "arguments": call["arguments"]}}} for call in calls),
        {"reply": {"text": "all there"}},
    ])  # fmt: skip
    config = {"model": "up/scripted", "instructions": "", "toolgroups": [group], "max_infer_iters": len(calls) + 1}
    agent = desk.http.post("/v1/agents", json={"agent_config": config})
    assert agent.is_success, agent.text
    path = f"/v1/agents/{agent.json()['agent_id']}/session"
    session = desk.http.post(path, json={"session_name": "s"}).json()["session_id"]
    answer = desk.http.post(f"{path}/{session}/turn", json={"messages": [{"role": "user", "content": "go"}]})
    assert answer.is_success, answer.text
    turn = answer.json()
    assert turn["output_message"]["content"] == "all there", turn
    assert "s3cr3t" not in answer.text and "p4ssw0rd" not in answer.text
    steps = [step for step in turn["steps"] if step["step_type"] == "tool_execution"]
    return [(step["tool_calls"][0], step["tool_responses"][0]["content"]) for step in steps]


def expected(call, received):
    """The request line, the headers and the body of a golden request, with this call's secrets, key and boundary."""
    where, heads = call["request"][0].split(" ", 1), call["request"][1:]
    line = re.sub(r"<(\w+)>", lambda name: quote(SECRETS[name[1]], safe=""), f"{where[0]} /desk{where[1]}")
    if key := received.get("Idempotency-Key"):
        heads = [head.replace("{key}", key) for head in heads]
    boundary = received.get("Content-Type", "").partition("boundary=")[2]
    heads = [head.replace("{boundary}", boundary) for head in heads]
    spelt = lambda head: (lambda text: quote(text, safe="")) if head.startswith("Cookie") else str  # noqa: E731
    heads = [re.sub(r"<(\w+)>", lambda name: spelt(head)(SECRETS[name[1]]), head) for head in heads]
    packed = lambda name: base64.b64encode(SECRETS[name[1]].encode()).decode()  # noqa: E731
    heads = [re.sub(r"<(\w+) in base64>", packed, head) for head in heads]
    return line, sorted(heads), call.get("body", "").replace("{boundary}", boundary).encode("latin-1")


def held_against(desk, server, scripted, folder, calls):
    """Registers each document with its args, the server in place of its own, and calls what is to be called of it."""
    groups = {}
    for call in calls:
        groups.setdefault((call["document"], json.dumps(call.get("args", {}))), []).append(call)
    keys = set()
    for number, ((document, args), calls) in enumerate(groups.items()):
        group = f"group{number}"
        upload = desk.http.post("/v1/files", files={"file": (Path(document).name, (folder / document).read_bytes())}, data={"purpose": "assistants"})
        assert upload.is_success, f"{document}: {upload.text}"
        args = {**json.loads(args), "file_id": upload.json()["id"], "base_url": f"{server.url}/desk"}
        # A DELETE waits for a person unless the operator says otherwise.
        tools = {call["tool"]: {"risk": "low_impact_write"} for call in calls if call["request"][0].startswith("DELETE ")}
        answer = desk.http.post("/v1/toolgroups", json={"toolgroup_id": group, "provider_id": "openapi", "args": args, "tools": tools})
        assert answer.is_success, f"{document}: {answer.text}"
        server.asked.clear()
        results = turn(desk, scripted, group, calls)
        assert [result for _, result in results] == [f'{{"ok":{n + 1}}}' for n in range(len(calls))], f"{document}: {results}"
        assert len(server.asked) == len(calls), server.asked
        for call, (line, headers, body) in zip(calls, server.asked, strict=True):
            # Names of headers have no case.
            wanted = {head.partition(":")[0].lower(): head.partition(":")[0] for head in call["request"][1:]}
            received = {wanted.get(name.lower(), name): value for name, value in headers if name.lower() not in CONNECTION}
            heads = sorted(f"{name}: {value}" for name, value in received.items())
            assert (line, heads, body) == expected(call, received), f"{document} {call['tool']}"
            if key := received.get("Idempotency-Key"):
                assert key.strip() and key not in keys, key
                keys.add(key)
        assert desk.http.delete(f"/v1/toolgroups/{group}").is_success
    return len(groups)


def test_a_call_of_each_hard_feature_arrives_as_its_document_says(desk, server, scripted):
    calls = json.loads((HERE / "requests.json").read_text())
    assert {call["document"] for call in calls} == {path.name for path in (HERE / "documents").iterdir()}
    held_against(desk, server, scripted, HERE / "documents", calls)


def test_calls_of_real_documents_arrive_as_their_vendors_show(desk, server, scripted):
    folder = Path(os.environ.get("FRONTDESK_DOCUMENTS", "/nowhere"))
    if not (folder / "documents.txt").is_file():
        assert not os.environ.get("CI"), "FRONTDESK_DOCUMENTS names no folder of documents"
        pytest.skip("FRONTDESK_DOCUMENTS names no folder of documents (tests/run.sh fetches them)")
    held_against(desk, server, scripted, folder, json.loads((HERE / "real.json").read_text()))
