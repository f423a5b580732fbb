"""An OpenAPI document as a tool group, with llama-stack-client 0.2.12 unchanged: register, list, invoke, unregister."""

import pytest
from llama_stack_client import BadRequestError, LlamaStackClient, NotFoundError

DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "CRM", "version": "1"},
    # Loopback, which this configuration does not open to tools.
    "servers": [{"url": "http://127.0.0.1:9/v1"}],
    "paths": {
        "/contacts/{id}": {
            "get": {
                "operationId": "contacts/get",
                "summary": "One contact",
                "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
                "responses": {"200": {"description": "ok"}},
            }
        }
    },
}


@pytest.fixture
def client(frontdesk):
    return LlamaStackClient(base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0, timeout=60)


def test_a_document_is_a_tool_group(client):
    client.toolgroups.register(toolgroup_id="crm", provider_id="openapi", args={"document": DOCUMENT})
    try:
        group = client.toolgroups.get("crm")
        assert group.args["document"] == {"title": "CRM", "version": "1"}
        assert group.args["hosts"] == ["http://127.0.0.1:9"]
        (tool,) = client.tools.list(toolgroup_id="crm")
        assert (tool.identifier, tool.description) == ("contacts_get", "One contact")
        (parameter,) = tool.parameters
        assert (parameter.name, parameter.parameter_type, parameter.required) == ("id", "integer", True)
        result = client.tool_runtime.invoke_tool(tool_name="contacts_get", kwargs={"id": 7})
        assert "not one of the public internet" in result.error_message
        wrong = client.tool_runtime.invoke_tool(tool_name="contacts_get", kwargs={"id": "seven"})
        assert "id" in wrong.error_message and "integer" in wrong.error_message
    finally:
        client.toolgroups.unregister("crm")
    with pytest.raises(NotFoundError):
        client.toolgroups.get("crm")


def test_what_is_no_document_is_refused_by_name(client):
    for args, words in [
        ({"document": {"swagger": "2.0", "paths": {}}}, "Swagger 2.0"),
        ({"document": "openapi: 3.1.0\npaths: [", "include": ["x"]}, "not valid YAML"),
        ({"document": DOCUMENT, "include": ["nothing*"]}, "'nothing*' fits no operation"),
        ({"document": DOCUMENT, "hosts": ["*.com"]}, "*.com"),
        ({"document": DOCUMENT, "url": "https://crm.example/openapi.json"}, "document and url"),
        ({}, "not none"),
    ]:
        with pytest.raises(BadRequestError) as refused:
            client.toolgroups.register(toolgroup_id="crm", provider_id="openapi", args=args)
        assert words in str(refused.value)
