import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import { PassThrough } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { loadModule, parseSync } from 'libpg-query'
import { ClientWire } from '../../../src/sql/client.ts'
import { SqlRefusal } from '../../../src/sql/refuse.ts'
import {
  beginningOf,
  isCancel,
  readCancel,
  readStart,
  wantedSettings,
} from '../../../src/sql/start.ts'
import { quoteName, quoteText } from '../../../src/sql/text/names.ts'
import { scram } from '../../../src/sql/upstream/scram.ts'
import type { Chance } from '../near-http.ts'
import { changed, changedBytes, cut, demandSame, orRefused, pick } from './reading.ts'
import type { Kind } from './reading.ts'

const SSL = '0000000804d2162f'
const GSS = '0000000804d21630'
const BEGINNINGS = [SSL, GSS, '1603010200010001', '0000001004d2162e', '0000002300030000'] as const

const V3 = '00030000'
const pair = (name: string, value: string): string =>
  Buffer.from(`${name}\0${value}\0`).toString('hex')
const WHO = `${pair('user', 'teller')}${pair('database', 'é')}`
/** Starts of sessions, and what else a first message may be, without their lengths. */
const STARTS = [
  `${V3}00`,
  `${V3}${WHO}00`,
  `00030002${WHO}${pair('TimeZone', 'UTC')}00`,
  `${V3}${WHO}${pair('TimeZone', 'UTC')}${pair('timezone', 'CET')}00`,
  `${V3}${WHO}${pair('_pq_.a', '1')}${pair('_pq_.b', '')}00`,
  `${V3}${WHO}${pair('options', '')}${pair('replication', '')}00`,
  `00020000${WHO}00`,
  '04d2162e0000002a01020304',
  '04d2162e7fffffffffffffff',
] as const
const bytesOf = (hex: string): Buffer => Buffer.from(hex, 'hex')

/** By section 54.7, from the text of the bytes: undefined for what is no start, or not one of version 3. */
function plainStart(body: Buffer): unknown {
  const [, minor, digits] = /^0003(.{4})((?:..)*)00$/.exec(body.toString('hex')) ?? []
  if (minor === undefined || digits === undefined) return undefined
  const rest = bytesOf(digits).toString('latin1')
  // Every text has its end, and the last of them is the end of all.
  const parts = rest === '' ? [] : rest.split('\0')
  if (parts.length > 0 && parts.pop() !== '') return undefined
  if (parts.length % 2 === 1) return undefined
  const settings: [string, string][] = []
  const options: string[] = []
  for (let i = 0; i < parts.length; i += 2) {
    const texts = [parts[i], parts[i + 1]].map((part = '') => Buffer.from(part, 'latin1'))
    const [name = '', value = ''] = texts.map(String)
    if (name === '' || !texts.every((bytes) => Buffer.from(String(bytes)).equals(bytes))) {
      return undefined
    }
    if (name.startsWith('_pq_.')) options.push(name)
    else if (settings.some(([other]) => other.toLowerCase() === name.toLowerCase()))
      return undefined
    else settings.push([name, value])
  }
  const isNewer = minor !== '0000' || options.length > 0
  return [settings, isNewer ? options : null]
}

/** As a client reads it (NegotiateProtocolVersion): the names of the options that there are none of. */
function plainNegotiation([answer]: readonly Buffer[]): string[] | null {
  if (!answer) return null
  const view = new DataView(answer.buffer, answer.byteOffset, answer.length)
  const names = answer.subarray(13).toString().split('\0').slice(0, -1)
  demandSame(
    'NegotiateProtocolVersion',
    answer.toString('hex'),
    [answer[0], view.getUint32(1) + 1, view.getUint32(5), view.getUint32(9)],
    [0x76, answer.length, 196_608, names.length],
  )
  return names
}

/** What a client's connection makes of bytes that come in pieces: the first message, and how many came behind it. */
async function firstOf(pieces: readonly Buffer[]): Promise<string | null> {
  // A stream is all that is used of it.
  const stream = Object.assign(new PassThrough(), { setNoDelay: () => undefined })
  const client = new ClientWire(stream as unknown as TLSSocket, 100, 80)
  const first = client.first().then(
    (body) => body?.toString('hex') ?? null,
    (error: unknown) => {
      if (error instanceof SqlRefusal) return null
      throw error
    },
  )
  for (const piece of pieces) {
    stream.write(piece)
    await new Promise(setImmediate)
  }
  stream.end()
  const body = await first
  stream.destroy()
  return body
}

function plainFirst(bytes: Buffer): string | null {
  const digits = bytes.toString('hex')
  const length = Number.parseInt(digits.slice(0, 8), 16)
  return bytes.length >= 4 && length >= 8 && length <= 80 && bytes.length >= length
    ? digits.slice(8, length * 2)
    : null
}

const SETTINGS = [
  ['TimeZone', 'Europe/Berlin'],
  ['application_name', "psql 'x'"],
  ['DateStyle', 'ISO, DMY'],
  ['client_encoding', "'utf-8'"],
  ['extra_float_digits', '-3'],
  ['statement_timeout', '5000'],
  ['standard_conforming_strings', 'on'],
  ['search_path', 'public'],
] as const
const PIECES = ["'", '"', '\\', ';', '--', '/*', '$$', '\0', 'é', ' ', ',', '=', 'E', '0', '\n']
/** What may be set, in the words of the documentation. */
const MAY = new Set([
  ...['application_name', 'client_encoding', 'client_min_messages', 'datestyle', 'intervalstyle'],
  ...['timezone', 'extra_float_digits', 'bytea_output', 'standard_conforming_strings'],
  'statement_timeout',
])

interface SetNode {
  readonly stmts?: readonly { readonly stmt?: { readonly VariableSetStmt?: unknown } }[]
}

/** What PostgreSQL itself reads in a text that sets something. */
async function plainSet(sql: string): Promise<unknown> {
  await loadModule()
  // Typed as anything by the library.
  const { stmts = [] } = parseSync(sql) as SetNode
  return stmts.map(({ stmt }) => stmt?.VariableSetStmt)
}

const PASSWORD = 'pencil ~ 1'
const SALT = 'W22ZaJ0SNY7soEsUEjb6gQ=='
/** More than this takes too long to try a hundred thousand times, and is the same work. */
const MOST_ITERATIONS = 500

const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()

/** The server's side of RFC 5802, section 3: whether a proof is of the password, and what it answers to one. */
function server(
  [bare, first, final]: readonly [string, string, string],
  [salt, iterations]: readonly [Buffer, number],
): { readonly proven: boolean; readonly signature: string } {
  const salted = pbkdf2Sync(PASSWORD, salt, iterations, 32, 'sha256')
  const stored = createHash('sha256').update(hmac(salted, 'Client Key')).digest()
  const [, withoutProof = '', proof = ''] = /^(.*),p=(.*)$/.exec(final) ?? []
  const message = `${bare},${first},${withoutProof}`
  const signature = hmac(stored, message)
  const key = Buffer.from(proof, 'base64').map((byte, i) => byte ^ (signature[i] ?? 0))
  return {
    proven: createHash('sha256').update(key).digest().equals(stored),
    signature: hmac(hmac(salted, 'Server Key'), message).toString('base64'),
  }
}

/** A challenge attribute by attribute; undefined where it is none for this nonce. */
function plainChallenge(first: string, nonce: string): readonly [Buffer, number] | undefined {
  const parts = first.split(',')
  const [r = '', s = '', i = ''] = parts
  const named = r.startsWith('r=') && s.startsWith('s=') && i.startsWith('i=')
  if (parts.length !== 3 || !named) return undefined
  const more = r.slice(2 + nonce.length)
  const isOurs = r.slice(2).startsWith(nonce) && more !== ''
  const isPrintable = Buffer.from(more).every((byte) => byte > 0x20 && byte < 0x7f)
  const salt = Buffer.from(s.slice(2), 'base64')
  const isSalt = salt.length > 0 && salt.toString('base64') === s.slice(2)
  const count = Number(i.slice(2))
  const isCount = count >= 1 && count <= 1_000_000 && String(count) === i.slice(2)
  return isOurs && isPrintable && isSalt && isCount ? [salt, count] : undefined
}

const SCRAM_PIECES = [
  ...['r=', 's=', 'i=', 'v=', ',', '=', '==', 'A', '0', '1', ' ', '\n', 'é', '+'],
  ...['m=x,', ',x=y', 'e=no', '\0', '/', '%'],
]

async function scramOnce(chance: Chance): Promise<'same' | 'refused'> {
  const exchange = scram(PASSWORD)
  const bare = exchange.first.slice(3)
  const nonce = bare.slice('n=,r='.length)
  const given = `r=${nonce}%hvY,s=${SALT},i=${1 + chance(40)}`
  // The nonce is new each time, and always as long: most changes are behind it, and are the same ones again.
  const at = chance(4) === 0 ? 0 : 2 + nonce.length
  const first = given.slice(0, at) + changed(given.slice(at), SCRAM_PIECES, chance, 2)
  const challenge = plainChallenge(first, nonce)
  if (challenge && challenge[1] > MOST_ITERATIONS) return 'refused'
  const final = await exchange.final(first).catch((error: unknown) => {
    if (error instanceof Error && error.message.includes('challenge')) return undefined
    throw error
  })
  demandSame('challenge', first, final !== undefined, challenge !== undefined)
  if (final === undefined || !challenge) return 'refused'
  const { proven, signature } = server([bare, first, final], challenge)
  demandSame('proof', [first, final], proven, true)
  const answer = changed(`v=${signature}`, SCRAM_PIECES, chance, 1)
  const isRight = answer === `v=${signature}`
  demandSame('proof of the server', [first, answer], exchange.verify(answer), isRight)
  return isRight ? 'same' : 'refused'
}

export const postgresStart: readonly Kind[] = [
  {
    name: 'how connections of PostgreSQL begin, beside a reader of their digits',
    share: 5,
    read: (chance) => {
      const bytes = changedBytes(bytesOf(pick(chance, BEGINNINGS)), chance).subarray(0, 8)
      const isMore = chance(4) === 0
      if (bytes.length < 8) return 'refused'
      const hex = bytes.toString('hex')
      const asks = isMore ? 'none' : hex === SSL ? 'ssl' : hex === GSS ? 'gss' : 'none'
      const ours = beginningOf(bytes, isMore)
      demandSame('beginning', [hex, isMore], ours, hex.startsWith('16') ? 'handshake' : asks)
      return ours === 'none' ? 'refused' : 'same'
    },
  },
  {
    name: 'starts of sessions of PostgreSQL, beside a reader of their texts',
    share: 15,
    read: (chance) => {
      const body = changedBytes(bytesOf(pick(chance, STARTS)), chance)
      if (body.length < 4) return 'refused'
      const hex = body.toString('hex')
      const [, session, secret] = /^04d2162e(.{8})(.{8})$/.exec(hex) ?? []
      const cancel = readCancel(body)
      demandSame('CancelRequest', hex, isCancel(body), hex.startsWith('04d2162e'))
      demandSame(
        'CancelRequest',
        hex,
        cancel ? [cancel.session, cancel.secret.toString('hex')] : null,
        session === undefined ? null : [Number.parseInt(session, 16), secret],
      )
      const read = orRefused(() => readStart(body), RangeError)
      const ours = read && [[...read.settings], plainNegotiation(read.newest)]
      demandSame('start of a session', hex, ours ?? null, plainStart(body) ?? null)
      return read || cancel ? 'same' : 'refused'
    },
  },
  {
    name: 'first messages of PostgreSQL in pieces, beside the whole',
    share: 3,
    read: async (chance) => {
      const body = bytesOf(pick(chance, STARTS))
      const length = Buffer.alloc(4)
      length.writeUInt32BE(body.length + 4)
      const behind = bytesOf('5300000004').subarray(0, chance(6))
      const bytes = changedBytes(Buffer.concat([length, body, behind]), chance)
      const ours = await firstOf(cut(bytes, chance))
      demandSame('first message', bytes.toString('hex'), ours, plainFirst(bytes))
      return ours === null ? 'refused' : 'same'
    },
  },
  {
    name: 'settings that come with a start, beside the parser of PostgreSQL',
    share: 5,
    read: async (chance) => {
      const given = pick(chance, SETTINGS)
      const name = chance(3) === 0 ? changed(given[0], PIECES, chance, 1) : given[0]
      const value = changed(given[1], PIECES, chance, 2)
      const wanted = orRefused(() => wantedSettings(new Map([[name, value]]), 10_000), RangeError)
      if (!wanted) return 'refused'
      const [[set = '', to = ''] = [], ...more] = wanted
      demandSame('settings', [name, value], [set, to, more], [name.toLowerCase(), value, []])
      demandSame('settings that may be', [name, value], MAY.has(set), true)
      const sql = `SET ${quoteName(set)} = ${quoteText(to)}`
      const [read, ...others] = (await plainSet(sql)) as readonly Record<string, unknown>[]
      const values = JSON.stringify(read?.['args'])
      demandSame('SET', sql, [others, read?.['kind'], read?.['name']], [[], 'VAR_SET_VALUE', set])
      demandSame('SET', sql, values?.includes(`"sval":${JSON.stringify(to)}`), true)
      return 'same'
    },
  },
  {
    name: 'challenges and proofs of SCRAM, beside the server’s side',
    share: 4,
    read: scramOnce,
  },
]
