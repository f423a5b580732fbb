"""A proxy in the environment is not the way out: what tools, models and MCP servers are asked is looked up and judged by this
process, and a proxy would be asked unjudged, with whatever secret goes along."""

import socket
import sys
import threading

import httpx
import pytest

from test_tool_kinds import MCP_SERVER, ROOT, echo, register, upload  # noqa: F401 (a fixture)


class Listener:
    """Takes connections, keeps what each sent first, and closes them."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.at = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.heard = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                # Counted even where nothing is ever sent.
                self.heard.append(b"")
                connection.settimeout(30)
                try:
                    self.heard[-1] = connection.recv(64)
                except OSError:
                    pass

    def stop(self):
        self.socket.close()


@pytest.fixture
def listener():
    started = []

    def start():
        started.append(Listener())
        return started[-1]

    yield start
    for one in started:
        one.stop()


def test_nothing_goes_out_through_a_proxy_of_the_environment(
    another_frontdesk, scripted_server, echo, listener, program, monkeypatch  # noqa: F811
):
    trap, tls = listener(), listener()
    for name in ["http_proxy", "https_proxy", "all_proxy"]:
        monkeypatch.setenv(name, f"http://{trap.at}")
        monkeypatch.setenv(name.upper(), f"http://{trap.at}")
    for name in ["no_proxy", "NO_PROXY"]:
        monkeypatch.delenv(name, raising=False)
    remote = program(sys.executable, MCP_SERVER, 0, "stream")
    up = f'{{ id: up, type: openai, config: {{ base_url: "{scripted_server.url}/v1", models: [scripted] }} }}'
    desk = another_frontdesk(up, inside=["127.0.0.1"], tools=[
        "{ id: wasm, type: wasm }",
        "{ id: openapi, type: openapi }",
        '{ id: mcp, type: mcp, config: { inside: ["127.0.0.1"] } }',
    ])  # fmt: skip
    hosts = [echo.url, f"https://{tls.at}"]
    secret = desk.http.post("/v1/secrets", json={"name": "crm", "value": "s3cr3t-of-the-shop", "hosts": hosts})
    assert secret.status_code == 201, secret.text
    page = upload(desk, "page.wasm", (ROOT / "tests/fixtures/tools/page.wasm").read_bytes())
    register(desk, "pages", "wasm", args={"component": page, "grants": ["fetch"], "hosts": hosts, "secrets": ["crm"]})
    register(desk, "crm", "openapi", args={"curl": f"curl '{echo.url}/v1/orders'"})
    register(desk, "remote", "mcp", mcp_endpoint={"uri": remote.url}, args={"allowed_tools": ["look"]})

    def ask(tool, **arguments):
        answer = desk.http.post("/v1/tool-runtime/invoke", json={"tool_name": tool, "kwargs": arguments})
        assert answer.is_success, answer.text
        return answer.json()

    assert "GET /page?a=1" in ask("page", u=f"{echo.url}/page?a=1")["content"]
    assert "GET /v1/orders" in ask("get_v1_orders")["content"]
    assert "shipped" in str(ask("look", id="7")["content"])
    # Nobody there speaks TLS; that it was begun there, and not at the proxy by a CONNECT, is what counts.
    assert ask("page", u=f"https://{tls.at}/")["error_message"]
    assert [heard[:1] for heard in tls.heard] == [b"\x16"]
    scripted_server.reset()
    scripted_server.script([{"reply": {"text": "hello"}}])
    chat = desk.http.post("/v1/chat/completions", json={"model": "up/scripted", "messages": [{"role": "user", "content": "hi"}]})
    assert chat.json()["choices"][0]["message"]["content"] == "hello", chat.text
    assert trap.heard == []
    # A client that minds the variables does end there.
    with pytest.raises(httpx.HTTPError):
        httpx.get(echo.url, trust_env=True, timeout=30)
    assert len(trap.heard) == 1
