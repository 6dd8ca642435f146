/** A request whose caller goes while it waits for a connection: nothing of it is kept, and nothing of it is begun. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { Gone } from '../src/edge/ending.ts'
import { LeanPool } from '../src/h1/pool.ts'
import { ask } from '../src/upstream/ask.ts'
import type { Connections, SentRequest } from '../src/upstream/connections.ts'
import { clientPool } from '../src/upstream/rotating-pool.ts'
import { NearServer } from './support/near-server.ts'
import { until } from './support/world.ts'

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}'
const BODY = '{"amount":5}'
const BOUNDS = { maxBytes: 65_536, maxRatio: 10 }

const pools: Readonly<Record<string, (server: NearServer) => Connections>> = {
  llhttp: ({ connector }) => clientPool('https://bank.invalid', 1, 60_000)(connector),
  lean: ({ connector }) =>
    new LeanPool({
      ...{ host: 'bank.invalid', connector, connections: 1 },
      bounds: { maxBytes: 16_384, maxHeaders: 64 },
    }),
}

for (const [codec, open] of Object.entries(pools)) {
  describe(`a request whose caller goes while it waits, ${codec}`, () => {
    let server: NearServer
    let pool: Connections
    /** Paths of the requests that were begun. */
    let begun: string[]
    beforeEach(async () => {
      server = new NearServer()
      await server.listen()
      begun = []
      const own = open(server)
      pool = {
        closed: false,
        destroyed: false,
        dispatch: (request, handler) => {
          const start = handler.onRequestStart.bind(handler)
          handler.onRequestStart = (control) => {
            begun.push(request.path)
            start(control)
          }
          return own.dispatch(request, handler)
        },
        withdraw: (handler) => own.withdraw?.(handler),
        close: () => own.close(),
        destroy: () => own.destroy(),
      }
    })
    afterEach(async () => {
      await pool.destroy()
      await server.close()
    })

    const asked = (path: string, gone = new Gone()): Promise<number> => {
      const request: SentRequest = {
        ...{ method: 'POST', path, headers: {}, body: Buffer.from(BODY) },
        ...{ headersTimeout: 60_000, bodyTimeout: 60_000, blocking: false },
      }
      return ask(pool, gone, request, BOUNDS).then(({ status }) => status)
    }

    it('is forgotten, and whoever waits behind it is next, on the same connection', async () => {
      const first = asked('/first')
      await until(() => server.heard[0]?.endsWith(BODY) === true)
      const gone = [new Gone(), new Gone()]
      const lost = gone.map((one) => assert.rejects(asked('/gone', one), { name: 'AbortError' }))
      const next = asked('/next')
      for (const one of gone) one.abort()
      await Promise.all(lost)
      server.onData = (socket, heard, connection) => {
        if (!heard.endsWith(BODY)) return
        server.heard[connection] = ''
        socket.write(OK)
      }
      server.sockets[0]?.write(OK)
      assert.deepEqual([await first, await next], [200, 200])
      assert.deepEqual(begun, ['/first', '/next'])
      assert.equal(server.sockets.length, 1)
    })

    it('keeps no pool open that is closed', async () => {
      const first = asked('/first')
      await until(() => server.heard[0]?.endsWith(BODY) === true)
      const gone = new Gone()
      const lost = assert.rejects(asked('/gone', gone), { name: 'AbortError' })
      const closed = pool.close()
      gone.abort()
      await lost
      server.sockets[0]?.write(OK)
      assert.equal(await first, 200)
      await closed
      assert.deepEqual(begun, ['/first'])
    })
  })
}
