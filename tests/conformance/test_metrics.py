"""`/metrics` as Prometheus reads it: with the parser of its own Python client, before and after known work."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

MODEL = {
    "gen_ai_operation_name": "chat", "gen_ai_provider_name": "up",
    "gen_ai_request_model": "up/metered", "gen_ai_response_model": "metered",
}  # fmt: skip


def families(frontdesk):
    answer = frontdesk.http.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = list(text_string_to_metric_families(answer.text))
    names = [family.name for family in found]
    assert len(names) == len(set(names)), "a family stands once"
    return {family.name: family for family in found}


def value(found, family, sample, labels):
    if family not in found:
        return 0
    matching = [s.value for s in found[family].samples if s.name == sample and labels.items() <= s.labels.items()]
    assert len(matching) <= 1, f"{sample} {labels} stands {len(matching)} times"
    return matching[0] if matching else 0


def test_numbers_move_by_what_was_asked(frontdesk, scripted, openai_client):
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
    scripted.script([{"when": {"model": "metered"}, "reply": {"text": "one two", "usage": usage}}])
    chats = {"http_request_method": "POST", "http_route": "/v1/chat/completions", "http_response_status_code": "200"}
    watched = [
        ("gen_ai_client_operation_duration_seconds", "gen_ai_client_operation_duration_seconds_count", {**MODEL, "error_type": ""}, 3),
        ("gen_ai_client_token_usage", "gen_ai_client_token_usage_sum", {**MODEL, "gen_ai_token_type": "input"}, 60),
        ("gen_ai_client_token_usage", "gen_ai_client_token_usage_sum", {**MODEL, "gen_ai_token_type": "output"}, 15),
        ("gen_ai_server_time_to_first_token_seconds", "gen_ai_server_time_to_first_token_seconds_count", MODEL, 1),
        ("http_server_request_duration_seconds", "http_server_request_duration_seconds_count", chats, 3),
        ("frontdesk_overhead_seconds", "frontdesk_overhead_seconds_count", {}, 3),
    ]  # fmt: skip
    before = families(frontdesk)
    ask = {"model": "up/metered", "messages": [{"role": "user", "content": "a question nobody else may read"}]}
    for _ in range(2):
        openai_client.chat.completions.create(**ask)
    for _ in openai_client.chat.completions.create(**ask, stream=True):
        pass
    after = families(frontdesk)
    for family, sample, labels, by in watched:
        moved = value(after, family, sample, labels) - value(before, family, sample, labels)
        assert moved == by, f"{sample} {labels} moved by {moved}"
    assert "nobody else" not in frontdesk.http.get("/metrics").text


def test_histograms_are_whole(frontdesk, scripted, openai_client):
    scripted.script([{"when": {"model": "metered"}, "reply": {"text": "one"}}])
    openai_client.chat.completions.create(model="up/metered", messages=[{"role": "user", "content": "x"}])
    histograms = [f for f in families(frontdesk).values() if f.type == "histogram"]
    assert len(histograms) >= 3
    for family in histograms:
        series = {}
        for sample in family.samples:
            labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
            series.setdefault(labels, []).append(sample)
        for labels, samples in series.items():
            buckets = [s.value for s in samples if s.name == f"{family.name}_bucket"]
            count = [s.value for s in samples if s.name == f"{family.name}_count"]
            assert buckets == sorted(buckets), f"{family.name} {labels}: buckets only grow"
            assert [buckets[-1]] == count, f"{family.name} {labels}: the last bucket holds all"


def test_what_runs_here_is_told(frontdesk):
    found = families(frontdesk)
    version = frontdesk.http.get("/v1/version").json()["version"]
    assert value(found, "frontdesk_build_info", "frontdesk_build_info", {"version": version}) == 1
    assert value(found, "process_resident_memory_bytes", "process_resident_memory_bytes", {}) > 1 << 20
    assert value(found, "process_cpu_seconds", "process_cpu_seconds_total", {}) > 0
    assert value(found, "process_open_fds", "process_open_fds", {}) > 3
    assert value(found, "frontdesk_connections_open", "frontdesk_connections_open", {}) >= 1
    assert value(found, "db_client_connection_max", "db_client_connection_max", {}) > 0


def test_strangers_learn_nothing(frontdesk):
    with httpx.Client(base_url=frontdesk.url, trust_env=False) as stranger:
        assert stranger.get("/metrics").status_code == 401
