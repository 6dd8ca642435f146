import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import { connect as connectH2, createServer as createH2Server } from 'node:http2'
import type { Http2Server } from 'node:http2'
import { connect } from 'node:net'
import type { AddressInfo, Server as NetServer } from 'node:net'
import { after, before, describe, it } from 'node:test'
import fc from 'fast-check'
import { sendJson } from '../src/edge/answer.ts'
import { H2Response } from '../src/edge/h2-message.ts'

const COMMON = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' }
const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_, i) => i))

async function listening(server: NetServer): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

describe('an answer of JSON', () => {
  let body: string | Buffer = ''
  let http: Server
  let h2: Http2Server
  let port: number
  let h2Port: number
  before(async () => {
    http = createServer((req, res) => {
      if (req.url === '/sent') {
        sendJson(res, { status: 200, body, decision: 'dec_1' })
        return
      }
      // The same as two pieces, as bytes.
      const bytes = Buffer.from(body)
      const type = { 'content-type': 'application/json', 'content-length': bytes.length }
      res.writeHead(200, { ...COMMON, ...type, 'sallyport-decision': 'dec_1' })
      res.write(bytes)
      res.end()
    })
    port = await listening(http)
    h2 = createH2Server()
    h2.on('stream', (stream) => {
      sendJson(new H2Response(stream), { status: 200, body, decision: 'dec_1' })
    })
    h2Port = await listening(h2)
  })
  after(() => {
    http.close()
    h2.close()
  })

  /** All bytes of an answer over HTTP/1.1, but for its date. */
  const raw = async (path: string): Promise<Buffer> => {
    const socket = connect(port, '127.0.0.1')
    socket.write(`GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`)
    const pieces: Buffer[] = []
    for await (const piece of socket) pieces.push(piece as Buffer)
    const text = Buffer.concat(pieces).toString('latin1')
    const end = text.indexOf('\r\n\r\n')
    const head = text.slice(0, end).replace(/\r\nDate: [^\r\n]+/, '\r\nDate: now')
    assert.match(head, /\r\nDate: now/)
    return Buffer.from(head + text.slice(end), 'latin1')
  }

  const overH2 = async (): Promise<{ length: string; bytes: Buffer }> => {
    const session = connectH2(`http://127.0.0.1:${h2Port}`)
    const stream = session.request({ ':path': '/' })
    const [headers] = (await once(stream, 'response')) as [Record<string, unknown>]
    const pieces: Buffer[] = []
    for await (const piece of stream) pieces.push(piece as Buffer)
    session.close()
    return { length: String(headers['content-length']), bytes: Buffer.concat(pieces) }
  }

  const same = async (given: string | Buffer): Promise<void> => {
    body = given
    const sent = await raw('/sent')
    assert.deepEqual(sent, await raw('/bytes'))
    const bytes = Buffer.from(given)
    assert.deepEqual(sent.subarray(sent.length - bytes.length), bytes)
    assert.ok(sent.includes(`\r\nContent-Length: ${bytes.length}\r\n`.toLowerCase()))
    assert.deepEqual(await overH2(), { length: String(bytes.length), bytes })
  }

  it('leaves with every byte as it is, and its length in bytes', async () => {
    await same(EVERY_BYTE)
    await same('{"name":"Zoë – 日本 😀\u0080\u00ff"}')
    await same('')
    // On both sides of what is joined to its head.
    for (const length of [16_384, 16_385, 70_000]) await same(Buffer.alloc(length, EVERY_BYTE))
  })

  it('does so whatever it holds', () =>
    fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.string({ unit: 'binary' }), fc.uint8Array({ maxLength: 2000 })),
        (given) => same(typeof given === 'string' ? given : Buffer.from(given)),
      ),
      { numRuns: 30 },
    ))
})
