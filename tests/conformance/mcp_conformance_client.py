"""What the conformance suite starts as the client: has a running Frontdesk register the suite's server, signs in where that is
asked for, and calls the server's tools; in a turn of an agent where a tool asks a person.

`mcp_conformance_client.py URL`, with DESK_URL and DESK_KEY. Ends with 1 where the server could not be registered.
"""

import json
import os
import sys

import httpx

ARGUMENTS = {"add_numbers": {"a": 5, "b": 3}}

# The name that the suite's authorization server wants of a client that is known by an address.
CLIENT_OF_ITS_OWN = "https://conformance-test.local/client-metadata.json"


def oauth(http):
    """What an operator says of OAuth, by the scenario."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    if os.environ.get("MCP_CONFORMANCE_SCENARIO") == "auth/basic-cimd":
        return {"oauth": {"client_id": CLIENT_OF_ITS_OWN}}
    if "client_secret" not in context:
        return {}
    resource = sys.argv[1].replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    authority = httpx.get(resource, trust_env=False).json()["authorization_servers"][0].rstrip("/")
    kept = {"name": "suite", "value": context["client_secret"], "hosts": [authority]}
    print(http.post("/v1/secrets", json=kept).text)
    return {"oauth": {"grant": "client_credentials", "client_id": context["client_id"], "client_secret": "suite"}}


def let_in(http, group):
    """A person signs in, where one is asked for. False: nobody is."""
    if (group.get("authorization") or {}).get("status") != "needed":
        return False
    begun = http.post("/v1/toolgroups/suite/authorize")
    print(begun.status_code, begun.text)
    if begun.status_code == 200:
        with httpx.Client(trust_env=False, follow_redirects=True, timeout=60) as browser:
            # As the form of our page does.
            print(browser.post(begun.json()["url"], headers={"origin": os.environ["DESK_URL"]}).text)
    return True


def answered(http):
    """A turn in which the model calls the suite's tool, which asks: as a person would who agrees to what the form says."""
    agent = http.post("/v1/agents", json={"agent_config": {"model": "up/scripted", "instructions": "", "toolgroups": ["suite"]}})
    agent = agent.json()["agent_id"]
    session = http.post(f"/v1/agents/{agent}/session", json={"session_name": "s"}).json()["session_id"]
    path = f"/v1/agents/{agent}/session/{session}/turn"
    turn = http.post(path, json={"messages": [{"role": "user", "content": "go on"}]}).json()
    for asked in http.get("/v1/questions", params={"turn_id": turn["turn_id"]}).json()["data"]:
        print(http.post(f"/v1/questions/{asked['id']}", json={"action": "accept"}).text)
    while (turn := http.get(f"{path}/{turn['turn_id']}").json())["frontdesk"]["state"] == "running":
        pass
    print(turn)


def main():
    headers = {"authorization": f"Bearer {os.environ['DESK_KEY']}"}
    with httpx.Client(base_url=os.environ["DESK_URL"], headers=headers, trust_env=False, timeout=60) as http:
        http.delete("/v1/toolgroups/suite")
        body = {"toolgroup_id": "suite", "provider_id": "model-context-protocol", "mcp_endpoint": {"uri": sys.argv[1]}, "args": oauth(http)}
        registered = http.post("/v1/toolgroups", json=body)
        print(registered.status_code, registered.text)
        if registered.status_code != 200:
            return 1
        if os.environ.get("MCP_CONFORMANCE_SCENARIO", "").startswith("elicitation"):
            answered(http)
            return 0
        # As a person would who sees the group ask again: once more, and then no more.
        for _ in range(2):
            signed_in = let_in(http, http.get("/v1/toolgroups/suite").json())
            for tool in http.get("/v1/tools", params={"toolgroup_id": "suite"}).json()["data"]:
                name = tool["identifier"]
                called = http.post("/v1/tool-runtime/invoke", json={"tool_name": f"suite/{name}", "kwargs": ARGUMENTS.get(name, {})})
                print(called.status_code, called.text)
            if not signed_in:
                break
    return 0


if __name__ == "__main__":
    sys.exit(main())
