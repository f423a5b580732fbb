"""A response's stream, each event judged by the types of the official package: strictly, and by its own of the union."""

from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

EVENT = TypeAdapter(ResponseStreamEvent)


def streamed(desk, **asked):
    """The names of a response's events, and the response."""
    seen = []
    with desk.http.stream("POST", "/v1/responses", json={"stream": True, **asked}) as response:
        assert response.status_code == 200, response.read()
        for line in response.iter_lines():
            if line.startswith("data: "):
                event = EVENT.validate_json(line.removeprefix("data: "), strict=True)
                assert type(event).model_fields["type"].annotation.__args__ == (event.type,), "the union found its own type"
                assert event.sequence_number == len(seen)
                seen.append(event)
    return [event.type for event in seen], seen[-1].response
