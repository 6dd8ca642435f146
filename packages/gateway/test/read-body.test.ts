import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { readBytes } from '../src/edge/body.ts'
import type { CanonicalRequest } from '../src/edge/canonical.ts'

const MAX = 64
const HEAD = 'POST / HTTP/1.1\r\nHost: g\r\n'
const CHUNKED = `${HEAD}Transfer-Encoding: chunked\r\n\r\n`

describe('a request body', () => {
  /** Requests whose body was read in one go. */
  let atOnce = 0
  const server = createServer((req, res) => {
    // What is read of a head is whether its length is stated.
    const length = req.headers['content-length']
    const stated = length === undefined ? {} : { contentLength: Number(length) }
    const request = { headers: stated } as CanonicalRequest
    let taken = 0
    req.once('resume', () => atOnce++)
    readBytes(req, request, MAX, (bytes) => (taken += bytes)).then(
      (bytes) => res.end(`${bytes.toString()} ${taken}`),
      (error: unknown) => res.end((error as { code: string }).code),
    )
  })
  before(async () => {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  })
  after(() => {
    server.closeAllConnections()
    server.close()
  })

  /** What is answered to a request that comes in these pieces. */
  const asked = async (...pieces: readonly string[]): Promise<string> => {
    // Port of a TCP listener.
    const { port } = server.address() as AddressInfo
    const socket = connect(port, '127.0.0.1').setNoDelay()
    let answer = ''
    socket.setEncoding('latin1').on('data', (text: string) => (answer += text))
    // What follows a head is not to arrive with it.
    const began = once(server, 'request')
    for (const piece of pieces) {
      socket.write(piece, 'latin1')
      await began
      await sleep(20)
    }
    while (!answer.includes('\r\n\r\n')) await once(socket, 'data')
    socket.destroy()
    return answer
      .slice(answer.indexOf('\r\n\r\n') + 4)
      .replace(/^[0-9a-f]+\r\n|\r\n0\r\n\r\n$/g, '')
  }
  const long = 'x'.repeat(MAX + 1)

  for (const [what, pieces, expected] of [
    ['that came with its head', [`${HEAD}Content-Length: 4\r\n\r\nabcd`], 'abcd 4'],
    ['in chunks, with its head', [`${CHUNKED}2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n`], 'abcd 4'],
    ['that is empty', [`${CHUNKED}0\r\n\r\n`], ' 0'],
    ['that comes after its head', [`${HEAD}Content-Length: 4\r\n\r\n`, 'ab', 'cd'], 'abcd 4'],
    ['whose end comes later', [`${CHUNKED}4\r\nabcd\r\n`, '0\r\n\r\n'], 'abcd 4'],
    ['over the bound', [`${CHUNKED}41\r\n${long}\r\n0\r\n\r\n`], 'SP_REQUEST_TOO_LARGE'],
    [
      'that goes over it',
      [`${CHUNKED}40\r\n${long.slice(1)}\r\n`, '1\r\nx\r\n0\r\n\r\n'],
      'SP_REQUEST_TOO_LARGE',
    ],
    ['with a trailer', [`${CHUNKED}4\r\nabcd\r\n0\r\nA: b\r\n\r\n`], 'SP_REQUEST_HEADER'],
    [
      'whose trailer comes later',
      [`${CHUNKED}4\r\nabcd\r\n0\r\n`, 'A: b\r\n\r\n'],
      'SP_REQUEST_HEADER',
    ],
  ] as const) {
    it(what, async () => {
      assert.equal(await asked(...pieces), expected)
    })
  }

  it('is read in one go where it came with its head', async () => {
    const before = atOnce
    await asked(`${HEAD}Content-Length: 4\r\n\r\nabcd`)
    assert.equal(atOnce, before + 1)
    await asked(`${HEAD}Content-Length: 4\r\n\r\n`, 'abcd')
    assert.equal(atOnce, before + 1)
  })

  // Before anybody reads it, a token may have to be verified: it was there, all of it, and its caller is not any more.
  for (const how of ['reset', 'ended'] as const) {
    it(`that is here and whose connection was ${how}: nobody waits for its end`, async () => {
      const { promise, resolve } = Promise.withResolvers<unknown>()
      const late = createServer((req) => {
        req
          .on('error', () => undefined)
          .once('close', () => {
            assert.equal(req.readableLength, 4)
            const request = { headers: { contentLength: 4 } } as CanonicalRequest
            resolve(readBytes(req, request, MAX).then(String, () => 'gone'))
          })
      })
      late.listen(0, '127.0.0.1')
      await once(late, 'listening')
      // Port of a TCP listener.
      const { port } = late.address() as AddressInfo
      const socket = connect(port, '127.0.0.1').on('error', () => undefined)
      socket.write(`${HEAD}Content-Length: 4\r\n\r\nabcd`)
      await once(late, 'request')
      if (how === 'reset') socket.resetAndDestroy()
      else socket.destroy()
      try {
        assert.equal(await promise, 'gone')
      } finally {
        late.closeAllConnections()
        late.close()
      }
    })
  }

  it('over the bound by what it says', async () => {
    assert.equal(await asked(`${HEAD}Content-Length: 65\r\n\r\n`, long), 'SP_REQUEST_TOO_LARGE')
    assert.equal(await asked(`${HEAD}Content-Length: 65\r\n\r\n${long}`), 'SP_REQUEST_TOO_LARGE')
  })

  it('after another on its connection', async () => {
    const one = `${HEAD}Content-Length: 4\r\n\r\nabcd`
    const both = await asked(one + one.replace('abcd', 'efgh'), '')
    assert.match(both, /^abcd 4/)
    assert.match(both, /efgh 4$/)
  })
})
