// The console page: make an agent, talk to it, see each step. Plain browser code, no build step.
// Everything the server sends is put in as text, never as HTML.
'use strict';

const $ = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
};
const state = { key: '', agent: null, session: null, busy: false };

// ---------------------------------------------------------------- talking to the server

async function call(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: { authorization: `Bearer ${state.key}`, ...(body ? { 'content-type': 'application/json' } : {}) },
    body: body && JSON.stringify(body),
  });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  const error = new Error(problem.error?.message ?? `the server answered ${answer.status}`);
  error.status = answer.status;
  throw error;
}
const get = async (path) => (await call('GET', path)).json();
const post = async (path, body) => (await call('POST', path, body)).json();

// Reads server-sent events: calls `seen` with each event's JSON.
async function events(answer, seen) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let at; (at = text.indexOf('\n\n')) >= 0; text = text.slice(at + 2)) {
      const data = text.slice(0, at).split('\n').filter((l) => l.startsWith('data:')).map((l) => l.slice(5).trim()).join('\n');
      if (data) seen(JSON.parse(data));
    }
  }
}

// ---------------------------------------------------------------- the door

async function health() {
  const pill = $('health');
  try {
    const seen = await (await fetch('/v1/health')).json();
    const good = seen.ready === true || seen.status === 'OK' || seen.status === 'ok';
    pill.textContent = good ? 'running' : 'starting';
    pill.className = good ? 'pill good' : 'pill';
  } catch {
    pill.textContent = 'not reachable';
    pill.className = 'pill bad';
  }
}

async function enter() {
  $('door-error').textContent = '';
  try {
    await refresh();
    sessionStorage.setItem('frontdesk-key', state.key);
    $('door').hidden = true;
    $('agents').hidden = false;
  } catch (error) {
    $('door').hidden = false;
    $('agents').hidden = true;
    if (state.key) $('door-error').textContent = error.message;
  }
}

async function refresh(open) {
  const agents = (await get('/v1/agents?limit=100')).data;
  const list = $('agent-list');
  list.replaceChildren(...agents.map((agent) => {
    const name = agent.agent_config.name || agent.agent_id;
    const button = make('button', { type: 'button' }, name, make('small', {}, agent.agent_config.model));
    button.addEventListener('click', () => choose(agent));
    return make('li', {}, button);
  }));
  $('no-agents').hidden = agents.length > 0;
  const wanted = open ? agents.find((a) => a.agent_id === open) : agents[0];
  if (wanted && (open || !state.agent)) await choose(wanted);
}

// ---------------------------------------------------------------- making an agent

const TEMPLATES = [
  { label: 'Support agent', name: 'Support', instructions: 'You are the assistant of a small shop. Use the tools. Answer from the sources.', greeting: 'Hello! How can I help you?', tools: true, knowledge: true },
  { label: 'Order desk', name: 'Order desk', instructions: 'You are the assistant of a small shop. Look orders up with the tools.', greeting: 'Hello! Which order is it about?', tools: true, knowledge: false },
  { label: 'Questions and answers', name: 'Answers', instructions: 'You are the assistant of a small shop. Answer from the sources only.', greeting: 'Hello! What would you like to know?', tools: false, knowledge: true },
];

function boxes(into, entries, none) {
  into.replaceChildren(...entries.map(([value, label]) => make('label', {}, make('input', { type: 'checkbox', value }), label)));
  if (!entries.length) into.append(make('p', { className: 'notice' }, none));
}
const ticked = (id) => [...$(id).querySelectorAll('input:checked')].map((box) => box.value);
const tick = (id, on) => $(id).querySelectorAll('input').forEach((box) => { box.checked = on; });

async function openMaker() {
  $('agents-error').textContent = '';
  const [models, groups, stores, shields] = await Promise.all(
    ['/v1/models', '/v1/toolgroups', '/v1/vector_stores', '/v1/shields'].map((path) => get(path)));
  $('model').replaceChildren(...models.data.filter((m) => m.model_type !== 'embedding').map((m) => make('option', { value: m.id }, m.id)));
  boxes($('toolgroups'), groups.data.map((g) => [g.identifier, g.identifier]), 'None registered.');
  boxes($('stores'), stores.data.map((s) => [s.id, s.name || s.id]), 'None yet: create a vector store and add pages.');
  boxes($('shields'), shields.data.map((s) => [s.identifier, s.identifier]), 'None configured.');
  tick('shields', true);
  $('hand-off').value = 'I am passing this to a colleague, who will answer you soon.';
  $('templates').replaceChildren(...TEMPLATES.map((template) => {
    const button = make('button', { type: 'button' }, template.label);
    button.addEventListener('click', () => use(template));
    return button;
  }));
  use(TEMPLATES[0]);
  $('maker').hidden = false;
  $('chat').hidden = true;
  $('name').focus();
}

function use(template) {
  $('name').value = template.name;
  $('instructions').value = template.instructions;
  $('greeting').value = template.greeting;
  tick('toolgroups', template.tools);
  tick('stores', template.knowledge);
  for (const [at, button] of [...$('templates').children].entries()) {
    button.setAttribute('aria-pressed', TEMPLATES[at] === template);
  }
}

async function create(event) {
  event.preventDefault();
  $('maker-error').textContent = '';
  const frontdesk = { greeting: $('greeting').value || null, knowledge: ticked('stores'), shields: ticked('shields') };
  if ($('hands-off').checked) frontdesk.hand_off = { message: $('hand-off').value };
  try {
    const made = await post('/v1/agents', {
      agent_config: { name: $('name').value, model: $('model').value, instructions: $('instructions').value, toolgroups: ticked('toolgroups'), frontdesk },
    });
    $('maker').hidden = true;
    await refresh(made.agent_id);
  } catch (error) {
    $('maker-error').textContent = error.message;
  }
}

// ---------------------------------------------------------------- talking to an agent

async function choose(agent) {
  state.agent = agent;
  state.session = null;
  $('maker').hidden = true;
  $('chat').hidden = false;
  $('chat-name').textContent = agent.agent_config.name || agent.agent_id;
  $('talk').replaceChildren();
  const greeting = agent.agent_config.frontdesk?.greeting;
  if (greeting) $('talk').append(make('li', {}, make('span', { className: 'bubble' }, greeting)));
  snippets(agent);
}

async function say(event) {
  event.preventDefault();
  const words = $('say').value.trim();
  if (!words || state.busy) return;
  busy(true);
  $('say').value = '';
  $('talk').append(make('li', { className: 'mine' }, make('span', { className: 'bubble' }, words)));
  const steps = make('div', { className: 'steps' });
  const bubble = make('span', { className: 'bubble', hidden: true });
  const after = make('div');
  $('talk').append(make('li', {}, steps, bubble, after));
  const agent = `/v1/agents/${state.agent.agent_id}`;
  try {
    state.session ??= (await post(`${agent}/session`, { session_name: 'console' })).session_id;
    const body = { messages: [{ role: 'user', content: words }], stream: true };
    const answer = await call('POST', `${agent}/session/${state.session}/turn`, body);
    let ended = false;
    await events(answer, (chunk) => {
      ended ||= Boolean(chunk.error) || ['turn_complete', 'turn_awaiting_input'].includes(chunk.event?.payload.event_type);
      show(chunk, { steps, bubble, after });
    });
    if (!ended) throw new Error('The connection ended before the answer did. Ask again.');
  } catch (error) {
    after.append(make('p', { className: 'error' }, error.message));
  }
  busy(false);
  $('say').focus();
}

function busy(on) {
  state.busy = on;
  $('send').disabled = on;
}

function show(chunk, { steps, bubble, after }) {
  if (chunk.error) {
    after.append(make('p', { className: 'error' }, chunk.error.message));
    return;
  }
  const payload = chunk.event.payload;
  if (payload.event_type === 'step_start' && $(payload.step_id)) {
    // Another process has the turn and begins the step anew: what was shown of it is void.
    bubble.textContent = $(payload.step_id).dataset.before;
  } else if (payload.event_type === 'step_start') {
    const summary = make('summary', {}, { inference: 'Thinking', tool_execution: 'Action', shield_call: 'Shield', memory_retrieval: 'Looking in knowledge' }[payload.step_type]);
    const box = make('details', { id: payload.step_id, className: 'busy' }, summary);
    box.dataset.before = bubble.textContent;
    steps.append(box);
  } else if (payload.event_type === 'step_progress' && payload.delta.type === 'text') {
    bubble.hidden = false;
    bubble.textContent += payload.delta.text;
  } else if (payload.event_type === 'step_complete') {
    unfold(payload.step_details);
  } else if (payload.event_type === 'turn_complete' || payload.event_type === 'turn_awaiting_input') {
    finish(payload, bubble, after);
  }
  $('talk').scrollTop = $('talk').scrollHeight;
}

// A finished step: a line that says what happened, and behind it the whole of it.
function unfold(step) {
  const box = $(step.step_id);
  if (!box) return;
  const more = step.frontdesk ?? {};
  const ms = step.completed_at ? ` · ${Math.max(0, new Date(step.completed_at) - new Date(step.started_at))} ms` : '';
  const parts = [];
  let line = '';
  if (step.step_type === 'inference') {
    line = `Model ${more.model ?? ''}`;
    parts.push(more.usage ? `${more.usage.input_tokens} tokens in, ${more.usage.output_tokens} out` : '');
  } else if (step.step_type === 'tool_execution') {
    const [done] = step.tool_calls;
    line = `Action ${done?.tool_name ?? ''}${more.is_error ? ' failed' : ''}`;
    parts.push(`arguments ${done?.arguments_json ?? JSON.stringify(done?.arguments)}`);
    parts.push(`result ${step.tool_responses.map((r) => (typeof r.content === 'string' ? r.content : JSON.stringify(r.content))).join('\n')}`);
    box.classList.toggle('bad', more.is_error === true);
    box.open = true;
  } else if (step.step_type === 'shield_call') {
    const action = more.verdict?.action ?? (step.violation ? 'block' : 'allow');
    line = `Shield ${more.shield_id ?? ''} (${more.stage ?? ''}): ${action}`;
    box.classList.toggle('bad', action === 'block' || action === 'hand_off');
    box.open = action !== 'allow';
    parts.push(JSON.stringify(more.verdict ?? step.violation ?? {}, null, 1));
  } else {
    const passages = more.passages ?? [];
    line = `Knowledge: ${passages.length} ${passages.length === 1 ? 'passage' : 'passages'}`;
    parts.push(...passages.map((p) => `${p.title} (${p.filename}): ${p.text}`));
  }
  box.className = box.classList.contains('bad') ? 'bad' : '';
  box.replaceChildren(make('summary', {}, line + ms), ...parts.filter(Boolean).map((p) => make('pre', {}, p)));
}

// A link would not send the key.
function download(file) {
  const button = make('button', { type: 'button' }, file.filename);
  button.addEventListener('click', async () => {
    try {
      const content = await call('GET', `/v1/containers/${file.container_id}/files/${file.file_id}/content`);
      const href = URL.createObjectURL(await content.blob());
      make('a', { href, download: file.filename }).click();
      setTimeout(() => URL.revokeObjectURL(href), 60000);
    } catch (error) {
      button.after(make('span', { className: 'error' }, error.message));
    }
  });
  return button;
}

function finish(payload, bubble, after) {
  const turn = payload.turn;
  const words = typeof turn.output_message.content === 'string' ? turn.output_message.content : '';
  if (words) {
    bubble.hidden = false;
    bubble.textContent = words;
  }
  const more = turn.frontdesk ?? {};
  // A file that code wrote is spoken of in several places, and is one.
  const files = new Map((more.citations ?? []).filter((c) => c.container_id).map((c) => [c.file_id, c]));
  if (files.size) after.append(make('div', { className: 'sources' }, ...[...files.values()].map(download)));
  const pages = (more.citations ?? []).filter((c) => !c.container_id);
  if (pages.length) {
    after.append(make('div', { className: 'sources' }, ...pages.map((c) => make('details', {}, make('summary', {}, `[${c.number}] ${c.title || c.filename}`), make('p', {}, `“${c.quote}”`), make('p', { className: 'notice' }, c.url || c.filename)))));
  }
  if (more.hand_off) after.append(make('p', { className: 'notice' }, `Handed over to a person: ${more.hand_off.reason.replaceAll('_', ' ')}`));
  const asked = more.questions ?? [];
  for (const question of asked) {
    const box = make('p', { className: 'notice' });
    box.textContent = `${question.tool} asks: ${question.message} (waits for an answer at /v1/questions/${question.question_id})`;
    after.append(box);
  }
  if (payload.event_type === 'turn_awaiting_input' && !asked.length) after.append(make('p', { className: 'notice' }, 'Waiting for a tool that runs at the client.'));
  if (more.error) after.append(make('p', { className: 'error' }, more.error.message));
}

// ---------------------------------------------------------------- lines to copy

function snippets(agent) {
  const base = location.origin;
  const id = agent.agent_id;
  const lines = [
    ['curl', `SESSION=$(curl -s ${base}/v1/agents/${id}/session -H "Authorization: Bearer $FRONTDESK_KEY" \\
  -H 'content-type: application/json' -d '{"session_name":"first"}' | sed 's/.*"session_id":"\\([^"]*\\)".*/\\1/')
curl -N ${base}/v1/agents/${id}/session/$SESSION/turn -H "Authorization: Bearer $FRONTDESK_KEY" \\
  -H 'content-type: application/json' -d '{"messages":[{"role":"user","content":"Hello"}],"stream":true}'`],
    ['Python: the agent (pip install llama-stack-client==0.2.12)', `from llama_stack_client import LlamaStackClient

client = LlamaStackClient(base_url="${base}", api_key=FRONTDESK_KEY)
session = client.agents.session.create("${id}", session_name="first")
turn = client.agents.turn.create(session.session_id, agent_id="${id}",
    messages=[{"role": "user", "content": "Hello"}], stream=True)
for event in turn:
    print(event)`],
    ['Python: its model (pip install openai)', `from openai import OpenAI

client = OpenAI(base_url="${base}/v1", api_key=FRONTDESK_KEY)
answer = client.chat.completions.create(model="${agent.agent_config.model}",
    messages=[{"role": "user", "content": "Hello"}])
print(answer.choices[0].message.content)`],
  ];
  $('snippets').replaceChildren(...lines.map(([title, code]) => {
    const copy = make('button', { type: 'button' }, 'Copy');
    copy.addEventListener('click', async () => {
      // Browsers offer the clipboard on https and on this machine only.
      const copied = await (navigator.clipboard?.writeText(code).then(() => true, () => false));
      copy.textContent = copied ? 'Copied' : 'Select it to copy';
    });
    return make('div', {}, make('div', { className: 'row' }, make('strong', {}, title), copy), make('pre', {}, code));
  }));
}

// ---------------------------------------------------------------- begin

$('door-form').addEventListener('submit', (event) => {
  event.preventDefault();
  state.key = $('key').value.trim();
  enter();
});
$('new').addEventListener('click', () => openMaker().catch((error) => { $('agents-error').textContent = error.message; }));
$('cancel').addEventListener('click', () => { $('maker').hidden = true; $('chat').hidden = !state.agent; });
$('hands-off').addEventListener('change', () => { $('hand-off-label').hidden = !$('hands-off').checked; });
$('maker-form').addEventListener('submit', create);
$('chat-form').addEventListener('submit', say);
$('again').addEventListener('click', () => choose(state.agent));

// A link printed by the program carries the key behind '#', which browsers never send anywhere.
const given = new URLSearchParams(location.hash.slice(1)).get('key');
if (given) history.replaceState(null, '', location.pathname);
state.key = given ?? sessionStorage.getItem('frontdesk-key') ?? '';
health();
enter();
