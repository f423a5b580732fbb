"""The protocol's own conformance suite (npm `@modelcontextprotocol/conformance`), for what we are as a client and as a server.

Every scenario runs by itself; those that cannot pass stand here with the reason, and one that passes though it stands here
fails, so that the list stays true. As a server Frontdesk shows the tools of a registered MCP server (mcp_server.py), so the
suite's calls of tools go through both halves.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

HERE = Path(__file__).parent
PATIENCE_S = 60

TOOLS_ONLY = "the server has tools, and no resources, prompts, logging or completion"
NOBODY = "a server is not asked back: nobody there could be asked for a model's answer or a person's"
OTHER_ISSUER = "the suite's metadata at /tenant1 name an issuer without that path, which RFC 8414 (section 3.3) has a client refuse"

SERVER = {
    "server-initialize": None,
    "ping": None,
    "tools-list": None,
    "tools-call-simple-text": None,
    "tools-call-error": None,
    "tools-call-with-progress": None,
    "json-schema-2020-12": None,
    "tools-call-image": None,
    "tools-call-audio": None,
    "tools-call-embedded-resource": None,
    "tools-call-mixed-content": None,
    "tools-call-with-logging": "the log messages of a registered server are not passed on",
    "tools-call-sampling": NOBODY,
    "tools-call-elicitation": NOBODY,
    "elicitation-sep1034-defaults": NOBODY,
    "elicitation-sep1330-enums": NOBODY,
    # Passes with a warning where a server has no tool that cuts its stream off.
    "server-sse-polling": None,
    "server-sse-multiple-streams": "the scenario asks by revision 2025-03-26, which is not spoken here",
    "logging-set-level": TOOLS_ONLY,
    "completion-complete": TOOLS_ONLY,
    "resources-list": TOOLS_ONLY,
    "resources-read-text": TOOLS_ONLY,
    "resources-read-binary": TOOLS_ONLY,
    "resources-templates-read": TOOLS_ONLY,
    "resources-subscribe": TOOLS_ONLY,
    "resources-unsubscribe": TOOLS_ONLY,
    "prompts-list": TOOLS_ONLY,
    "prompts-get-simple": TOOLS_ONLY,
    "prompts-get-with-args": TOOLS_ONLY,
    "prompts-get-embedded-resource": TOOLS_ONLY,
    "prompts-get-with-image": TOOLS_ONLY,
}

CLIENT = {
    "initialize": None,
    "tools_call": None,
    "sse-retry": None,
    "elicitation-sep1034-client-defaults": None,
    **dict.fromkeys(
        (
            "auth/metadata-default", "auth/metadata-var1", "auth/basic-cimd",
            "auth/2025-03-26-oauth-metadata-backcompat", "auth/2025-03-26-oauth-endpoint-fallback",
            "auth/scope-from-www-authenticate", "auth/scope-from-scopes-supported", "auth/scope-omitted-when-undefined",
            "auth/scope-step-up", "auth/scope-retry-limit", "auth/token-endpoint-auth-basic", "auth/token-endpoint-auth-post",
            "auth/token-endpoint-auth-none", "auth/client-credentials-basic",
        ),
    ),
    "auth/metadata-var2": OTHER_ISSUER,
    "auth/metadata-var3": OTHER_ISSUER,
    "auth/client-credentials-jwt": "a client proves itself by a secret, and not by a signed assertion",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def suite():
    """How the suite is started, with what npm has put there (tests/run.sh)."""
    program = Path(os.environ.get("FRONTDESK_NODE", ""), "node_modules", "@modelcontextprotocol", "conformance", "dist", "index.js")
    if shutil.which("node") and program.is_file():
        return ["node", str(program)]
    why = "no Node.js with the protocol's conformance suite (tests/run.sh puts it into FRONTDESK_NODE)"
    return pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)


@pytest.fixture(scope="module")
def desk(another_frontdesk, scripted_server):
    up = f'{{ id: up, type: openai, config: {{ base_url: "{scripted_server.url}/v1", models: [scripted] }} }}'
    mcp = '{ id: model-context-protocol, type: mcp, config: { inside: ["127.0.0.1", "localhost"], timeout_s: 10 } }'
    return another_frontdesk(up, tools=[mcp], shown=["everything"])


@pytest.fixture(scope="module")
def front(desk, program):
    """`/mcp` without a key: the suite has no way to send one."""
    served = program(sys.executable, HERE / "mcp_server.py", 0, "stream")
    tools = ["test_simple_text", "test_error_handling", "test_tool_with_progress", "test_image_content", "test_audio_content", "test_embedded_resource", "test_multiple_content_types", "json_schema_2020_12_tool"]
    body = {"toolgroup_id": "everything", "provider_id": "model-context-protocol", "mcp_endpoint": {"uri": served.url}, "args": {"allowed_tools": tools}}
    assert desk.http.post("/v1/toolgroups", json=body).status_code == 200
    client = httpx.Client(base_url=desk.url, trust_env=False, timeout=PATIENCE_S)

    class Keyed(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def pass_on(self):
            sent = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "content-length", "accept-encoding")}
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            sent["authorization"] = f"Bearer {desk.key}"
            with client.stream(self.command, self.path, headers=sent, content=body) as answer:
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.end_headers()
                for piece in answer.iter_raw():
                    self.wfile.write(piece)
                    self.wfile.flush()

        do_GET = do_POST = do_DELETE = pass_on

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Keyed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/mcp"
    server.shutdown()


def run(command, env=None):
    done = subprocess.run(command, text=True, capture_output=True, timeout=PATIENCE_S, env={**os.environ, **(env or {})})
    return done.returncode, done.stdout + done.stderr


def checks(command, env, folder):
    """What the suite found. It is not waited for longer: its server ends when the last connection does, and Frontdesk keeps
    connections open."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **env})
    try:
        for _ in range(PATIENCE_S * 10):
            for file in folder.rglob("checks.json"):
                with contextlib.suppress(json.JSONDecodeError):
                    return json.loads(file.read_text())
            if process.poll() is not None and not list(folder.rglob("checks.json")):
                return []
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        return []
    finally:
        process.kill()
        process.wait()


def judge(scenario, reason, passed, said):
    if reason is None:
        assert passed, said
    else:
        assert not passed, f"{scenario} passes though it stands in the list of those that cannot: {reason}"


def test_every_scenario_of_the_suite_is_known_here(suite):
    code, said = run([*suite, "list"])
    assert code == 0
    listed = {line.removeprefix("  - ") for line in said.splitlines() if line.startswith("  - ")}
    assert listed == {*SERVER, *CLIENT}


@pytest.mark.parametrize("scenario", SERVER)
def test_as_a_server(suite, front, scenario, tmp_path):
    code, said = run([*suite, "server", "--url", front, "--scenario", scenario, "-o", str(tmp_path)])
    judge(scenario, SERVER[scenario], code == 0, said)


@pytest.mark.parametrize("scenario", CLIENT)
def test_as_a_client(suite, desk, scripted, scenario, tmp_path):
    tool = {"name": "test_client_elicitation_defaults", "arguments": {}}
    scripted.script([{"reply": {"tool_call": tool}}, {"reply": {"text": "done"}}])
    command = f"{sys.executable} {HERE / 'mcp_conformance_client.py'}"
    env = {"DESK_URL": desk.url, "DESK_KEY": desk.key}
    found = checks([*suite, "client", "--command", command, "--scenario", scenario, "--timeout", "20000", "-o", str(tmp_path)], env, tmp_path)
    states = [check["status"] for check in found]
    judge(scenario, CLIENT[scenario], "SUCCESS" in states and "FAILURE" not in states, json.dumps(found, indent=1))
