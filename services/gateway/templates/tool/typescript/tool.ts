// The tools of this component. Each gets the arguments of its schema; what it returns is JSON.

import { type Response, send } from 'frontdesk:tool/fetch@0.1.0';
import { write } from 'frontdesk:tool/log@0.1.0';
import { ToolError, defineTools, text, thrown, tool } from './sdk.js';

const CARRIER = 'https://parcels.example';

interface Order {
  status: string;
  parcel: string | null;
}

/** Stands for the shop's own orders. */
const ORDERS = new Map<string, Order>([
  ['48213', { status: 'shipped', parcel: 'PX-481' }],
  ['48302', { status: 'in production', parcel: null }],
]);

export const tools = defineTools({
  order_status: tool<{ order_number: string }>({
    description: "Look up one of the shop's orders by its number: its status and the number of its parcel.",
    parameters: {
      type: 'object',
      properties: { order_number: { type: 'string', minLength: 1, maxLength: 32, description: 'For example 48213.' } },
      required: ['order_number'],
      additionalProperties: false,
    },
    effect: 'none',
    risk: 'read',
    run({ order_number }) {
      const order = ORDERS.get(order_number);
      if (!order) throw new ToolError(`no order has the number ${order_number}`);
      return { order_number, ...order };
    },
  }),

  track_parcel: tool<{ parcel: string }>({
    description: 'Ask the carrier where a parcel is.',
    parameters: {
      type: 'object',
      properties: { parcel: { type: 'string', pattern: '^PX-[0-9]+$', description: "The parcel's number, for example PX-481." } },
      required: ['parcel'],
      additionalProperties: false,
    },
    effect: 'none',
    risk: 'read',
    run({ parcel }) {
      const answer = ask(`${CARRIER}/v1/parcels/${encodeURIComponent(parcel)}`);
      write('info', `the carrier answered ${answer.status} for ${parcel}`);
      if (answer.status === 404) throw new ToolError(`the carrier knows no parcel ${parcel}`);
      if (answer.status !== 200) throw new ToolError(`the carrier answered with status ${answer.status}`);
      const { state, city } = JSON.parse(text(answer.body)) as { state: string; city: string };
      return { parcel, state, city };
    },
  }),
});

function ask(url: string): Response {
  try {
    // A secret goes along by its name alone, and it has to be among `secrets` in tool.yaml:
    // credentials: [{ secret: 'carrier_token', place: 'header', name: 'authorization', prefix: 'Bearer ', base64: false }]
    return send({ method: 'GET', url, headers: [], credentials: [], body: new Uint8Array() });
  } catch (error) {
    const why = thrown(error);
    throw new ToolError(`the carrier could not be asked: ${why.val ?? why.tag}`);
  }
}
