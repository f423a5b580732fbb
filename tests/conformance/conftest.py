"""Official clients, set up as their documentation says, pointed at the Frontdesk of this suite."""

import os
import shutil
from pathlib import Path

import anthropic
import botocore.session
import httpx
import pytest
from botocore.config import Config
from openai import OpenAI

TIMEOUT_S = 60


def openai(frontdesk, http, strict):
    return OpenAI(
        base_url=frontdesk.v1, api_key=frontdesk.key, max_retries=0, timeout=TIMEOUT_S, http_client=http,
        _strict_response_validation=strict,
    )  # fmt: skip


@pytest.fixture
def openai_client(frontdesk):
    """Checks every answer and every event against the package's own types, and does not only read them."""
    with httpx.Client(trust_env=False) as http:
        yield openai(frontdesk, http, strict=True)


@pytest.fixture
def lenient_openai_client(frontdesk):
    """As the package is by default, for the two things that OpenAI itself answers beside those types: vectors in Base64,
    which the package asks for, and pieces of a text completion that are not the last."""
    with httpx.Client(trust_env=False) as http:
        yield openai(frontdesk, http, strict=False)


@pytest.fixture
def anthropic_client(frontdesk):
    with anthropic.DefaultHttpxClient(trust_env=False) as http:
        yield anthropic.Anthropic(
            base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0, timeout=TIMEOUT_S, http_client=http,
            # What the SDK gets is checked against its own types, and not only read.
            _strict_response_validation=True,
        )  # fmt: skip


@pytest.fixture
def amazon(scripted_server, aws_keys):
    """Makes botocore's own client of a service, at the upstream itself."""

    def client(service="bedrock-runtime"):
        keys = {f"aws_{name}": value for name, value in aws_keys.items()}
        return botocore.session.Session().create_client(
            service, region_name="eu-central-1", endpoint_url=scripted_server.url, **keys,
            config=Config(retries={"total_max_attempts": 1}, proxies={}, parameter_validation=True),
        )  # fmt: skip

    return client


@pytest.fixture(scope="session")
def packages():
    """Where npm has put the client (tests/run.sh)."""
    folder = os.environ.get("FRONTDESK_NODE", "")
    if shutil.which("node") and Path(folder, "node_modules", "openai").is_dir():
        return folder
    why = "no Node.js with the openai package (tests/run.sh puts it into FRONTDESK_NODE)"
    return pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
