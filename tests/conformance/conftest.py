"""Official clients, set up as their documentation says, pointed at the Frontdesk of this suite."""

import anthropic
import httpx
import pytest
from openai import OpenAI

TIMEOUT_S = 60


@pytest.fixture
def openai_client(frontdesk):
    with httpx.Client(trust_env=False) as http:
        yield OpenAI(
            base_url=frontdesk.v1, api_key=frontdesk.key, max_retries=0, timeout=TIMEOUT_S, http_client=http
        )


@pytest.fixture
def anthropic_client(frontdesk):
    with anthropic.DefaultHttpxClient(trust_env=False) as http:
        yield anthropic.Anthropic(
            base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0, timeout=TIMEOUT_S, http_client=http,
            # What the SDK gets is checked against its own types, and not only read.
            _strict_response_validation=True,
        )  # fmt: skip
