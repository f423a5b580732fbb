// Between the component's world and its tools: collects them, describes them, calls them.
//
// Nothing a tool throws leaves `call` as it is: what the world does not know would end the component as a crash, and the
// model would read no reason. There is no fetch, no timer, no console and no TextDecoder here; powers are imports.

/** Why a tool could not do it. The model reads the text. */
export class ToolError extends Error {}

/** The arguments make no sense, beyond what the schema says. The model reads the text and may try again. */
export class BadArguments extends ToolError {}

export interface Tool<Arguments> {
  description: string;
  /** JSON Schema of the arguments. */
  parameters: object;
  /** What a second call does to the world; `unsafe` where it is left out. */
  effect?: 'none' | 'idempotent' | 'unsafe';
  /** How much a call can hurt; `low_impact_write` where it is left out. `approval_required` waits for a person. */
  risk?: 'read' | 'low_impact_write' | 'approval_required';
  /** With `conversation` what it has in variables is there for the conversation's next call, most of the time. */
  keep?: 'nothing' | 'conversation';
  run(args: Arguments): unknown;
}

/** A tool whose arguments have this type. The schema is what holds; the type has to say the same. */
export function tool<Arguments>(tool: Tool<Arguments>): Tool<never> {
  return tool as Tool<never>;
}

/** What the component exports, from its tools by name. */
export function defineTools(tools: Record<string, Tool<never>>) {
  return {
    describe: (): string => JSON.stringify(Object.entries(tools).map(([name, { run, ...about }]) => ({ name, ...about }))),
    call(name: string, args: string): string {
      try {
        const tool = Object.hasOwn(tools, name) ? tools[name] : undefined;
        if (!tool) throw new BadArguments(`no tool is called ${name}`);
        return JSON.stringify(tool.run(JSON.parse(args) as never) ?? null);
      } catch (error) {
        if (error instanceof BadArguments) throw { tag: 'bad-arguments', val: error.message };
        if (error instanceof ToolError) throw { tag: 'failed', val: error.message };
        throw { tag: 'failed', val: error instanceof Error ? `${error.name}: ${error.message}` : String(error) };
      }
    },
  };
}

/** What an import threw: the error of its interface. */
export function thrown(error: unknown): { tag: string; val?: string } {
  const told = (error as { payload?: unknown } | null)?.payload ?? error;
  if (typeof (told as { tag?: unknown } | null)?.tag === 'string') return told as { tag: string; val?: string };
  return { tag: 'failed', val: error instanceof Error ? error.message : String(error) };
}

/** Bytes of UTF-8 as a text. */
export function text(bytes: Iterable<number>): string {
  return decodeURIComponent(Array.from(bytes, (byte) => '%' + byte.toString(16).padStart(2, '0')).join(''));
}

/** A text as bytes of UTF-8. */
export function bytes(text: string): Uint8Array {
  const plain = encodeURIComponent(text).replace(/%(..)/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
  return Uint8Array.from(plain, (character) => character.charCodeAt(0));
}
