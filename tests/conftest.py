"""One Frontdesk and one scripted upstream per suite: what the conformance and browser lanes share.

`FRONTDESK_BIN` and `SCRIPTED_BIN` name the two programs (tests/run.sh sets them). A Frontdesk that already
runs is used instead where `FRONTDESK_URL`, `FRONTDESK_KEY` and `SCRIPTED_URL` are set. Nothing here waits
for a span of time: gates of the scripted upstream put things in order.
"""

import json
import os
import subprocess
import threading

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

KEY = "frontdesk-conformance-admin-key"
# The example credentials of AWS's documentation; they open nothing.
AWS_KEYS = {
    "access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "session_token": "tok+en/==",
}  # fmt: skip
AWS = "region: eu-central-1, " + ", ".join(f'{name}: "{value}"' for name, value in AWS_KEYS.items())
# A net under a hung process, never a measurement.
PATIENCE_S = 60


class Program:
    """A child process that says `ready URL`; ended by its id."""

    def __init__(self, command, env=None, cwd=None):
        self.lines = []
        self.process = subprocess.Popen(
            command, env={**os.environ, **(env or {})}, cwd=cwd, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._ready = threading.Event()
        self.url = None
        threading.Thread(target=self._read, daemon=True).start()
        if not self._ready.wait(PATIENCE_S) or self.url is None:
            self.stop()
            raise RuntimeError(f"{command[0]} did not get ready:\n" + "".join(self.lines))

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("ready ") and self.url is None:
                self.url = line.removeprefix("ready ").strip()
                self._ready.set()
        self._ready.set()

    def stop(self):
        self.process.kill()
        self.process.wait()


class Scripted:
    """The control routes of the scripted upstream (tests/src/scripted/README.md)."""

    def __init__(self, url):
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=PATIENCE_S + 10, trust_env=False)

    def _do(self, method, path, **more):
        response = self.http.request(method, path, **more)
        assert response.is_success, response.text
        return response

    def reset(self):
        self._do("DELETE", "/_script")

    def script(self, steps):
        self._do("PUT", "/_script", json=steps)

    def release(self, gate):
        self._do("POST", f"/_gates/{gate}")

    def waiting(self, gate):
        """Returns once a stream stands at the gate."""
        self._do("GET", f"/_gates/{gate}/waiting")

    def requests(self, at_least=0):
        """Requests seen to anything but the model list."""
        seen = self._do("GET", "/_requests", params={"at_least": at_least}).json()
        return [r for r in seen if not r["path"].endswith("/models")]

    def ended(self, number):
        return self._do("GET", f"/_requests/{number}/ended").json()["ended"]


class Frontdesk:
    def __init__(self, url, key):
        self.url = url
        self.key = key
        self.v1 = f"{url}/v1"
        headers = {"authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=PATIENCE_S, trust_env=False)


@pytest.fixture(scope="session")
def scripted_server():
    if url := os.environ.get("SCRIPTED_URL"):
        yield Scripted(url)
        return
    program = Program([os.environ["SCRIPTED_BIN"], "--port", "0", "--with-parent"])
    yield Scripted(program.url)
    program.stop()


class ServiceAccount:
    """An account of Google Cloud that the scripted upstream stands for; its key is made here and opens nothing."""

    email = "shop@shop-1.iam.gserviceaccount.example"

    def __init__(self, token_uri, file):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
        self.public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        self.file = file
        content = {"type": "service_account", "client_email": self.email, "private_key_id": "k1", "private_key": private, "token_uri": token_uri}
        file.write_text(json.dumps(content, indent=2))


def configured(home, inference, models=(), log="info", files=(), tools=None, database=None, shown=(), inside=(), turns="{}"):
    """A Frontdesk with these entries under `providers.inference`, `.files`, `.tools` and `models`; on SQLite unless told.
    `shown`: tool groups that clients of `/mcp` see; `inside`: addresses that tools may ask beside the public internet; `turns`: that section."""
    config = home / "frontdesk.yaml"
    if built := os.environ.get("FRONTDESK_INTERPRETERS"):
        # Where the code interpreters are looked for.
        (home / "data").mkdir(exist_ok=True)
        if not (home / "data" / "interpreters").exists():
            (home / "data" / "interpreters").symlink_to(built)
    listed = lambda entries: "".join(f"    - {entry}\n" for entry in entries)  # noqa: E731
    routes = f"models:\n{listed(models)}" if models else ""
    places = f"  files:\n{listed(files)}" if files else ""
    places += f"  tools:\n{listed(tools)}" if tools else ""
    models = f"  inference:\n{listed(inference)}" if inference else "  inference: []\n"
    at = f'database_url: "{database}"\n' if database else ""
    config.write_text(f"log: {{ level: {log} }}\n{at}turns: {turns}\nmcp: {{ tools: {json.dumps(list(shown))} }}\negress: {{ private_networks: {json.dumps(list(inside))} }}\nproviders:\n{models}{places}{routes}")
    return Program(
        [os.environ["FRONTDESK_BIN"], "up", "--config", str(config), "--listen", "127.0.0.1:0", "--data-dir", str(home / "data")],
        env={"FRONTDESK_ADMIN_KEY": KEY},
        cwd=home,
    )  # fmt: skip


@pytest.fixture(scope="session")
def service_account(scripted_server, tmp_path_factory):
    return ServiceAccount(f"{scripted_server.url}/token", tmp_path_factory.mktemp("account") / "account.json")


@pytest.fixture(scope="session")
def frontdesk(scripted_server, service_account, tmp_path_factory):
    if url := os.environ.get("FRONTDESK_URL"):
        yield Frontdesk(url, os.environ["FRONTDESK_KEY"])
        return
    up = scripted_server.url
    program = configured(tmp_path_factory.mktemp("frontdesk"), [
        f'{{ id: up, type: openai, config: {{ base_url: "{up}/v1", api_key: upstream-key }} }}',
        # The same server, as one that has no text completions.
        f'{{ id: chats, type: openai, config: {{ base_url: "{up}/v1", models: [scripted], completions: false }} }}',
        # And as text-embeddings-inference.
        f'{{ id: tei, type: openai, config: {{ base_url: "{up}/v1", rerank: {{ shape: tei }}, models: [{{ id: embedder, kind: embedding }}, {{ id: ranker, kind: rerank }}] }} }}',
        # The script answers in Anthropic's words where a test of this provider tells it to.
        f'{{ id: claude, type: anthropic, config: {{ base_url: "{up}/v1", api_key: upstream-key, models: [claude-scripted] }} }}',
        # In Gemini's, by both ways there.
        f'{{ id: gem, type: gemini, config: {{ base_url: "{up}/v1beta", api_key: upstream-key, models: [gemini-2.5-scripted, gemini-3-scripted] }} }}',
        f'{{ id: vertex, type: gemini, config: {{ base_url: "{up}/v1beta1", models: [gemini-2.5-scripted], '
        f'vertex: {{ project: shop-1, location: europe-west4, service_account: "${{file.{service_account.file}}}" }} }} }}',
        # And in Amazon's: one entry signs its requests, one has a key.
        f'{{ id: aws, type: bedrock, config: {{ base_url: "{up}", models: [claude-scripted], {AWS} }} }}',
        f'{{ id: awskey, type: bedrock, config: {{ base_url: "{up}", region: eu-central-1, api_key: upstream-key }} }}',
    ])  # fmt: skip
    yield Frontdesk(program.url, KEY)
    died = program.process.poll()
    program.stop()
    if died is not None:
        pytest.fail(f"frontdesk ended by itself with {died}:\n" + "".join(program.lines[-100:]))


@pytest.fixture(scope="module")
def another_frontdesk(tmp_path_factory):
    """Starts a Frontdesk of a module's own, from its entries under `providers.inference`, `providers.files` and `models`,
    in the home of an earlier one where that is given; `again()` kills the newest and starts it on the same data."""
    started = []

    def start(*inference, home=None, **more):
        home = home or tmp_path_factory.mktemp("another")
        started.append(configured(home, inference, **more))
        frontdesk = Frontdesk(started[-1].url, KEY)
        frontdesk.program, frontdesk.home, frontdesk.again = started[-1], home, lambda: again(home, inference, more)
        return frontdesk

    def again(home, inference, more):
        started[-1].stop()
        started.append(configured(home, inference, **more))
        return Frontdesk(started[-1].url, KEY)

    yield start
    for program in started:
        program.stop()


@pytest.fixture(scope="module")
def program():
    """Starts programs that say `ready URL`; they end with the module."""
    started = []

    def start(*command):
        started.append(Program([str(part) for part in command]))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture(scope="session")
def aws_keys():
    """With what the entry `aws` signs."""
    return AWS_KEYS


@pytest.fixture
def scripted(scripted_server):
    """The scripted upstream, empty; what a test leaves answers nobody else."""
    scripted_server.reset()
    yield scripted_server
    scripted_server.reset()
