import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { Duplex } from 'node:stream'
import { Call, ClientConnection } from '../../src/h1/client.ts'
import { Fault } from '../../src/h1/fault.ts'
import type { FaultReason } from '../../src/h1/fault.ts'
import type { AnswerHandler } from '../../src/upstream/connections.ts'
import type { Chance } from './near-http.ts'

/** What a parser made of the bytes that a server sent. */
export interface Reading {
  /** All of one answer came, and was taken. */
  readonly whole: boolean
  readonly status: number
  /** Names in lower case, and values, in the order of the names. */
  readonly headers: readonly string[]
  readonly body: string
  /** Why it was not taken. */
  readonly reason: string
}

const NOTHING: Reading = { whole: false, status: 0, headers: [], body: '', reason: 'closed' }
const BOUNDS = { maxBytes: 16_384, maxHeaders: 64 }

/** A connection whose other side says just these pieces and then nothing more. */
class Wire extends Duplex {
  readonly #pieces: readonly Buffer[]
  #hasAsked = false

  constructor(pieces: readonly Buffer[]) {
    super({ autoDestroy: true })
    this.#pieces = pieces
  }

  override _read(): void {
    // Begins with the request.
  }

  override _write(_chunk: unknown, _encoding: string, done: () => void): void {
    done()
    if (this.#hasAsked) return
    this.#hasAsked = true
    for (const piece of this.#pieces) this.push(piece)
    this.push(null)
  }

  setNoDelay(): this {
    return this
  }
}

/** What our own codec makes of an answer. */
export function readLean(method: string, pieces: readonly Buffer[]): Promise<Reading> {
  return new Promise((resolve) => {
    const socket = new Wire(pieces)
    const body: Buffer[] = []
    let head = { status: 0, headers: [] as readonly string[] }
    const handler: AnswerHandler = {
      onRequestStart: () => undefined,
      onResponseStart: (_control, status, headers) => {
        head = { status, headers: sorted(Object.entries(headers)) }
      },
      onResponseData: (_control, piece) => {
        body.push(piece)
      },
      onResponseEnd: () => {
        resolve({ whole: true, ...head, body: textOf(body), reason: '' })
      },
      onResponseError: (_control, error) => {
        const reason = error instanceof Fault ? error.reason : String(error)
        resolve({ ...NOTHING, reason })
      },
    }
    const connection = new ClientConnection(socket, 'a.test', BOUNDS, {
      free: () => undefined,
      gone: () => undefined,
    })
    const call = { method, path: '/', headers: {}, body: null, blocking: false as const }
    connection.start(new Call({ ...call, headersTimeout: 60_000, bodyTimeout: 60_000 }, handler))
  })
}

/** What llhttp makes of it, as strict as Node has it. */
export function readLlhttp(method: string, pieces: readonly Buffer[]): Promise<Reading> {
  return new Promise((resolve) => {
    const socket = new Wire(pieces)
    const asked = request({
      ...{ method, path: '/', host: 'a.test', insecureHTTPParser: false },
      maxHeaderSize: BOUNDS.maxBytes,
      headers: { connection: 'keep-alive' },
      createConnection: () => socket,
    })
    let response: IncomingMessage | undefined
    const lost = (error?: NodeJS.ErrnoException): void => {
      // What is wrong stands behind the answer, which is handed out all the same.
      if (response?.complete !== true) resolve({ ...NOTHING, reason: error?.code ?? 'closed' })
    }
    asked.on('error', lost)
    asked.on('upgrade', () => {
      lost()
    })
    asked.on('response', (answer) => {
      response = answer
      const body: Buffer[] = []
      answer.on('data', (piece: Buffer) => body.push(piece))
      answer.on('error', lost)
      answer.on('close', () => {
        if (!answer.complete) {
          lost()
          return
        }
        const { statusCode: status = 0, rawHeaders } = answer
        const byName = new Map<string, string[]>()
        for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
          const name = (rawHeaders[i] ?? '').toLowerCase()
          byName.set(name, [...(byName.get(name) ?? []), rawHeaders[i + 1] ?? ''])
        }
        const headers = sorted([...byName])
        resolve({ whole: true, status, headers, body: textOf(body), reason: '' })
      })
    })
    socket.on('close', () => {
      // Whatever is to be said of it was said by then, or nothing will be.
      setImmediate(lost)
    })
    asked.end()
  })
}

const textOf = (pieces: readonly Buffer[]): string => Buffer.concat(pieces).toString('latin1')

function sorted(
  headers: readonly (readonly [string, string | readonly string[] | undefined])[],
): readonly string[] {
  return headers
    .flatMap(([name, value = []]) =>
      (typeof value === 'string' ? [value] : value).map((one) => `${name}: ${one}`),
    )
    .toSorted()
}

const TYPE = 'Content-Type: application/json\r\n'
const PLAIN: readonly [string, ...string[]] = [
  `HTTP/1.1 200 OK\r\n${TYPE}Content-Length: 7\r\nDate: x\r\n\r\n{"a":1}`,
  `HTTP/1.1 200 OK\r\n${TYPE}Transfer-Encoding: chunked\r\n\r\n7\r\n{"a":1}\r\n0\r\n\r\n`,
  `HTTP/1.1 200 OK\r\n${TYPE}Transfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n04\r\n":1}\r\n0\r\nX-Sum: 1\r\n\r\n`,
  `HTTP/1.1 200 \r\nContent-Length: 0\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n`,
  'HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n',
  'HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n',
  `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 404 Not Found\r\n${TYPE}Content-Length: 2\r\nConnection: close\r\n\r\n{}`,
]

const PIECES: readonly [string, ...string[]] = [
  ...(['\r\n', '\n', '\r', '\0', ' ', '\t', ':', ';', ',', '"', '\v', '\f', '\x7f'] as const),
  ...['\xa0', '\xff', '\x85', '0', '-1', '+1', '0x7', '7', '007', '\r\n ', '_', '{}'],
  'Content-Length: 0\r\n',
  'Content-Length: 7\r\n',
  'content-length : 7\r\n',
  'Content-Length: 7, 7\r\n',
  'Content-Length:\t7 \r\n',
  'Content_Length: 1\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Transfer-Encoding: CHUNKED\r\n',
  'Transfer-Encoding: identity\r\n',
  'Transfer-Encoding: gzip, chunked\r\n',
  'Transfer-Encoding: chunked, chunked\r\n',
  'Transfer-Encoding:\x0bchunked\r\n',
  'transfer-encoding\t: chunked\r\n',
  'Connection: close\r\n',
  'Connection: Upgrade\r\nUpgrade: websocket\r\n',
  'Connection: keep-alive, close\r\n',
  'Trailer: x\r\n',
  ' folded\r\n',
  '__proto__: x\r\n',
  '0\r\n\r\n',
  '7\r\n',
  '7;a=b\r\n',
  '7;\n',
  '07\r\n',
  '1\r\n{\r\n',
  'HTTP/1.0 200 OK\r\n',
  'HTTP/1.1 100 Continue\r\n\r\n',
  'HTTP/1.1 101 Switching Protocols\r\n\r\n',
  'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
  'HTTP/1.1 204 No Content\r\n\r\n',
  'HTTP/2.0 200 OK\r\n',
]

export interface NearAnswer {
  /** Of the request. */
  readonly method: string
  readonly bytes: Buffer
  /** The same, split. */
  readonly pieces: readonly Buffer[]
}

/** An answer that is nearly HTTP/1.1, or quite; each character is one byte. */
export function nearAnswer(chance: Chance): NearAnswer {
  let text = pick(chance, PLAIN)
  for (let i = chance(4); i > 0; i--) text = changed(text, chance)
  // Another one behind it, of which a parser that is out of step would make something.
  if (chance(8) === 0) text += pick(chance, PLAIN)
  const bytes = Buffer.from(text, 'latin1')
  const method = pick(chance, ['GET', 'GET', 'POST', 'HEAD'])
  return { method, bytes, pieces: split(bytes, chance) }
}

function changed(text: string, chance: Chance): string {
  const at = chance(text.length + 1)
  switch (chance(6)) {
    case 0:
      return text.slice(0, at) + pick(chance, PIECES) + text.slice(at)
    case 1:
      return text.slice(0, at) + pick(chance, PIECES) + text.slice(at + 1 + chance(8))
    case 2:
      return text.slice(0, at) + text.slice(at + 1 + chance(4))
    case 3: {
      // At the beginning of a line, where headers and chunks stand.
      const lines = text.split('\r\n')
      const line = 1 + chance(lines.length)
      const piece = pick(chance, PIECES).replace(/\r\n$/, '')
      return [...lines.slice(0, line), piece, ...lines.slice(line)].join('\r\n')
    }
    case 4: {
      const lines = text.split('\r\n')
      const line = chance(lines.length)
      return [...lines.slice(0, line), lines[line] ?? '', ...lines.slice(line)].join('\r\n')
    }
    default:
      return text.slice(0, at) + String.fromCharCode(chance(256)) + text.slice(at + 1)
  }
}

function split(bytes: Buffer, chance: Chance): Buffer[] {
  const pieces: Buffer[] = []
  const most = pick(chance, [1, 3, 17, 200])
  for (let at = 0; at < bytes.length;) {
    const size = 1 + chance(most)
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

const pick = <T>(chance: Chance, from: readonly [T, ...T[]]): T =>
  from[chance(from.length)] ?? from[0]

/** What llhttp takes and we do not: why, and an answer that shows it, in pieces where that matters. */
export const STRICTER: Readonly<
  Partial<
    Record<FaultReason, { readonly why: string; readonly example: string | readonly string[] }>
  >
> = {
  version: {
    why: 'HTTP/1.0 has no chunks and other rules for connections; nothing behind the gateway needs it',
    example: 'HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n',
  },
  status: {
    why: 'a blank stands before the reason, even where there is none, and a status is from 100 to 599',
    example: 'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n',
  },
  control: {
    why: 'a control character, of which llhttp lets some through before a line ends',
    example: ['HTTP/1.1 200 O\x13K', '\r\nContent-Length: 0\r\n\r\n'],
  },
  upgrade: {
    why: 'a change of protocols that nobody asked for',
    example: 'HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
  },
  'content-length': {
    why: 'a length with leading zeros has two spellings',
    example: 'HTTP/1.1 200 OK\r\nContent-Length: 00\r\n\r\n',
  },
  'transfer-encoding': {
    why: 'another coding than `chunked`: nobody here decodes it',
    example: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
  },
  'two-framings': {
    why: 'a status that has no body, with one announced',
    example: 'HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n',
  },
  'behind-the-answer': {
    why: 'bytes that came with an answer and are none of it: its length was no truth, or somebody made it two',
    example: 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}',
  },
  'no-framing': {
    why: 'an answer that ends with its connection: whether it is whole cannot be known',
    example: 'HTTP/1.1 200 OK\r\n\r\n{"a":1}',
  },
  chunk: {
    why: 'a chunk extension, or a size of more than eight digits',
    example: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\n{\r\n0\r\n\r\n',
  },
  interim: {
    why: 'more interim answers than anybody needs',
    example: `${'HTTP/1.1 102 Processing\r\n\r\n'.repeat(9)}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n`,
  },
  'too-many-headers': {
    why: 'more headers than the bound, which llhttp has none of',
    example: `HTTP/1.1 200 OK\r\n${'A: b\r\n'.repeat(64)}Content-Length: 0\r\n\r\n`,
  },
  'head-too-large': {
    why: 'every byte of a head counts, not those of names and values alone',
    example: `HTTP/1.1 200 OK\r\n${`A: ${'a'.repeat(269)}\r\n`.repeat(60)}Content-Length: 0\r\n\r\n`,
  },
  trailer: {
    why: 'a trailer that would say how its message is read',
    example: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: a\r\n\r\n',
  },
}
