import { createRequire } from 'node:module'
import { METHODS } from 'node:http'
import { canonicalise } from '../../../src/edge/canonical.ts'
import { encodeComponent, readTarget } from '../../../src/edge/target.ts'
import type { RequestTarget } from '../../../src/edge/target.ts'
import { nearHttp } from '../near-http.ts'
import { changed, demandSame, orRefused, pick } from './reading.ts'
import type { Kind } from './reading.ts'
import { strictMessages } from './strict-http.ts'
import type { WireMessage } from './strict-http.ts'

/** What `node:http` has llhttp in. */
interface NodeParser {
  initialize(type: number, resource: object): void
  execute(bytes: Buffer): number | Error
  [event: number]: unknown
}
interface NodeParserClass {
  new (): NodeParser
  readonly REQUEST: number
  readonly kOnHeaders: number
  readonly kOnHeadersComplete: number
  readonly kOnBody: number
  readonly kOnMessageComplete: number
}

const require = createRequire(import.meta.url)
// Node's own server reads with these; nothing else gives llhttp without a socket.
const common = require('_http_common') as {
  readonly HTTPParser: NodeParserClass
  readonly methods: readonly string[]
}
const { HTTPParser } = common
const methods = common.methods.length > 0 ? common.methods : METHODS

/** The messages of a connection as `node:http` hands them on, up to the first that llhttp refuses. */
function nodeMessages(bytes: Buffer): WireMessage[] {
  const messages: WireMessage[] = []
  let headers: string[] = []
  let first: { readonly method: string; readonly url: string } = { method: '', url: '' }
  let body = ''
  const parser = new HTTPParser()
  parser.initialize(HTTPParser.REQUEST, {})
  let headed = false
  parser[HTTPParser.kOnHeaders] = (more: string[], url: string): void => {
    // What comes behind a body is of no message's head.
    if (headed) return
    headers.push(...more)
    first = { ...first, url: first.url + url }
  }
  parser[HTTPParser.kOnHeadersComplete] = (
    major: number,
    minor: number,
    list: string[] | undefined,
    method: number,
    url: string | undefined,
  ): number => {
    if (list) headers = list
    const version = `${major}.${minor}`
    headed = true
    first = { method: version === '1.1' ? (methods[method] ?? '') : version, url: url ?? first.url }
    return 0
  }
  parser[HTTPParser.kOnBody] = (piece: Buffer): void => {
    body += piece.toString('latin1')
  }
  parser[HTTPParser.kOnMessageComplete] = (): void => {
    messages.push({ ...first, rawHeaders: headers, body })
    headers = []
    headed = false
    first = { method: '', url: '' }
    body = ''
  }
  parser.execute(bytes)
  return messages
}

/** As a browser reads a target, and whoever forwards what it read. */
function demandTarget(url: string, target: RequestTarget): void {
  const ours = [target.segments, [...target.query]]
  const read = (text: string): unknown => {
    const { pathname, searchParams } = new URL(text, 'http://h')
    return [pathname.slice(1).split('/').map(decodeURIComponent), [...searchParams]]
  }
  demandSame('target', url, ours, read(url))
  const path = target.segments.map((segment) => `/${encodeComponent(segment)}`).join('')
  const query = [...target.query].map(
    ([name, value]) => `${encodeComponent(name)}=${encodeComponent(value)}`,
  )
  const forwarded = query.length > 0 ? `${path}?${query.join('&')}` : path
  demandSame('forwarded target', forwarded, ours, read(forwarded))
  const again = readTarget(forwarded)
  demandSame('target read again', forwarded, ours, [again.segments, [...again.query]])
}

const TARGETS = ['/bank/v1/accounts/A', '/bank/v1/a%20%C3%A4/b', '/bank/x?a=1&b=%2F+2', '/a/']
const PIECES =
  '/ // /. /.. /../ %2e %2E %2f %5c \\ ; ;a=b ? # & = + %20 %2B %00 %C3 %A4 %C3%A9 %c0%af %ED%A0%80 %EF%BB%BF %F0%9F%98%80 %25 %252e : @ :// http://h * a b A é \u00a0 \t [ ] | { } ^ ` " < > ~ ! $ \' ( ) , %7F %C2%85 __proto__ a=1 &a=2 &=1 &&'.split(
    ' ',
  )

export const http: readonly Kind[] = [
  {
    name: 'messages of HTTP/1.1, beside a strict reader by RFC 9112',
    share: 30,
    read: (chance) => {
      const bytes = Buffer.concat(
        Array.from({ length: 1 + chance(2) }, () => nearHttp(chance).bytes),
      )
      const strict = strictMessages(bytes.toString('latin1'))
      let taken = 0
      for (const [i, message] of nodeMessages(bytes).entries()) {
        const given = orRefused(() => canonicalise({ ...message, httpVersion: '1.1' }))
        // A connection whose message was refused is closed.
        if (!given) break
        demandSame('message', bytes.toString('latin1'), message, strict[i])
        // One of no chunks may turn out to be none.
        if (message.body !== '') demandSame('whether a body is in', message, given.hasBody, true)
        demandTarget(message.url, given.target)
        taken++
        if (given.headers.all.get('connection')?.toLowerCase() === 'close') break
      }
      return taken > 0 ? 'same' : 'refused'
    },
  },
  {
    name: 'targets, beside the URLs of browsers',
    share: 25,
    read: (chance) => {
      const url = changed(pick(chance, TARGETS), PIECES, chance, 3)
      const target = orRefused(() => readTarget(url))
      if (target) demandTarget(url, target)
      return target ? 'same' : 'refused'
    },
  },
]
