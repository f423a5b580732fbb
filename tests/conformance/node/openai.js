// The official openai package for Node, driven from Python: one call as JSON on standard input, and what the client saw
// as JSON on standard output, a line for each chunk and one for the end.
//
// {"call": "chat.completions.create", "args": [{…}]}, a file in them being {"name": …, "text": …}; OPENAI_BASE_URL and OPENAI_API_KEY are the package's own variables,
// CLIENT_PACKAGES is the folder where npm has put it.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { OpenAI, toFile } = createRequire(`${process.env.CLIENT_PACKAGES}/package.json`)("openai");
const { call, args } = JSON.parse(readFileSync(0, "utf8"));
for (const given of args) {
  if (given.file?.text !== undefined) given.file = await toFile(Buffer.from(given.file.text), given.file.name);
}
const client = new OpenAI({ maxRetries: 0, timeout: 60_000 });
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

try {
  const path = call.split(".");
  const method = path.pop();
  const resource = path.reduce((at, name) => at[name], client);
  if (call === "chat.completions.stream") {
    const answer = await resource.stream(...args).finalChatCompletion();
    say({ value: answer });
  } else if (method === "list") {
    const all = [];
    for await (const one of resource.list(...args)) all.push(one);
    say({ value: all });
  } else {
    const answer = await resource[method](...args);
    if (args.some((given) => given.stream)) {
      for await (const chunk of answer) say({ chunk });
      say({ end: true });
    } else if (answer instanceof Response) {
      say({ value: await answer.text() });
    } else {
      say({ value: answer ?? null });
    }
  }
} catch (error) {
  const { status, code, param, type, message, requestID } = error;
  say({ error: { name: error.constructor.name, status, code, param, type, message, request: requestID } });
}
