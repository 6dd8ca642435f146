import type { TLSSocket } from 'node:tls'
import { systemClock } from '@sallyport/base'
import { canonicalise } from '../../../src/edge/canonical.ts'
import { readH2Head } from '../../../src/edge/h2-head.ts'
import { H2Edge } from '../../../src/edge/h2.ts'
import { DEFAULT_SETTINGS } from '../../../src/settings.ts'
import { ACK, frame, FRAME, PREFACE } from '../h2.ts'
import type { Chance } from '../near-http.ts'
import { changed, demandSame, orRefused, pick } from './reading.ts'
import type { Kind } from './reading.ts'
import { ends, headFrames, HeadWriter } from './h2-wire.ts'
import { strictHead } from './strict-h2.ts'
import type { Field } from './strict-h2.ts'

const GET: readonly Field[] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'gateway.test'],
  [':path', '/bank/v1/accounts/A?a=1'],
]
const POST: readonly Field[] = [
  [':method', 'POST'],
  ...GET.slice(1, 3),
  [':path', '/bank/v1/accounts/A/transfers'],
  ['content-type', 'application/json'],
]
const CALL: readonly Field[] = [
  ...POST.slice(0, 3),
  [':path', '/ledger.v1.Ledger/GetAccount'],
  ['te', 'trailers'],
  ['content-type', 'application/grpc'],
  ['grpc-timeout', '1S'],
]
const HEADS: readonly (readonly Field[])[] = [
  GET,
  [...GET, ['accept', '*/*'], ['x-a', '1']],
  [...GET, ['host', 'gateway.test'], ['content-length', '0']],
  POST,
  [...POST, ['content-length', '23']],
  CALL,
]
/** What two servers have read differently before. */
const FIELDS: readonly Field[] = [
  [':path', '/vault'],
  [':path', ''],
  [':path', '*'],
  [':method', 'DELETE'],
  [':method', 'CONNECT'],
  [':scheme', 'http'],
  [':scheme', 'https'],
  [':authority', 'evil.test'],
  [':authority', ''],
  [':authority', 'me@gateway.test'],
  [':authority', 'gateway.test:8443'],
  [':protocol', 'websocket'],
  [':status', '200'],
  [':', 'x'],
  ['', 'x'],
  ['host', 'evil.test'],
  ['host', 'gateway.test'],
  ['host', 'GATEWAY.test'],
  ['connection', 'x-a'],
  ['connection', 'close'],
  ['keep-alive', 'timeout=5'],
  ['proxy-connection', 'close'],
  ['transfer-encoding', 'chunked'],
  ['upgrade', 'h2c'],
  ['http2-settings', 'AAMAAABk'],
  ['te', 'trailers'],
  ['te', 'gzip'],
  ['te', 'Trailers'],
  ['te', 'trailers, gzip'],
  ['trailer', 'x-a'],
  ['content-length', '5'],
  ['content-length', '0'],
  ['content-length', '+0'],
  ['content_length', '5'],
  ['x-a', '1'],
  ['x-a', ' 1'],
  ['x-a', '1\t'],
  ['x-a', '\xa01'],
  ['x-a', '1\v'],
  ['x-a', ''],
  ['X-A', '1'],
  ['cookie', 'a=b'],
  ['x-http-method-override', 'DELETE'],
  ['sallyport-approval', 'apr_1'],
  ['grpc-timeout', '1S'],
]
const PIECES =
  '\0|\n|\r|\r\n|\t| |:|;|,|_|A|a|-|.|/|//|..|?|#|@|\xa0|\xff|\x7f|\v|\f|\x85|é|%2f|%00|0|\r\nx: y'.split(
    '|',
  )

/** A list of fields that is nearly a head, or quite. */
function nearHead(chance: Chance): Field[] {
  const list = [...pick(chance, HEADS)]
  for (let left = chance(3); left > 0; left--) {
    const at = chance(list.length + 1)
    const [name, value] = list[at] ?? ['x-b', '2']
    switch (chance(7)) {
      case 0:
        list.splice(at, 1)
        break
      case 1:
        list.splice(at, 0, [name, value])
        break
      case 2:
        list.splice(at, 1, [changed(name, PIECES, chance, 1), value])
        break
      case 3:
        list.splice(at, 1, [name, changed(value, PIECES, chance, 1)])
        break
      case 4: {
        const [moved] = list.splice(chance(list.length), 1)
        if (moved) list.splice(chance(list.length + 1), 0, moved)
        break
      }
      default:
        list.splice(at, chance(2), pick(chance, FIELDS))
    }
  }
  return list
}

const PING = frame(FRAME.ping, 0, 0, Buffer.alloc(8))

interface Read {
  readonly method: string
  readonly path: string
  readonly fields: readonly Field[]
  readonly hasBody: boolean
}

/** As it is read once, and everything is concluded from. */
function judged(head: {
  readonly method: string
  readonly url: string
  readonly rawHeaders: readonly string[]
  readonly hasMore: boolean
}): Read {
  const { headers, method, hasBody } = canonicalise({ ...head, httpVersion: '2.0' })
  return { method, path: head.url, fields: [...headers.all], hasBody }
}

/** The same by the strict reader, `host` for `:authority` first; a body of no bytes is none. */
function strictly(list: readonly Field[], isAll: boolean): Read | null {
  const head = strictHead(list, isAll)
  if (!head) return null
  const { method, path, authority, fields } = head
  const isEmpty = fields.some(([name, value]) => name === 'content-length' && Number(value) === 0)
  const all: readonly Field[] = [['host', authority], ...fields]
  return { method, path, fields: all, hasBody: !isAll && !isEmpty }
}

/** What the edge makes of a connection's requests, in the order that they come to it: one that HTTP/2 itself refuses never does. */
async function edgeReads(said: Buffer): Promise<readonly (Read | 'refused')[]> {
  const [ours, theirs] = ends()
  const reads: (Read | 'refused')[] = []
  const settled = new Promise<void>((resolve) => {
    let heard: Buffer = Buffer.alloc(0)
    theirs.on('data', (chunk: Buffer) => {
      heard = Buffer.concat([heard, chunk])
      for (;;) {
        const end = heard.length < 9 ? Number.NaN : 9 + heard.readUIntBE(0, 3)
        if (!(heard.length >= end)) return
        const [type, flags] = [heard.readUInt8(3), heard.readUInt8(4)]
        if ((type === FRAME.ping && flags === ACK) || type === FRAME.goaway) resolve()
        heard = heard.subarray(end)
      }
    })
    theirs.once('end', resolve)
  })
  const edge = new H2Edge({
    settings: DEFAULT_SETTINGS,
    clock: systemClock,
    onRequest: (req, res) => {
      const read = orRefused(() => {
        const { method = '', url = '', rawHeaders, hasMore = false } = req
        return judged({ method, url, rawHeaders, hasMore })
      })
      reads.push(read ?? 'refused')
      res.writeHead(204, {})
      res.end()
    },
    onMalformed: () => undefined,
  })
  // A stream is all that HTTP/2 needs of it; it names no server.
  edge.take(ours as unknown as TLSSocket)
  theirs.write(said)
  await settled
  edge.close()
  for (const end of [ours, theirs]) end.destroy()
  return reads
}

/** What nghttp2 leaves out of a head before anyone sees it, in place of refusing the head: no such field goes further. */
const isLeftOut = ([name, value]: Field): boolean =>
  !name.startsWith(':') &&
  (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) ||
    (name === 'host' && !/^[!$%&'()*+,.;=:[\]_~0-9A-Za-z-]*$/.test(value)) ||
    // oxlint-disable-next-line no-control-regex -- what it takes for no value
    /[\0-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]$/.test(value))

export const h2: readonly Kind[] = [
  {
    name: 'heads of HTTP/2, beside a strict reader by RFC 9113',
    share: 25,
    read: (chance) => {
      const list = nearHead(chance)
      const isAll = chance(2) === 0
      const ours = orRefused(() =>
        judged({ ...readH2Head(list.flat(), undefined, 4096), hasMore: !isAll }),
      )
      if (!ours) return 'refused'
      demandSame('head', list, ours, strictly(list, isAll))
      return 'same'
    },
  },
  {
    name: 'heads of HTTP/2 on a connection of its own, beside the same',
    share: 1,
    read: async (chance) => {
      const writer = new HeadWriter()
      // Plain ones, for what HPACK remembers of them; a length that is announced is not kept to, but not broken either.
      const before = Array.from({ length: chance(3) }, () => {
        const list = pick(chance, HEADS)
        return { list, isAll: chance(2) === 0 && strictly(list, true) !== null }
      })
      const last = { list: nearHead(chance), isAll: chance(2) === 0 }
      const sent = [...before, last]
      const said = sent.map(({ list, isAll }, i) =>
        headFrames(writer.block(list, chance), 2 * i + 1, isAll, chance),
      )
      const reads = await edgeReads(
        Buffer.concat([PREFACE, frame(FRAME.settings, 0, 0), ...said, PING]),
      )
      const wanted = before.map(({ list, isAll }) => strictly(list, isAll))
      // One that is not to have a body is refused by the judge alone.
      const hadNone = reads
        .slice(0, before.length)
        .map((read, i) => (read === 'refused' ? wanted[i] : read))
      demandSame('heads before it', sent, hadNone, wanted)
      const ours = reads[before.length]
      if (ours === undefined || ours === 'refused') return 'refused'
      const seen = last.list.filter((field) => !isLeftOut(field))
      demandSame('head', last.list, ours, strictly(seen, last.isAll))
      return 'same'
    },
  },
]
