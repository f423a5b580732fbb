"""Official clients, set up as their documentation says, pointed at the Frontdesk of this suite."""

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
