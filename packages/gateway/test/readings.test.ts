import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { KINDS, readTwice } from './support/readings/index.ts'
import type { Outcome } from './support/readings/reading.ts'
import { strictMessages } from './support/readings/strict-http.ts'

describe('what judges messages reads them as another reader does', () => {
  for (const kind of KINDS) {
    it(kind.name, async () => {
      // Those that need a connection for each are few of all.
      const messages = kind.share < 4 ? 1000 : 4000
      const counts = await readTwice([kind], { messages, seed: 20_261_126 })
      const { same = 0, alone = messages } = counts[kind.name] ?? {}
      const refused = messages - same - alone
      // Both are tried: what is taken, and what is refused. What no other could read is the exception.
      assert.ok(same > messages / 20, `${same} the same`)
      assert.ok(refused > 0, `${refused} refused`)
      assert.ok(alone < same / 20, `${alone} alone`)
    })
  }

  it('a difference is told with what makes it again', async () => {
    let tried = 0
    const kind = {
      name: 'a reader that is wrong',
      share: 1,
      read: (): Outcome => {
        if (++tried === 5) throw new Error('we read 1, another reads 2')
        return 'same'
      },
    }
    await assert.rejects(readTwice([kind], { messages: 10, seed: 7 }), {
      message: 'a reader that is wrong, --seed 7 --from 4: Error: we read 1, another reads 2',
    })
  })
})

describe('the strict reader of HTTP/1.1', () => {
  it('reads messages one after another, and stops at the first that is none', () => {
    const get = 'GET /a HTTP/1.1\r\nHost: h\r\n\r\n'
    const post =
      'POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\nz\r\n0\r\n\r\n'
    const read = strictMessages(`${get}\r\n${post}${get}`)
    assert.deepEqual(
      read.map(({ method, url, body }) => [method, url, body]),
      [
        ['GET', '/a', ''],
        ['POST', '/b', 'z'],
        ['GET', '/a', ''],
      ],
    )
    for (const wrong of [
      get.replaceAll('\r\n', '\n'),
      get.replace('Host: h', 'Host : h'),
      get.replace('Host: h', 'Host: h\r\n folded'),
      get.replace('\r\n\r\n', '\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx'),
      post.replace('1;x', '0x1'),
      post.replace('z\r\n', 'zz\r\n'),
    ]) {
      assert.deepEqual(strictMessages(wrong), [], JSON.stringify(wrong))
    }
  })
})
