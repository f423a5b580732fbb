// QuickJS as a code interpreter: runs model-written JavaScript in the global scope, which stays between runs.
//
// There is nothing around it: no fetch, no file system, no timers. Files live in a map. Its counterpart in
// Python and the world of both are beside it.
const indirectEval = eval;
const files = new Map();
let changed = new Set();
let cap = 0;
let out = null;
let err = null;

const capped = () => ({ text: '', truncated: false });
const put = (to, text) => {
  const room = cap - to.text.length;
  if (text.length > room) to.truncated = true;
  if (room > 0) to.text += text.slice(0, room);
};

const show = (value, depth = 0, seen = []) => {
  if (typeof value === 'string') return depth ? JSON.stringify(value) : value;
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return `[Function ${value.name || 'anonymous'}]`;
  if (value === null || typeof value !== 'object') return String(value);
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  if (seen.includes(value)) return '[Circular]';
  if (depth > 6) return '…';
  const inside = (one) => show(one, depth + 1, [...seen, value]);
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return `[${Array.from(value, inside).join(', ')}]`;
  if (value instanceof Map) return `Map {${Array.from(value, ([k, v]) => `${inside(k)} => ${inside(v)}`).join(', ')}}`;
  if (value instanceof Set) return `Set {${Array.from(value, inside).join(', ')}}`;
  if (value instanceof Date || value instanceof RegExp) return String(value);
  return `{${Object.keys(value).map((key) => `${key}: ${inside(value[key])}`).join(', ')}}`;
};

const line = (to) => (...values) => put(to(), values.map((value) => show(value)).join(' ') + '\n');
globalThis.console = {
  log: line(() => out), info: line(() => out), debug: line(() => out), warn: line(() => err), error: line(() => err),
};

const plain = (name) => {
  const short = String(name).replace(/^(\.\/|\/work\/|\/mnt\/data\/)/, '');
  if (short === '' || short === '.' || short === '..' || short.includes('/') || short.includes('\0')) {
    throw new Error(`only plain names in the working folder can be used, not '${name}'`);
  }
  return short;
};
const utf8 = (text) => {
  const bytes = [];
  for (const character of text) {
    const c = character.codePointAt(0);
    if (c < 0x80) bytes.push(c);
    else if (c < 0x800) bytes.push(0xc0 | (c >> 6), 0x80 | (c & 63));
    else if (c < 0x10000) bytes.push(0xe0 | (c >> 12), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
    else bytes.push(0xf0 | (c >> 18), 0x80 | ((c >> 12) & 63), 0x80 | ((c >> 6) & 63), 0x80 | (c & 63));
  }
  return Uint8Array.from(bytes);
};
const text = (bytes) => {
  let written = '';
  for (let i = 0; i < bytes.length; ) {
    const lead = bytes[i];
    const more = lead < 0x80 ? 0 : lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : -1;
    if (more < 0 || i + more >= bytes.length) {
      written += '\ufffd';
      i += 1;
      continue;
    }
    let c = more === 0 ? lead : lead & (0x3f >> more);
    for (let k = 1; k <= more; k++) c = (c << 6) | (bytes[i + k] & 63);
    written += c > 0x10ffff ? '\ufffd' : String.fromCodePoint(c);
    i += more + 1;
  }
  return written;
};
globalThis.readBytes = (name) => {
  const found = files.get(plain(name));
  if (!found) throw new Error(`no file is called '${name}'`);
  return found.slice();
};
globalThis.readFile = (name) => text(readBytes(name));
// Of binary data its bytes, in one copy: `Uint8Array.from` walks megabytes number by number.
const bytesOf = (content) => {
  if (typeof content === 'string') return utf8(content);
  if (content instanceof ArrayBuffer) return new Uint8Array(content.slice(0));
  if (!ArrayBuffer.isView(content)) return Uint8Array.from(content);
  const { buffer, byteOffset, byteLength } = content;
  return new Uint8Array(buffer.slice(byteOffset, byteOffset + byteLength));
};
globalThis.writeFile = (name, content) => {
  const short = plain(name);
  files.set(short, bytesOf(content));
  changed.add(short);
};
globalThis.listFiles = () => [...files.keys()].sort();

function run(code, stdin, given, maxOutput, maxFiles) {
  [cap, out, err, changed] = [maxOutput, capped(), capped(), new Set()];
  for (const file of given) files.set(file.name, new Uint8Array(file.content));
  globalThis.stdin = stdin;
  let value;
  let fault;
  let truncated = false;
  try {
    const result = indirectEval(code);
    if (result !== undefined) {
      value = show(result);
      truncated = value.length > cap;
      value = value.slice(0, cap);
    }
  } catch (error) {
    const words = (word) => { try { return String(word()).slice(0, cap); } catch { return '(cannot be shown)'; } };
    fault = {
      kind: words(() => (error instanceof Error ? error.name : 'Error')),
      message: words(() => (error instanceof Error ? error.message : show(error))),
      traceback: words(() => error?.stack ?? ''),
    };
  }
  let room = maxFiles;
  const written = [];
  const left = [];
  for (const name of changed) {
    const content = files.get(name);
    if (content.length > room) {
      truncated = true;
      left.push(`${name} (${content.length} bytes)`);
    } else {
      room -= content.length;
      written.push({ name, content });
    }
  }
  truncated ||= out.truncated || err.truncated;
  const note = left.length ? `not kept, since the files of a run may have ${maxFiles} bytes together: ${left.join(', ')}\n` : '';
  return { stdout: out.text, stderr: err.text + note.slice(0, maxOutput), value, truncated, files: written, fault };
}

export const language = { run };
