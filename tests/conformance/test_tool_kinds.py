"""One agent calls a tool of each kind in one turn: components, the code interpreter, an OpenAPI document, a pasted curl
command, MCP over HTTP and as a program, a web search, a component's own request. The model is scripted, all else is real."""

import json
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from web import Echo, Server

ROOT = Path(__file__).parents[2]
MCP_SERVER = Path(__file__).parent / "mcp_server.py"
SECRET = "s3cr3t/with\"odd+characters"


@pytest.fixture
def echo():
    server = Server(Echo)
    yield server
    server.stop()


@pytest.fixture
def desk(another_frontdesk, scripted_server, echo):
    if not os.environ.get("FRONTDESK_INTERPRETERS"):
        assert not os.environ.get("CI"), "FRONTDESK_INTERPRETERS names no folder of built interpreters"
        pytest.skip("FRONTDESK_INTERPRETERS names no folder of built interpreters (providers/wasm/interpreters/build.sh)")
    up = f'{{ id: up, type: openai, config: {{ base_url: "{scripted_server.url}/v1", models: [scripted] }} }}'
    program = f'{{ name: shop, command: "{sys.executable}", args: ["{MCP_SERVER}", "0", stdio] }}'
    return another_frontdesk(up, inside=["127.0.0.1"], tools=[
        "{ id: wasm, type: wasm }",
        "{ id: code_interpreter, type: code_interpreter }",
        "{ id: openapi, type: openapi }",
        f'{{ id: search, type: searxng, config: {{ base_url: "{echo.url}" }} }}',
        f'{{ id: mcp, type: mcp, config: {{ inside: ["127.0.0.1"], stdio: [{program}] }} }}',
    ])  # fmt: skip


def upload(desk, name, content):
    answer = desk.http.post("/v1/files", files={"file": (name, content)}, data={"purpose": "assistants"})
    assert answer.is_success, answer.text
    return answer.json()["id"]


def register(desk, group, provider, **more):
    answer = desk.http.post("/v1/toolgroups", json={"toolgroup_id": group, "provider_id": provider, **more})
    assert answer.is_success, answer.text


def document(url):
    item = {"parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}], "get": {"operationId": "getContact"}}
    return {"openapi": "3.1.0", "info": {"title": "CRM", "version": "1"}, "servers": [{"url": url}], "paths": {"/contacts/{id}": item}}


def test_an_agent_calls_a_tool_of_each_kind(desk, echo, scripted_server, program):
    http = program(sys.executable, MCP_SERVER, 0, "stream")
    answer = desk.http.post("/v1/secrets", json={"name": "crm", "value": SECRET, "hosts": [echo.url]})
    assert answer.status_code == 201, answer.text
    shop = upload(desk, "shop-tools.wasm", (ROOT / "services/gateway/demo/tools/shop-tools.wasm").read_bytes())
    page = upload(desk, "page.wasm", (ROOT / "tests/fixtures/tools/page.wasm").read_bytes())
    register(desk, "shop", "wasm", args={"component": shop, "grants": ["kv"]})
    register(desk, "pages", "wasm", args={"component": page, "grants": ["fetch"], "hosts": [echo.url], "secrets": ["crm"]})
    register(desk, "crm", "openapi", args={"document": document(echo.url)})
    command = f"curl -X PUT '{echo.url}/v1/orders/7' -H 'Content-Type: application/json' -d '{{\"note\": \"x\"}}'"
    register(desk, "pasted", "openapi", args={"curl": command})
    register(desk, "remote", "mcp", mcp_endpoint={"uri": http.url}, args={"allowed_tools": ["look"]})
    register(desk, "local", "mcp", mcp_endpoint={"uri": "stdio:shop"}, args={"allowed_tools": ["orders.count"]})

    escaped = echo.url.replace("http", r"\u0068ttp").replace("/", r"\/")
    calls = [
        ("lookup_order", {"order_id": "48213"}, "order 48213 not found"),
        ("code_interpreter", {"code": "print(6 * 7)"}, "42"),
        ("getContact", {"id": "a/b"}, "GET /contacts/a%2Fb"),
        ("put_v1_orders_7", {"body": {"note": "broken"}}, "PUT /v1/orders/7"),
        ("look", {"id": "7"}, "shipped"),
        ("orders_count", {}, "7"),
        ("web_search", {"query": "lamps"}, "https://lamps.example/"),
        # As a model may well write an address; what is asked is what it means.
        ("page", rf'{{"u":"{escaped}\/page?a=1"}}', "GET /page?a=1"),
        ("page", r'{"u":"http:\/\/\u0031\u0030.0.0.1/"}', "not a host that this tool may ask"),
        ("page", {"u": f"http://evil.example@{echo.url.removeprefix('http://')}/"}, "user name"),
    ]
    scripted_server.reset()
    scripted_server.script([
        *({"reply": {"tool_call": {"name": name, "arguments": arguments}}} for name, arguments, _ in calls),
        {"reply": {"text": "all there"}},
    ])  # fmt: skip
    groups = ["shop", "pages", "crm", "pasted", "remote", "local", "builtin::websearch", "builtin::code_interpreter"]
    config = {"model": "up/scripted", "instructions": "", "toolgroups": groups, "max_infer_iters": len(calls) + 1}
    agent = desk.http.post("/v1/agents", json={"agent_config": config}).json()["agent_id"]
    session = desk.http.post(f"/v1/agents/{agent}/session", json={"session_name": "s"}).json()["session_id"]
    path = f"/v1/agents/{agent}/session/{session}/turn"
    turn = desk.http.post(path, json={"messages": [{"role": "user", "content": "go round"}]}, timeout=300)
    assert turn.is_success, turn.text
    turn = turn.json()
    assert turn["output_message"]["content"] == "all there", turn
    steps = [step for step in turn["steps"] if step["step_type"] == "tool_execution"]
    results = [str(step["tool_responses"][0]["content"]) for step in steps]
    assert len(results) == len(calls)
    for (name, _, expected), result in zip(calls, results, strict=True):
        assert expected in result, f"{name}: {result}"
    # Every result was told to the model, and is what the rows hold.
    told = json.loads(scripted_server.requests()[-1]["body"])["messages"]
    assert len([m for m in told if m["role"] == "tool"]) == len(calls)
    assert desk.http.get(f"{path}/{turn['turn_id']}").json()["steps"] == turn["steps"]
    # What was sent with a secret came back without it; nothing went where it may not.
    assert "[secret crm]" in results[7]
    everything = json.dumps(turn) + json.dumps(scripted_server.requests())
    assert not any(part in everything for part in [SECRET, "s3cr3t", "odd+characters"])
    assert [asked for asked, _ in echo.asked] == ["GET", "PUT", "GET", "GET"], echo.asked


def test_a_tool_that_asks_a_server_which_never_answers_ends_by_its_wall_time_and_holds_nobody_up(another_frontdesk, scripted_server, echo):
    up = f'{{ id: up, type: openai, config: {{ base_url: "{scripted_server.url}/v1", models: [scripted] }} }}'
    desk = another_frontdesk(up, inside=["127.0.0.1"], tools=["{ id: wasm, type: wasm, config: { wall_ms: 8000 } }", "{ id: openapi, type: openapi }"])
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor() as beside:
        silent_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        answer = desk.http.post("/v1/secrets", json={"name": "crm", "value": SECRET, "hosts": [silent_url]})
        assert answer.status_code == 201, answer.text
        page = upload(desk, "page.wasm", (ROOT / "tests/fixtures/tools/page.wasm").read_bytes())
        register(desk, "pages", "wasm", args={"component": page, "grants": ["fetch"], "hosts": [silent_url], "secrets": ["crm"]})
        register(desk, "crm", "openapi", args={"document": document(echo.url)})
        scripted_server.reset()
        scripted_server.script([{"reply": {"tool_call": {"name": "page", "arguments": {"u": silent_url}}}}, {"reply": {"text": "nobody there"}}])
        config = {"model": "up/scripted", "instructions": "", "toolgroups": ["pages"]}
        agent = desk.http.post("/v1/agents", json={"agent_config": config}).json()["agent_id"]
        session = desk.http.post(f"/v1/agents/{agent}/session", json={"session_name": "s"}).json()["session_id"]
        asked = {"messages": [{"role": "user", "content": "go"}]}
        turn = beside.submit(desk.http.post, f"/v1/agents/{agent}/session/{session}/turn", json=asked)
        # The tool is in the middle of its call, and stays there, while another is answered.
        waiting, _ = silent.accept()
        other = desk.http.post("/v1/tool-runtime/invoke", json={"tool_name": "getContact", "kwargs": {"id": "7"}})
        assert "GET /contacts/7" in other.json()["content"] and not turn.done()
        turn = turn.result().json()
        waiting.close()
    assert turn["output_message"]["content"] == "nobody there", turn
    (step,) = [step for step in turn["steps"] if step["step_type"] == "tool_execution"]
    assert "wall time limit of 8000 ms" in step["tool_responses"][0]["content"], step
