import { canonicalJson, parseJson, SallyportError } from '@sallyport/base'
import { canonicalise } from '../../src/edge/canonical.ts'
import { encodeComponent } from '../../src/edge/target.ts'
import type { Seen } from './service.ts'
import type { TestAgent, World } from './world.ts'

/** Whole numbers below a bound, the same for the same seed (mulberry32). */
export type Chance = (below: number) => number

export function chanceOf(seed: number): Chance {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t ^= t + Math.imul(t ^ (t >>> 7), 61 | t)
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4_294_967_296) * below)
  }
}

const pick = <T>(chance: Chance, from: readonly [T, ...T[]]): T =>
  from[chance(from.length)] ?? from[0]

const BODY = '{"amount":1,"to":"bob"}'
const JSON_TYPE = 'Content-Type: application/json'

const PLAIN: readonly [string, ...string[]] = [
  'GET /bank/v1/accounts/A HTTP/1.1\r\nHost: g\r\n\r\n',
  'GET /bank/v1/accounts/A%20%C3%A4 HTTP/1.1\r\nHost: g\r\nAccept: */*\r\n\r\n',
  `POST /bank/v1/accounts/A/transfers HTTP/1.1\r\nHost: g\r\n${JSON_TYPE}\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
  `POST /bank/v1/accounts/A/transfers HTTP/1.1\r\nHost: g\r\n${JSON_TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`,
]

/** What two parsers have read differently before: pieces of framing, of targets, of names. */
const PIECES: readonly [string, ...string[]] = [
  ...([
    '\r\n',
    '\n',
    '\r',
    '\0',
    ' ',
    '\t',
    ':',
    ';',
    '#',
    '?',
    '\\',
    '/',
    '//',
    '/../',
    '/./',
    '%2f',
    '%2e',
    '%00',
    '%u002f',
    '%c0%af',
    '..;/',
    '@',
    '_',
    '"',
    ',',
    '\v',
    '\f',
    '\x7f',
    '\xa0',
    '\xff',
    '\x85',
    '0',
    '-1',
    '+1',
    '0x17',
    '17',
    '\r\n ',
    'Content-Length: 0\r\n',
    'Content-Length: 5\r\n',
    'content-length : 23\r\n',
    'Content-Length: 23, 23\r\n',
    'Content_Length: 1\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Transfer-Encoding: identity\r\n',
    'Transfer-Encoding: xchunked\r\n',
    'Transfer-Encoding:\x0bchunked\r\n',
    'transfer-encoding\t: chunked\r\n',
    'Transfer_Encoding: chunked\r\n',
    'TE: trailers\r\n',
    'Host: evil\r\n',
    'X-Host: evil\r\n',
    'X-HTTP-Method-Override: DELETE\r\n',
    'X-Original-URL: /vault\r\n',
    'Connection: close\r\n',
    'Connection: Upgrade\r\nUpgrade: websocket\r\n',
    'Connection: host\r\n',
    'Expect: 100-continue\r\n',
    'Content-Encoding: gzip\r\n',
    'Sallyport-Call-Token: x\r\n',
    'Trailer: host\r\n',
    '0\r\n\r\n',
    '17\r\n',
    '17;a=b\r\n',
    '17;\n',
    '1\r\n{\r\n',
    ' HTTP/1.0',
    ' HTTP/1.1',
    ' HTTP/2.0',
    'HTTP/0.9',
    'GET ',
    'POST ',
    'PUT ',
    'http://evil/',
    '{"amount":9}',
    ',"amount":2',
    '\ud83d\ude00',
  ] as const),
]

/** A message that is nearly HTTP/1.1, or quite; each character is one byte. */
export function nearHttp(chance: Chance): { readonly bytes: Buffer; readonly plain: boolean } {
  let text = pick(chance, PLAIN)
  const changes = chance(3)
  for (let i = 0; i < changes; i++) text = changed(text, chance)
  const bytes = Buffer.from(text, 'latin1')
  return { bytes, plain: changes === 0 }
}

function changed(text: string, chance: Chance): string {
  const at = chance(text.length + 1)
  switch (chance(7)) {
    case 0:
      return text.slice(0, at) + pick(chance, PIECES) + text.slice(at)
    case 1:
      return text.slice(0, at) + pick(chance, PIECES) + text.slice(at + 1 + chance(8))
    case 2:
      return text.slice(0, at) + text.slice(at + 1 + chance(4))
    case 3: {
      // At the beginning of a line, where headers and chunks stand.
      const lines = text.split('\r\n')
      const line = chance(lines.length)
      return [
        ...lines.slice(0, line),
        pick(chance, PIECES).replace(/\r\n$/, ''),
        ...lines.slice(line),
      ].join('\r\n')
    }
    case 4: {
      const lines = text.split('\r\n')
      const line = chance(lines.length)
      return [...lines.slice(0, line), lines[line] ?? '', ...lines.slice(line)].join('\r\n')
    }
    case 5:
      return text.slice(0, at) + String.fromCharCode(chance(256)) + text.slice(at + 1)
    default:
      return (
        text.slice(0, at) +
        text.slice(at).replace('\r\n', pick(chance, ['\n', '\r', '\r\n\r\n', '\n\r\n', ' \r\n']))
      )
  }
}

export interface FuzzResult {
  readonly messages: number
  /** Sent unchanged. */
  readonly plain: number
  /** Sent unchanged, and not answered within a minute, however often. */
  readonly unheard: number
  readonly answered: number
  readonly accepted: number
  readonly forwarded: number
}

/**
 * Sends messages through a gateway, some of them in pieces and several on a connection.
 *
 * @throws Error naming what was forwarded that had another reading, or was not decided
 */
export async function fuzzGateway(
  world: World,
  agent: TestAgent,
  messages: number,
  seed: number,
): Promise<FuzzResult> {
  const total = {
    messages: 0,
    sent: 0,
    unheard: 0,
    plain: 0,
    answered: 0,
    accepted: 0,
    forwarded: 0,
  }
  const { refusals } = world.bank
  const from = world.bank.seen.length
  const lane = async (chance: Chance): Promise<void> => {
    while (total.messages < messages) {
      const batch = Array.from({ length: 1 + chance(3) }, () => nearHttp(chance))
      total.messages += batch.length
      const bytes = Buffer.concat(batch.map((one) => one.bytes))
      const plain = batch.every((one) => one.plain)
      if (plain) total.plain += batch.length
      let statuses: string[] = []
      let good = 0
      // A machine that is busy may have no time for a call: what matters is whether it is served at all.
      for (let tries = plain ? TRIES : 1; tries > 0 && good < batch.length; tries--) {
        statuses = await talk(agent, bytes, chance, batch.length, plain).catch(notInTime)
        total.sent += batch.length
        good = statuses.filter((status) => status === '200').length
      }
      const seen = world.bank.seen.splice(from)
      total.answered += statuses.length
      total.accepted += good
      total.forwarded += seen.length
      const context = `near ${JSON.stringify(bytes.toString('latin1'))}, seed ${seed}`
      if (world.bank.refusals > refusals) {
        throw new Error(`the upstream read what was not decided: ${context}`)
      }
      // A call may come in after its caller was given up on: what counts is the sum.
      if (total.forwarded > total.sent) {
        throw new Error(`more calls than messages: ${context}`)
      }
      // Where nothing at all was heard the machine had no time for it.
      if (plain && statuses.length === 0) total.unheard += batch.length
      else if (plain && good !== batch.length) {
        throw new Error(`a plain message was not served (${statuses.join()}): ${context}`)
      }
      for (const one of seen) demandCanonical(one, context)
    }
  }
  await Promise.all(Array.from({ length: LANES }, (_, i) => lane(chanceOf(seed * LANES + i))))
  return total
}

/** How often a plain message is sent until it is served. */
const TRIES = 3

function notInTime(error: unknown): string[] {
  if (error instanceof SallyportError && error.code === 'SP_CONNECT_TIMEOUT') return []
  throw error
}

/** Connections that talk at once. */
const LANES = 16

/** How long nothing has to be heard of a message that is none before it is given up. */
const QUIET_MS = 25

/** @returns the statuses heard: all of them where `patient`, as many as came soon otherwise */
async function talk(
  agent: TestAgent,
  bytes: Buffer,
  chance: Chance,
  wanted: number,
  patient: boolean,
): Promise<string[]> {
  const socket = await agent.raw()
  let heard = ''
  // With the code of a refusal, which is to be told where a plain message was not served.
  const statuses = (): string[] =>
    [...heard.matchAll(/HTTP\/1\.1 (\d{3}) (?:(?!HTTP\/1\.1 \d{3} )[^])*/g)].map(
      ([text, status = '']) => `${status}${/ ?SP_[A-Z_]+/.exec(text)?.[0] ?? ''}`,
    )
  await new Promise<void>((resolve) => {
    const quiet = setTimeout(resolve, patient ? 60_000 : QUIET_MS)
    const done = (): void => {
      clearTimeout(quiet)
      resolve()
    }
    socket.on('data', (chunk: Buffer) => {
      heard += chunk.toString('latin1')
      if (!patient) quiet.refresh()
      if (statuses().length >= wanted) done()
    })
    socket.on('error', () => undefined)
    socket.once('close', done)
    const cut = chance(4) === 0 ? chance(bytes.length) : 0
    if (cut > 0) socket.write(bytes.subarray(0, cut))
    socket.write(bytes.subarray(cut))
  })
  socket.destroy()
  return statuses()
}

const HEADERS = new Set([
  ...['host', 'connection', 'accept', 'accept-encoding', 'content-type', 'content-length'],
  'sallyport-call-token',
])

/** What the upstream read must have exactly one reading, and be spelled in the one way that we spell it. */
function demandCanonical({ method, url, rawHeaders, body }: Seen, context: string): void {
  const names = rawHeaders.filter((_text, i) => i % 2 === 0).map((name) => name.toLowerCase())
  const foreign = names.find((name) => !HEADERS.has(name))
  if (foreign !== undefined || new Set(names).size !== names.length) {
    throw new Error(`a header of the caller went on (${String(foreign)}): ${context}`)
  }
  const { target, hasBody } = canonicalise({
    method,
    url: `/bank${url}`,
    httpVersion: '1.1',
    rawHeaders,
  })
  const path = target.segments
    .slice(1)
    .map((segment) => `/${encodeComponent(segment)}`)
    .join('')
  const query = [...target.query].map(
    ([name, value]) => `${encodeComponent(name)}=${encodeComponent(value)}`,
  )
  if (url !== path + (query.length > 0 ? `?${query.join('&')}` : '')) {
    throw new Error(`a target with another spelling went on: ${context}`)
  }
  if (hasBody !== (body !== '') || (body !== '' && canonicalJson(parseJson(body)) !== body)) {
    throw new Error(`a body with another spelling went on: ${context}`)
  }
}
