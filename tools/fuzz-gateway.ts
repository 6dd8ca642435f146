/**
 * `node tools/fuzz-gateway.ts [--messages N] [--seed S]`: sends messages that are nearly HTTP/1.1 through a gateway to a
 * recording upstream, and looks for one that the upstream reads otherwise than it was decided, or that carries anything of the
 * caller's but its typed input. Exit code 1, with the message, where one is found. `unheard` counts plain messages that a busy
 * machine did not answer in time. It is handshakes and sockets that take the time: a few hundred messages a second.
 *
 * `node tools/fuzz-gateway.ts --parts [--kinds TEXT]… [--messages N] [--seed S] [--from I] [--minutes M]`: without sockets, what judges
 * messages (HTTP/1.1, targets, heads of HTTP/2, JSON, JSON-RPC, forms, parts, events, lines, gRPC, PostgreSQL, frames of the PROXY
 * protocol), each beside another reader of the same; with `--kinds`, those whose names have one of these. It counts what both read
 * the `same`, and what the gateway took `alone`, because the other could not say what it reads; the rest was refused, or held
 * nothing. Ten million (`--messages 10000000`) take minutes. Each message is made from the seed and its own number alone: a
 * difference names both, and `--from I --messages 1` makes it again, with the same `--kinds`.
 */
import { parseArgs } from 'node:util'
import { fuzzGateway } from '../packages/gateway/test/support/near-http.ts'
import { KINDS, readTwice } from '../packages/gateway/test/support/readings/index.ts'
import { startWorld } from '../packages/gateway/test/support/world.ts'

const ROUND = 2000
const NOTE_EVERY_MS = 10_000

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '20000' },
    seed: { type: 'string', default: String(Date.now() % 1e6) },
    parts: { type: 'boolean', default: false },
    kinds: { type: 'string', multiple: true, default: [] },
    from: { type: 'string', default: '0' },
    minutes: { type: 'string' },
  },
})
const messages = numberOf('messages', values.messages)
const seed = numberOf('seed', values.seed)
const from = numberOf('from', values.from)
const until =
  values.minutes === undefined
    ? Number.POSITIVE_INFINITY
    : performance.now() + numberOf('minutes', values.minutes) * 60_000

/** A run of no messages would find nothing, and say so. */
function numberOf(name: string, text: string): number {
  const number = Number(text)
  if (text === '' || !(number >= 0)) throw new TypeError(`--${name} \`${text}\` is no number`)
  return number
}

async function parts(): Promise<void> {
  // Most messages are refused, and nobody reads where.
  Error.stackTraceLimit = 0
  let noted = performance.now()
  const note = (done: number): void => {
    if (performance.now() < noted + NOTE_EVERY_MS) return
    noted = performance.now()
    process.stderr.write(`fuzz-gateway: ${done} messages, seed ${seed}\n`)
  }
  const chosen = KINDS.filter(
    ({ name }) => values.kinds.length === 0 || values.kinds.some((text) => name.includes(text)),
  )
  if (chosen.length === 0) throw new TypeError('no kind has that in its name')
  const kinds = await readTwice(chosen, { messages, seed, from, until, note })
  const total = Object.values(kinds).reduce((sum, one) => sum + one.messages, 0)
  process.stdout.write(`${JSON.stringify({ seed, from, messages: total, kinds })}\n`)
}

async function wholePath(): Promise<void> {
  const total = { messages: 0, plain: 0, unheard: 0, answered: 0, accepted: 0, forwarded: 0 }
  while (total.messages < messages && performance.now() < until) {
    // A world of its own for each round: what one has logged is not kept for hours.
    const world = await startWorld({ settings: { maxCallsPerSecond: 1e6, maxCallBurst: 1e6 } })
    try {
      // On a busy machine a round may take long.
      const agent = world.agent('teller', 'i1', 24 * 3600)
      const rest = Math.min(ROUND, messages - total.messages)
      const result = await fuzzGateway(world, agent, rest, seed + total.messages)
      total.messages += result.messages
      total.plain += result.plain
      total.unheard += result.unheard
      total.answered += result.answered
      total.accepted += result.accepted
      total.forwarded += result.forwarded
    } finally {
      await world.close()
    }
    process.stderr.write(`fuzz-gateway: ${total.messages} messages, seed ${seed}\n`)
  }
  process.stdout.write(`${JSON.stringify({ seed, ...total })}\n`)
}

process.stderr.write(`fuzz-gateway: seed ${seed}\n`)
await (values.parts ? parts() : wholePath())
