// The interfaces of wit/deps/frontdesk-tool as JavaScript sees them.

declare module 'frontdesk:tool/log@0.1.0' {
  export function write(level: 'debug' | 'info' | 'warn' | 'error', message: string): void;
}

declare module 'frontdesk:tool/fetch@0.1.0' {
  export interface Field { name: string; value: string }
  export interface Credential {
    /** The name of the server's secret. */
    secret: string;
    place: 'header' | 'query' | 'cookie';
    /** Of the header, the query's parameter or the cookie. */
    name: string;
    /** Before the secret, for instance `Bearer `. */
    prefix: string;
    /** The secret in base64, as HTTP Basic wants it. */
    base64: boolean;
  }
  export interface Request { method: string; url: string; headers: Field[]; credentials: Credential[]; body: Uint8Array }
  export interface Response { status: number; headers: Field[]; body: Uint8Array }
  /** Throws `{ tag: 'denied' | 'timeout' | 'too-large' | 'failed', val?: string }`; see `thrown`. */
  export function send(request: Request): Response;
}

declare module 'frontdesk:tool/kv@0.1.0' {
  export function get(key: string): Uint8Array | null;
  /** Throws `{ tag: 'full' }` where there is no room. */
  export function set(key: string, value: Uint8Array): void;
}

declare module 'frontdesk:tool/clock@0.1.0' {
  /** Microseconds since 1970-01-01T00:00:00Z. */
  export function now(): number;
}

declare module 'frontdesk:tool/random@0.1.0' {
  /** At most 4096 in one call. */
  export function bytes(len: number): Uint8Array;
}

declare module 'frontdesk:tool/context@0.1.0' {
  /** The same for every attempt of this call, and no other call's. */
  export function idempotencyKey(): string;
}
