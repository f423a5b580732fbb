// @ts-check
// Between the component's world and its tools: collects them, describes them, calls them.
//
// Nothing a tool throws leaves `call` as it is: what the world does not know would end the component as a crash, and the
// model would read no reason. There is no fetch, no timer, no console and no TextDecoder here; powers are imports.

/** Why a tool could not do it. The model reads the text. */
export class ToolError extends Error {}

/** The arguments make no sense, beyond what the schema says. The model reads the text and may try again. */
export class BadArguments extends ToolError {}

/**
 * `parameters` is the JSON Schema of the arguments. `effect` says what a second call does to the world, `risk` how much a
 * call can hurt: one that is `approval_required` waits for a person. With `keep: 'conversation'` what it has in variables is
 * there for the conversation's next call, most of the time.
 * @typedef {{
 *   description: string,
 *   parameters: object,
 *   effect?: 'none' | 'idempotent' | 'unsafe',
 *   risk?: 'read' | 'low_impact_write' | 'approval_required',
 *   keep?: 'nothing' | 'conversation',
 *   run: (args: any) => unknown,
 * }} Tool
 */

/**
 * What the component exports.
 * @param {Record<string, Tool>} tools by name
 */
export function defineTools(tools) {
  return {
    describe: () => JSON.stringify(Object.entries(tools).map(([name, { run, ...about }]) => ({ name, ...about }))),
    /** @param {string} name @param {string} args */
    call(name, args) {
      try {
        if (!Object.hasOwn(tools, name)) throw new BadArguments(`no tool is called ${name}`);
        return JSON.stringify(tools[name].run(JSON.parse(args)) ?? null);
      } catch (error) {
        if (error instanceof BadArguments) throw { tag: 'bad-arguments', val: error.message };
        if (error instanceof ToolError) throw { tag: 'failed', val: error.message };
        throw { tag: 'failed', val: error instanceof Error ? `${error.name}: ${error.message}` : String(error) };
      }
    },
  };
}

/**
 * What an import threw: the error of its interface.
 * @param {any} error
 * @returns {{ tag: string, val?: string }}
 */
export function thrown(error) {
  const told = error?.payload ?? error;
  return typeof told?.tag === 'string' ? told : { tag: 'failed', val: String(error?.message ?? error) };
}

/** Bytes of UTF-8 as a text. @param {Iterable<number>} bytes */
export function text(bytes) {
  return decodeURIComponent(Array.from(bytes, (byte) => '%' + byte.toString(16).padStart(2, '0')).join(''));
}

/** A text as bytes of UTF-8. @param {string} text */
export function bytes(text) {
  const plain = encodeURIComponent(text).replace(/%(..)/g, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  return Uint8Array.from(plain, (character) => character.charCodeAt(0));
}
