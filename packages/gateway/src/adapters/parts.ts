import { createHash, randomBytes } from 'node:crypto'
import { canonicalJson, parseJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { CedarJson } from '@sallyport/cedar'
import type { InputMember, InputType } from '@sallyport/network'
import { MAX_DEPTH } from '../edge/body.ts'
import { Refusal } from '../refusal.ts'
import { scalarText, textAs, unknownInput } from './texts.ts'

const MAX_PARTS = 100
const MAX_PART_HEAD = 2048
const MAX_TEXT = 262_144

/** RFC 2046, section 5.1.1, without blanks; nothing beside it. */
const TYPE =
  /^multipart\/form-data\s*;\s*boundary=(?:"([A-Za-z0-9'()+_,./:=?-]{1,70})"|([A-Za-z0-9'+_.-]{1,70}))$/i
const DISPOSITION =
  /^form-data; ?name="([^"\\\p{C}\p{Zl}\p{Zp}]{1,63})"(?:; ?filename="([^"\\/\p{C}\p{Zl}\p{Zp}]{1,255})")?$/iu
const FILE_TYPE = /^[a-z0-9][a-z0-9!#$&^_.+-]{0,62}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}$/
const TEXT_TYPE = /^text\/plain(?:; ?charset="?utf-8"?)?$/
const JSON_TYPE = /^application\/json(?:; ?charset="?utf-8"?)?$/

const CRLF = Buffer.from('\r\n')
const HEAD_END = Buffer.from('\r\n\r\n')
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function badParts(message: string): Refusal {
  return new Refusal('SP_REQUEST_PARTS', message, { status: 400, close: true })
}

/** Bytes of files, by the SHA-256 under which they were authorised. */
export type Files = ReadonlyMap<string, Buffer>

export interface ReadParts {
  readonly value: Readonly<Record<string, JsonValue>>
  readonly files: Files
}

interface Part {
  readonly name: string
  readonly fileName: string | undefined
  readonly type: string | undefined
  readonly content: Buffer
}

/**
 * The boundary of a `multipart/form-data` body (RFC 7578).
 *
 * @param contentType as it was sent: letters of a boundary have their case
 * @returns undefined where it is of another type
 */
export function boundaryOf(contentType: string | undefined): string | undefined {
  const [, quoted, plain] = TYPE.exec(contentType ?? '') ?? []
  return quoted ?? plain
}

/**
 * Reads `multipart/form-data` so strictly that nobody reads it differently: nothing before, between or behind its parts, no header
 * but the two that say what a part is, no name twice where no list is declared. Of a file its name, type, length and
 * SHA-256 are the input.
 *
 * @throws Refusal `SP_REQUEST_PARTS`, `SP_INPUT_UNKNOWN`, `SP_INPUT_TYPE`; SallyportError `SP_JSON_*`
 */
export function readParts(
  body: Buffer,
  boundary: string,
  members: Readonly<Record<string, InputMember>>,
  files: readonly string[],
): ReadParts {
  const value = new Map<string, JsonValue>()
  const lists = new Map<string, JsonValue[]>()
  const bytes = new Map<string, Buffer>()
  for (const part of split(body, boundary)) {
    const { name } = part
    const schema = Object.hasOwn(members, name) ? members[name]?.schema : undefined
    if (schema === undefined) throw unknownInput(name)
    const one = schema.type === 'set' ? schema.items : schema
    const given = files.includes(name) ? fileOf(part, bytes) : fieldOf(part, one)
    if (schema.type === 'set') {
      let list = lists.get(name)
      if (!list) lists.set(name, (list = []))
      list.push(given)
      value.set(name, list)
    } else if (value.has(name)) throw badParts(`the part \`${name}\` stands twice`)
    else value.set(name, given)
  }
  return { value: Object.fromEntries(value), files: bytes }
}

function fileOf({ name, fileName, type, content }: Part, bytes: Map<string, Buffer>): JsonValue {
  if (fileName === undefined) throw badParts(`the part \`${name}\` is not sent as a file`)
  // What browsers write for a quote or a line break, or the very characters: nobody knows.
  if (/^\.{1,2}$|%(?:22|0d|0a)/i.test(fileName)) {
    throw badParts(`the name of the file \`${name}\` is not plain`)
  }
  const stated = type ?? 'application/octet-stream'
  if (!FILE_TYPE.test(stated)) throw badParts(`the type of the file \`${name}\` is not plain`)
  const sha256 = createHash('sha256').update(content).digest('hex')
  bytes.set(sha256, content)
  return { name: fileName, type: stated, size: content.length, sha256 }
}

function fieldOf({ name, fileName, type, content }: Part, schema: InputType): JsonValue {
  if (fileName !== undefined) throw badParts(`the part \`${name}\` is no file`)
  if (content.length > MAX_TEXT) throw badParts(`the part \`${name}\` is too long`)
  if (schema.type === 'record' || schema.type === 'set') {
    if (!JSON_TYPE.test(type ?? '')) {
      throw badParts(`the part \`${name}\` is not \`application/json\``)
    }
    return parseJson(content, { maxBytes: MAX_TEXT, maxDepth: MAX_DEPTH, exactDecimals: true })
  }
  if (type !== undefined && !TEXT_TYPE.test(type)) {
    throw badParts(`the part \`${name}\` is not \`text/plain\``)
  }
  return textAs(name, utf8Text(content), schema)
}

function split(body: Buffer, boundary: string): Part[] {
  const first = Buffer.from(`--${boundary}`)
  const next = Buffer.from(`\r\n--${boundary}`)
  if (!body.subarray(0, first.length).equals(first)) {
    throw badParts('the body does not begin with its boundary')
  }
  const parts: Part[] = []
  let at = first.length
  while (!isAt(body, at, '--')) {
    if (!isAt(body, at, '\r\n')) throw badParts('a boundary is followed by something else')
    if (parts.length >= MAX_PARTS) throw badParts('there are too many parts')
    at += CRLF.length
    // Of bytes without end, no more than a head can have are looked at.
    const head = body.subarray(at, at + MAX_PART_HEAD)
    const length = head.indexOf(HEAD_END)
    if (length < 0) throw badParts('a part has no head, or one that is too long')
    const start = at + length + HEAD_END.length
    const end = body.indexOf(next, start)
    if (end < 0) throw badParts('the last boundary is missing')
    const content = body.subarray(start, end)
    // RFC 2046, section 5.1.1: it must not. Some look for it at the beginning of a line only, and some do not.
    if (content.includes(first)) throw badParts('a part has the boundary in it')
    parts.push({ ...readHead(head.subarray(0, length)), content })
    at = end + next.length
  }
  const rest = body.subarray(at + 2)
  if (rest.length > 0 && !rest.equals(CRLF)) throw badParts('something stands behind the last part')
  return parts
}

const isAt = (body: Buffer, at: number, text: string): boolean =>
  body.toString('latin1', at, at + text.length) === text

function readHead(bytes: Buffer): Omit<Part, 'content'> {
  const headers = new Map<string, string>()
  for (const line of utf8Text(bytes).split('\r\n')) {
    const [, name = '', value = ''] = /^([A-Za-z-]+): ?([^\r\n]*)$/.exec(line) ?? []
    const key = name.toLowerCase()
    if (key !== 'content-disposition' && key !== 'content-type') {
      throw badParts('a part has a header that is not accepted')
    }
    if (headers.has(key)) throw badParts(`a part has \`${key}\` twice`)
    headers.set(key, value)
  }
  const [, name, fileName] = DISPOSITION.exec(headers.get('content-disposition') ?? '') ?? []
  if (name === undefined) throw badParts('a part does not say plainly what it is')
  return { name, fileName, type: headers.get('content-type')?.toLowerCase() }
}

function utf8Text(bytes: Buffer): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw badParts('a part is not UTF-8')
  }
}

/**
 * The parts to forward, written anew: fields in the order of their names, files behind them, and a boundary that nobody could know.
 *
 * @param input the members that travel in the body
 * @throws Refusal `SP_INPUT_VALUE` for a file that was not sent
 */
export function writeParts(
  input: Readonly<Record<string, CedarJson | undefined>>,
  isFile: (name: string) => boolean,
  files: Files,
): { readonly body: Buffer; readonly type: string } {
  const pieces: Buffer[] = []
  const boundary = `sallyport-${randomBytes(24).toString('hex')}`
  const part = (head: string, content: Buffer): void => {
    pieces.push(Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; ${head}\r\n\r\n`))
    pieces.push(content, CRLF)
  }
  const names = Object.keys(input).toSorted()
  for (const name of names.filter((one) => !isFile(one))) {
    for (const value of itemsOf(input[name])) {
      if (typeof value === 'object') {
        const head = `name="${name}"\r\nContent-Type: application/json`
        part(head, Buffer.from(canonicalJson(value)))
      } else part(`name="${name}"`, Buffer.from(scalarText(value)))
    }
  }
  for (const name of names.filter(isFile)) {
    for (const value of itemsOf(input[name])) {
      // As its schema has typed it.
      const file = value as {
        readonly name: string
        readonly type: string
        readonly sha256: string
      }
      const content = files.get(file.sha256)
      if (!content) {
        throw new Refusal('SP_INPUT_VALUE', `the file \`${name}\` was not sent`, { status: 400 })
      }
      part(`name="${name}"; filename="${file.name}"\r\nContent-Type: ${file.type}`, content)
    }
  }
  pieces.push(Buffer.from(`--${boundary}--\r\n`))
  return { body: Buffer.concat(pieces), type: `multipart/form-data; boundary=${boundary}` }
}

// `Array.isArray` does not narrow readonly arrays by itself.
const itemsOf = (value: CedarJson | undefined): readonly (CedarJson | undefined)[] =>
  Array.isArray(value) ? (value as readonly CedarJson[]) : [value]
