import { createHmac, timingSafeEqual } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { canonicalJson, parseJson, sha256Hex, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'

/** A ciphertext, base64url, the tag at the end of `ct`. */
export interface Wrapped {
  readonly iv: string
  readonly ct: string
}

export interface TermEntry extends Wrapped {
  readonly term: number
  readonly createdAt: number
  readonly spent: number
}

/** The root key under a key that people hold in shares. */
export interface SharesSeal extends Wrapped {
  readonly set: string
  readonly threshold: number
  /** By index. */
  readonly commitments: readonly string[]
}

export interface UnsealerSeal {
  readonly id: string
  readonly wrapped: string
}

/** All that a barrier keeps. Secret parts are wrapped; the whole is authenticated under the root key. */
export interface Document {
  readonly format: 'sallyport-barrier/1'
  readonly id: string
  /** Counts up by one with each write. */
  readonly revision: number
  readonly terms: readonly TermEntry[]
  readonly shares?: SharesSeal
  /** A new set of shares, not confirmed. */
  readonly pending?: SharesSeal
  readonly unsealer?: UnsealerSeal
}

const MAX_BYTES = 4 << 20
const CHECKSUM = 16

/** `CHECKSUM MAC JSON`: the checksum tells damage before anybody unseals; the MAC tells a forger after. */
export function encodeDocument(document: Document, macKey: KeyObject): string {
  const body = `${macOf(canonicalJson(document), macKey)} ${canonicalJson(document)}`
  return `${sha256Hex(body).slice(0, CHECKSUM)} ${body}\n`
}

/**
 * Reads a document back. What it says is to be believed once `checkMac` has seen it.
 *
 * @throws SallyportError `SP_SEAL_CORRUPT`
 */
export function decodeDocument(text: string): Document {
  const [, checksum = '', body = ''] = /^([0-9a-f]{16}) (.*)\n$/s.exec(text) ?? []
  if (!checksum || sha256Hex(body).slice(0, CHECKSUM) !== checksum) {
    throw corrupt('its checksum does not match')
  }
  let value: JsonValue
  try {
    value = parseJson(body.slice(body.indexOf(' ') + 1), { maxBytes: MAX_BYTES })
  } catch (cause) {
    throw corrupt('it is not JSON', cause)
  }
  const document = record(value)
  if (document['format'] !== 'sallyport-barrier/1') throw corrupt('it is of another format')
  const terms = list(document['terms']).map((entry, i) => {
    const member = record(entry)
    if (member['term'] !== i + 1) throw corrupt('its key terms are not in order')
    const [createdAt, spent] = [whole(member['createdAt']), whole(member['spent'])]
    return { term: i + 1, createdAt, spent, ...wrappedIn(member) }
  })
  if (terms.length === 0) throw corrupt('it has no key')
  const [shares, pending] = [sealIn(document['shares']), sealIn(document['pending'])]
  const unsealer = unsealerIn(document['unsealer'])
  if (!shares && !unsealer) throw corrupt('nothing could unseal it')
  return {
    format: 'sallyport-barrier/1',
    id: text_(document['id']),
    revision: whole(document['revision']),
    terms,
    ...(shares ? { shares } : {}),
    ...(pending ? { pending } : {}),
    ...(unsealer ? { unsealer } : {}),
  }
}

/**
 * Which of two copies of one barrier is newer. Not authenticated: what it says is to be believed once the barrier is unsealed.
 *
 * @throws SallyportError `SP_SEAL_CORRUPT`
 */
export function barrierRevision(text: string): { readonly id: string; readonly revision: number } {
  const { id, revision } = decodeDocument(text)
  return { id, revision }
}

/** @throws SallyportError `SP_SEAL_CORRUPT` where another than a holder of the root key wrote the document */
export function checkMac(text: string, macKey: KeyObject): void {
  const body = text.slice(CHECKSUM + 1, -1)
  const at = body.indexOf(' ')
  const [given, json] = [Buffer.from(body.slice(0, at)), body.slice(at + 1)]
  const expected = Buffer.from(macOf(json, macKey))
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
    throw corrupt('it was changed without the root key')
  }
}

function macOf(json: string, macKey: KeyObject): string {
  return createHmac('sha256', macKey).update(json).digest('base64url')
}

function sealIn(value: JsonValue | undefined): SharesSeal | undefined {
  if (value === undefined) return undefined
  const member = record(value)
  const commitments = list(member['commitments']).map(text_)
  const threshold = whole(member['threshold'])
  if (threshold < 2 || threshold > commitments.length) throw corrupt('its shares do not add up')
  return { set: text_(member['set']), threshold, commitments, ...wrappedIn(member) }
}

function unsealerIn(value: JsonValue | undefined): UnsealerSeal | undefined {
  if (value === undefined) return undefined
  const member = record(value)
  return { id: text_(member['id']), wrapped: text_(member['wrapped']) }
}

function wrappedIn(member: Readonly<Record<string, JsonValue>>): Wrapped {
  return { iv: text_(member['iv']), ct: text_(member['ct']) }
}

function record(value: JsonValue | undefined): Readonly<Record<string, JsonValue>> {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw corrupt('a member is missing')
  }
  // Narrowed to a JSON object above; TypeScript keeps the readonly array in the union.
  return value as Readonly<Record<string, JsonValue>>
}

function list(value: JsonValue | undefined): readonly JsonValue[] {
  // `Array.isArray` does not narrow readonly arrays; the value is JSON.
  if (Array.isArray(value)) return value as readonly JsonValue[]
  throw corrupt('a list is missing')
}

function text_(value: JsonValue | undefined): string {
  if (typeof value === 'string' && value !== '') return value
  throw corrupt('a text is missing')
}

function whole(value: JsonValue | undefined): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw corrupt('a number is missing')
}

function corrupt(detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_SEAL_CORRUPT', 'the barrier is damaged', {
    detail,
    fix: 'restore it from a backup; what was encrypted under lost keys cannot be recovered',
    cause,
  })
}
