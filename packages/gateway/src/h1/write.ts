import type { Writable } from 'node:stream'
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

interface RequestToWrite {
  readonly method: string
  readonly path: string
  readonly host: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | undefined
}

/** Methods whose requests say that they have no body (RFC 9110, section 8.6). */
const WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH'])

/** @returns its head, and with that how it is delimited. @throws Fault where it would not be one */
export function requestHead({ method, path, host, headers, body }: RequestToWrite): string {
  if (!METHOD.test(method) || !PATH.test(path) || !HOST.test(host)) throw new Fault('unwritable')
  let text = `${method} ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: keep-alive\r\n`
  for (const name of Object.keys(headers)) {
    if (OWN.has(name.toLowerCase())) throw new Fault('unwritable')
    text += fieldOf(name, headers[name] ?? '')
  }
  if (body !== undefined || WITH_BODY.has(method)) {
    text += `content-length: ${body?.length ?? 0}\r\n`
  }
  return `${text}\r\n`
}

function fieldOf(name: string, value: string): string {
  if (!NAME.test(name) || !VALUE.test(value)) throw new Fault('unwritable')
  return `${name}: ${value}\r\n`
}

/**
 * Hands a head and its body to a connection, as one record of TLS where they are short.
 *
 * @param head each character a byte
 */
export function writeTogether(to: Writable, head: string, body: Uint8Array | undefined): void {
  if (body === undefined || body.length === 0) to.write(head, 'latin1')
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
