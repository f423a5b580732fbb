"""The tools of this component: one function each. Its arguments are those of its schema, what it returns is JSON."""

import json
from urllib.parse import quote

from componentize_py_types import Err
from wit_world.imports import fetch, log

from sdk import ToolError, Tools, tool

__all__ = ["Tools"]  # what the component exports

CARRIER = "https://parcels.example"

# Stands for the shop's own orders.
ORDERS = {
    "48213": {"status": "shipped", "parcel": "PX-481"},
    "48302": {"status": "in production", "parcel": None},
}


@tool(
    "Look up one of the shop's orders by its number: its status and the number of its parcel.",
    {
        "type": "object",
        "properties": {"order_number": {"type": "string", "minLength": 1, "maxLength": 32, "description": "For example 48213."}},
        "required": ["order_number"],
        "additionalProperties": False,
    },
    effect="none",
    risk="read",
)
def order_status(order_number: str) -> dict[str, str | None]:
    order = ORDERS.get(order_number)
    if order is None:
        raise ToolError(f"no order has the number {order_number}")
    return {"order_number": order_number, **order}


@tool(
    "Ask the carrier where a parcel is.",
    {
        "type": "object",
        "properties": {"parcel": {"type": "string", "pattern": "^PX-[0-9]+$", "description": "The parcel's number, for example PX-481."}},
        "required": ["parcel"],
        "additionalProperties": False,
    },
    effect="none",
    risk="read",
)
def track_parcel(parcel: str) -> dict[str, str]:
    # A secret goes along by its name alone, and it has to be among `secrets` in tool.yaml:
    # credentials=[fetch.Credential("carrier_token", fetch.Place.HEADER, "authorization", "Bearer ", False)]
    request = fetch.Request("GET", f"{CARRIER}/v1/parcels/{quote(parcel)}", headers=[], credentials=[], body=b"")
    try:
        answer = fetch.send(request)
    except Err as error:
        raise ToolError(f"the carrier could not be asked: {words(error.value)}") from None
    log.write(log.Level.INFO, f"the carrier answered {answer.status} for {parcel}")
    if answer.status == 404:
        raise ToolError(f"the carrier knows no parcel {parcel}")
    if answer.status != 200:
        raise ToolError(f"the carrier answered with status {answer.status}")
    found = json.loads(answer.body)
    return {"parcel": parcel, "state": found["state"], "city": found["city"]}


def words(error: fetch.Error) -> str:
    match error:
        case fetch.Error_Denied(why) | fetch.Error_Failed(why):
            return why
        case fetch.Error_Timeout():
            return "timeout"
        case _:
            return "the answer is too large"
