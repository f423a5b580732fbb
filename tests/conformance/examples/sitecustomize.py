"""Python reads this before an example: its clients check every answer and every event against the package's own types.

The examples are run as they were published; this is how their package is told to be strict, as the other suites tell it, and
that a server on the internet, which some of them name, is stood for by one on this machine (`EXAMPLE_MCP_SERVER`).
"""

import os

import openai
from openai.resources.responses import AsyncResponses


def strict(client):
    begin = client.__init__

    def __init__(self, *arguments, **options):
        options.setdefault("_strict_response_validation", True)
        begin(self, *arguments, **options)

    client.__init__ = __init__


def at_home(resource, address):
    create = resource.create

    async def asked(self, *arguments, tools=openai.omit, **options):
        if isinstance(tools, list):
            tools = [{**tool, "server_url": address} if tool.get("server_url") else tool for tool in tools]
        return await create(self, *arguments, tools=tools, **options)

    resource.create = asked


if address := os.environ.get("EXAMPLE_MCP_SERVER"):
    at_home(AsyncResponses, address)
strict(openai.OpenAI)
strict(openai.AsyncOpenAI)
