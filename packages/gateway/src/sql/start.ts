import { protocolError } from './client.ts'
import { checkSetting } from './text/control.ts'
import { BodyReader, int32, message, text } from './wire/frames.ts'

const SSL_CODE = 80_877_103
const GSS_CODE = 80_877_104
const CANCEL_CODE = 80_877_102
const PROTOCOL_MAJOR = 3
/** First byte of a TLS handshake. */
const HANDSHAKE = 0x16

/**
 * How a connection begins: with a handshake, or by asking for encryption by TLS or GSSAPI (PostgreSQL, sections 54.2.10 and 54.2.11).
 *
 * @param bytes its first eight
 * @param isMore whether more came with them: behind a request for TLS that is nobody's
 */
export function beginningOf(bytes: Buffer, isMore: boolean): 'handshake' | 'ssl' | 'gss' | 'none' {
  if (bytes[0] === HANDSHAKE) return 'handshake'
  if (isMore || bytes.readUInt32BE(0) !== 8) return 'none'
  const code = bytes.readUInt32BE(4)
  return code === SSL_CODE ? 'ssl' : code === GSS_CODE ? 'gss' : 'none'
}

/** @param body of the first message of a session, without its length: at least four bytes */
export const isCancel = (body: Buffer): boolean => body.readUInt32BE() === CANCEL_CODE

/** Which session is to be stopped, and the proof that whoever asks may; undefined where it is no such request. */
export function readCancel(
  body: Buffer,
): { readonly session: number; readonly secret: Buffer } | undefined {
  if (body.length !== 12 || !isCancel(body)) return undefined
  return { session: body.readUInt32BE(4), secret: body.subarray(8) }
}

export interface Start {
  readonly settings: ReadonlyMap<string, string>
  /** What a client is answered that asks for more than there is. */
  readonly newest: readonly Buffer[]
}

/**
 * Reads the start of a session: protocol 3, and settings by name.
 *
 * @param body without its length
 * @throws SqlRefusal, RangeError where it is none
 */
export function readStart(body: Buffer): Start {
  const reader = new BodyReader(body)
  const version = reader.uint32()
  if (version >>> 16 !== PROTOCOL_MAJOR)
    throw protocolError('only version 3 of the protocol is spoken')
  const settings = new Map<string, string>()
  const seen = new Set<string>()
  const options: string[] = []
  for (let name = reader.text(); name !== ''; name = reader.text()) {
    const value = reader.text()
    if (name.startsWith('_pq_.')) {
      options.push(name)
      continue
    }
    // A server takes most names in any letters, and of two the last.
    const folded = name.toLowerCase()
    if (seen.has(folded)) throw protocolError('a setting stands twice')
    seen.add(folded)
    settings.set(name, value)
  }
  if (!reader.done) throw protocolError('the session does not begin as one')
  const newer = (version & 0xffff) > 0 || options.length > 0
  // NegotiateProtocolVersion: 3.0 it is, and none of the options.
  const answer = message(
    'v',
    int32(PROTOCOL_MAJOR << 16),
    int32(options.length),
    ...options.map(text),
  )
  return { settings, newest: newer ? [answer] : [] }
}

/**
 * What a client may ask for at the start; `options` could hold anything, so it may hold nothing.
 *
 * @throws SqlRefusal for whatever else it asks for
 */
export function wantedSettings(
  settings: ReadonlyMap<string, string>,
  maxStatementMs: number,
): Map<string, string> {
  const wanted = new Map<string, string>()
  for (const [name, value] of settings) {
    if (name === 'user' || name === 'database') continue
    if ((name === 'options' || name === 'replication') && value === '') continue
    checkSetting(name.toLowerCase(), value, maxStatementMs)
    wanted.set(name.toLowerCase(), value)
  }
  return wanted
}
