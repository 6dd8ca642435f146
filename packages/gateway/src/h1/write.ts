import type { Writable } from 'node:stream'
import type { SentRequest } from '../upstream/connections.ts'
import { Fault } from './fault.ts'

const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
const METHOD = /^[A-Z]+$/
const PATH = /^\/[\x21\x22\x24-\x7e]*$/
const HOST = /^[A-Za-z0-9._:[\]-]+$/
/** What a connection itself says, and whoever hands headers over must not. */
const OWN: ReadonlySet<string> = new Set([
  ...['host', 'content-length', 'transfer-encoding', 'te', 'trailer', 'upgrade', 'expect'],
  ...['connection', 'keep-alive', 'proxy-connection'],
])
/** A body up to this size leaves in one piece with its head. */
const MAX_JOINED = 65_536

/** Methods whose requests say that they have no body (RFC 9110, section 8.6). */
const WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH'])

/** @returns the head of a request, and with that how it is delimited. @throws Fault where it would not be one */
export function requestHead(
  { method, path, headers, body }: Pick<SentRequest, 'method' | 'path' | 'headers' | 'body'>,
  host: string,
): string {
  if (!METHOD.test(method) || !PATH.test(path) || !HOST.test(host)) throw new Fault('unwritable')
  let text = `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: keep-alive\r\n`
  for (const name of Object.keys(headers)) {
    const value = headers[name] ?? ''
    if (!NAME.test(name) || !VALUE.test(value) || OWN.has(name.toLowerCase())) {
      throw new Fault('unwritable')
    }
    text += `${name}: ${value}\r\n`
  }
  if (body !== null || WITH_BODY.has(method)) text += `content-length: ${sizeOf(body)}\r\n`
  return `${text}\r\n`
}

const sizeOf = (body: SentRequest['body']): number =>
  body === null ? 0 : body instanceof Uint8Array ? body.length : body.size

/**
 * Hands a head and its body to a connection, as one record of TLS where they are short.
 *
 * @param head each character a byte
 */
export function writeTogether(to: Writable, head: string, body: Uint8Array | null): void {
  if (body === null || body.length === 0) to.write(head, 'latin1')
  else if (body.length <= MAX_JOINED) {
    const all = Buffer.allocUnsafe(head.length + body.length)
    all.write(head, 0, 'latin1')
    all.set(body, head.length)
    to.write(all)
  } else {
    to.cork()
    to.write(head, 'latin1')
    to.write(body)
    to.uncork()
  }
}
