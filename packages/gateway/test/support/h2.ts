import { connect } from 'node:http2'
import type { ClientHttp2Session, OutgoingHttpHeaders } from 'node:http2'
import type { TLSSocket } from 'node:tls'
import { IdentityHolder, mtlsConnect } from '@sallyport/transport'
import type { TestAgent, World } from './world.ts'

export interface H2Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly text: string
  /** How the stream ended, as RST_STREAM has it; 0 where it ended well. */
  readonly code: number
}

/** A socket on which `h2` was agreed. */
export function h2Socket(world: World, agent: TestAgent): Promise<TLSSocket> {
  return mtlsConnect({
    identity: new IdentityHolder(agent.material),
    target: world.gateway.address,
    expect: () => true,
    alpn: ['h2'],
  })
}

/** A session of Node's own client. */
export async function h2Session(world: World, agent: TestAgent): Promise<ClientHttp2Session> {
  const socket = await h2Socket(world, agent)
  const session = connect('https://gateway.test', { createConnection: () => socket })
  session.on('error', () => undefined)
  return session
}

/** One request, to its end; a stream that is reset answers too, with the code of it. */
export function askH2(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body?: string | Buffer,
): Promise<H2Reply> {
  return new Promise((resolve) => {
    const stream = session.request(headers, { endStream: body === undefined })
    let status = 0
    let got: Readonly<Record<string, unknown>> = {}
    let text = ''
    stream.setEncoding('utf8')
    stream.on('response', (given) => {
      got = given
      status = given[':status'] ?? 0
    })
    stream.on('data', (chunk: string) => {
      text += chunk
    })
    stream.on('error', () => undefined)
    stream.on('close', () => {
      resolve({ status, headers: got, text, code: stream.rstCode })
    })
    if (body !== undefined) stream.end(body)
  })
}

export const PREFACE: Buffer = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const

export const END_STREAM = 1
export const ACK = 1
export const END_HEADERS = 4

/** RFC 9113 section 4.1. */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array = new Uint8Array(),
): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head.writeUInt8(type, 3)
  head.writeUInt8(flags, 4)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

export const u32 = (n: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(n)
  return bytes
}

/** HPACK: literals that are not indexed, without Huffman coding (RFC 7541 section 6.2.2), byte for byte as given. */
export function hpack(list: readonly (readonly [string, string])[]): Buffer {
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(value, 'latin1')
    return Buffer.concat([integer(bytes.length, 7), bytes])
  }
  return Buffer.concat(
    list.flatMap(([name, value]) => [Buffer.from([0x00]), text(name), text(value)]),
  )
}

/** RFC 7541 section 5.1, with the bits above the prefix clear. */
function integer(value: number, prefix: number): Buffer {
  const max = 2 ** prefix - 1
  if (value < max) return Buffer.from([value])
  const bytes = [max]
  let rest = value - max
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128)
  bytes.push(rest)
  return Buffer.from(bytes)
}

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

/** Reads frames off a socket as they come. */
export class FrameReader {
  readonly frames: Frame[] = []
  #rest: Buffer = Buffer.alloc(0)

  constructor(socket: TLSSocket) {
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      this.#rest = Buffer.concat([this.#rest, chunk])
      while (this.#rest.length >= 9) {
        const end = 9 + this.#rest.readUIntBE(0, 3)
        if (this.#rest.length < end) break
        this.frames.push({
          type: this.#rest.readUInt8(3),
          flags: this.#rest.readUInt8(4),
          stream: this.#rest.readUInt32BE(5) & 0x7f_ff_ff_ff,
          payload: this.#rest.subarray(9, end),
        })
        this.#rest = this.#rest.subarray(end)
      }
    })
  }

  /** Whether this stream was answered, reset, or the whole connection given up. */
  settled(stream: number): boolean {
    return this.frames.some(
      ({ type, stream: of }) =>
        (of === stream && (type === FRAME.headers || type === FRAME.reset)) ||
        type === FRAME.goaway,
    )
  }

  /** The `:status` of an answer; undefined for whatever was not answered with one of the usual spelling. */
  status(stream: number): string | undefined {
    const found = this.frames.find(
      ({ type, stream: of }) => of === stream && type === FRAME.headers,
    )
    return found && statusOf(found.payload)
  }
}

/** `:status` stands first: indexed (RFC 7541 appendix A), or a literal of three digits, Huffman coded or not. */
function statusOf(block: Buffer): string {
  const indexed = ['200', '204', '206', '304', '400', '404', '500'][(block[0] ?? 0) - 0x88]
  return indexed ?? 'other'
}
