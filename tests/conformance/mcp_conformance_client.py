"""What the conformance suite starts as the client: has a running Frontdesk register the suite's server and call its tools.

`mcp_conformance_client.py URL`, with DESK_URL and DESK_KEY. Ends with 1 where the server could not be registered.
"""

import os
import sys

import httpx

ARGUMENTS = {"add_numbers": {"a": 5, "b": 3}}


def main():
    headers = {"authorization": f"Bearer {os.environ['DESK_KEY']}"}
    with httpx.Client(base_url=os.environ["DESK_URL"], headers=headers, trust_env=False, timeout=60) as http:
        body = {"toolgroup_id": "suite", "provider_id": "model-context-protocol", "mcp_endpoint": {"uri": sys.argv[1]}}
        registered = http.post("/v1/toolgroups", json=body)
        print(registered.status_code, registered.text)
        if registered.status_code != 200:
            return 1
        for tool in http.get("/v1/tools", params={"toolgroup_id": "suite"}).json()["data"]:
            name = tool["identifier"]
            called = http.post("/v1/tool-runtime/invoke", json={"tool_name": f"suite/{name}", "kwargs": ARGUMENTS.get(name, {})})
            print(called.status_code, called.text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
