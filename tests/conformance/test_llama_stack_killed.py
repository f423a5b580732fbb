"""llama-stack-client 0.2.12, unchanged, at a server that is killed while it answers."""

from llama_stack_client import LlamaStackClient
from llama_stack_client.lib.agents.event_logger import EventLogger


def client_of(frontdesk):
    return LlamaStackClient(base_url=frontdesk.url, api_key=frontdesk.key, max_retries=0, timeout=60)


def test_the_client_reads_a_turn_that_two_processes_worked_on(another_frontdesk, scripted_server, scripted):
    entry = f'{{ id: up, type: openai, config: {{ base_url: "{scripted_server.url}/v1", api_key: upstream-key }} }}'
    frontdesk = another_frontdesk(entry)
    client = client_of(frontdesk)
    agent = client.agents.create(agent_config={"model": "up/scripted", "instructions": "Be brief."}).agent_id
    session = client.agents.session.create(agent, session_name="first").session_id

    def ask(client):
        return client.agents.turn.create(
            session, agent_id=agent, stream=True, messages=[{"role": "user", "content": "hello"}],
            extra_headers={"Idempotency-Key": "the-turn"},
        )  # fmt: skip

    scripted.script([
        {"reply": {"text": "half of it", "gates": {"never": 2}}},
        {"reply": {"text": "the whole of it"}},
    ])  # fmt: skip
    for chunk in ask(client):
        payload = chunk.event.payload
        if payload.event_type == "step_progress":
            break
    scripted.waiting("never")
    client = client_of(frontdesk.again())

    payloads = [chunk.event.payload for chunk in ask(client)]
    assert payloads[-1].event_type == "turn_complete"
    assert payloads[-1].turn.output_message.content == "the whole of it"
    assert [step.step_type for step in payloads[-1].turn.steps] == ["inference"]
    starts = [i for i, p in enumerate(payloads) if p.event_type == "step_start"]
    assert len(starts) == 2 and payloads[starts[0]].step_id == payloads[starts[1]].step_id
    assert payloads[starts[0]].metadata == {} and payloads[starts[1]].metadata["frontdesk_restarted_from"] > 0
    text = "".join(p.delta.text for p in payloads[starts[1]:] if p.event_type == "step_progress")
    assert text == "the whole of it"
    # The client's own logger, which knows nothing of it, shows both attempts and trips over neither.
    logged = "".join(str(line.content) for line in EventLogger().log(ask(client)) if line is not None)
    assert "the whole of it" in logged.replace("\n", "")
    kept = client.agents.turn.retrieve(payloads[-1].turn.turn_id, agent_id=agent, session_id=session)
    assert kept.output_message.content == "the whole of it"
