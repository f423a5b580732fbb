"""A response's stream as it stands on the wire, each event judged by the types of the official package: strictly, and by its
own of the union."""

import json
import re

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

EVENT = TypeAdapter(ResponseStreamEvent)


def frames(text):
    """The frames of a stream: name, id, data."""
    for block in text.split("\n\n"):
        # What is sent while nothing happens.
        block = re.sub(r"^(: still here\n)+", "", block)
        if block.startswith("event: "):
            name, number, data = block.split("\n", 2)
            yield name.removeprefix("event: "), int(number.removeprefix("id: ")), json.loads(data.removeprefix("data: "))


def checked(text):
    """Its frames, of which every one holds one of the package's events, named and numbered as the frame is, without a gap."""
    seen = list(frames(text))
    for name, number, data in seen:
        event = EVENT.validate_json(json.dumps(data), strict=True)
        assert type(event).model_fields["type"].annotation.__args__ == (name,), "the union found the event's own type"
        assert (event.type, event.sequence_number) == (name, number)
    assert [number for _, number, _ in seen] == list(range(seen[0][1], seen[0][1] + len(seen))) if seen else True
    return seen


def stream_of(desk, path, method="GET", **more):
    with desk.http.stream(method, path, **more) as response:
        assert response.status_code == 200, response.read()
        return checked("".join(response.iter_text()))


def streamed(desk, **asked):
    """The names of a response's events, and the response."""
    seen = stream_of(desk, "/v1/responses", "POST", json={"stream": True, **asked})
    assert seen[0][1] == 0
    return [name for name, _, _ in seen], Response.model_validate(seen[-1][2]["response"])
