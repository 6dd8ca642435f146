import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, it } from 'node:test'
import type { AnswerControl, Connections } from '../src/upstream/connections.ts'
import { clientPool } from '../src/upstream/rotating-pool.ts'
import { askPool, NearServer } from './support/near-server.ts'
import { until } from './support/world.ts'

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}'

describe('connections of undici’s, one request at a time on each', () => {
  let server: NearServer
  let pool: Connections
  const newPool = (connections: number): Connections =>
    clientPool('https://bank.invalid', connections, 60_000)(server.connector)
  beforeEach(async () => {
    server = new NearServer()
    await server.listen()
    pool = newPool(2)
  })
  afterEach(async () => {
    await pool.destroy()
    await server.close()
  })

  it('are used one after the other, and the one that was used last first', async () => {
    server.answers(OK)
    await Promise.all([askPool(pool), askPool(pool)])
    assert.equal(server.sockets.length, 2)
    const paths: string[] = []
    server.onData = (socket, heard, connection) => {
      paths.push(`${connection} ${heard.split(' ')[1]}`)
      server.heard[connection] = ''
      socket.write(OK)
    }
    for (const path of ['/1', '/2', '/3']) {
      assert.equal((await askPool(pool, { path })).body, '{}')
    }
    const [last = ''] = paths[0]?.split(' ') ?? []
    assert.deepEqual(paths, [`${last} /1`, `${last} /2`, `${last} /3`])
  })

  it('are no more than the bound; others wait, in turn, each for its own answer', async () => {
    let underWay = 0
    let most = 0
    const paths: string[] = []
    server.onData = (socket, heard, connection) => {
      const path = heard.split(' ')[1] ?? ''
      paths.push(path)
      server.heard[connection] = ''
      most = Math.max(most, ++underWay)
      setTimeout(() => {
        underWay--
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`)
      }, 5)
    }
    const asked = Array.from({ length: 20 }, (_, i) => `/${i}`)
    const all = await Promise.all(asked.map((path) => askPool(pool, { path })))
    assert.deepEqual(
      all.map(({ body }) => body),
      asked,
    )
    assert.deepEqual([server.sockets.length, most], [2, 2])
    assert.deepEqual(paths.slice(2), asked.slice(2))
  })

  it('are made anew after one that failed, and what was refused or given up holds nobody up', async () => {
    pool = newPool(1)
    server.onData = (socket) => socket.end('HTTP/1.1 2')
    const [lost, next] = [askPool(pool), askPool(pool)]
    await assert.rejects(lost, { code: 'UND_ERR_SOCKET' })
    server.answers(OK)
    await next.catch(() => undefined)
    // Refused before anything left, however many wait behind it.
    const bad = { headers: { 'x a': 'b' } }
    const many = Array.from({ length: 5000 }, () => askPool(pool, bad))
    const good = askPool(pool)
    for (const one of await Promise.allSettled(many)) {
      assert.equal(one.status, 'rejected')
      assert.equal((one.reason as { code?: string }).code, 'UND_ERR_INVALID_ARG')
    }
    assert.equal((await good).body, '{}')
    server.onData = () => undefined
    let control: AnswerControl | undefined
    const given = askPool(pool, { onStart: (one) => (control = one) })
    const waits = askPool(pool)
    await until(() => control !== undefined)
    server.answers(OK)
    control?.abort(new Error('gone'))
    await assert.rejects(given, /gone/)
    assert.equal((await waits).body, '{}')
  })

  it('let what is in flight or waits end when they are closed, and take nothing more', async () => {
    pool = newPool(1)
    const answer: (() => void)[] = []
    server.onData = (socket, _heard, connection) => {
      server.heard[connection] = ''
      answer.push(() => socket.write(OK))
    }
    const [flying, waiting] = [askPool(pool), askPool(pool)]
    await until(() => answer.length === 1)
    let hasClosed = false
    const closed = pool.close().then(() => (hasClosed = true))
    assert.equal(pool.closed, true)
    await assert.rejects(askPool(pool), { code: 'UND_ERR_CLOSED' })
    answer.shift()?.()
    assert.equal((await flying).body, '{}')
    await until(() => answer.length === 1)
    assert.equal(hasClosed, false)
    answer.shift()?.()
    assert.equal((await waiting).body, '{}')
    await closed
    await until(() => server.sockets.every(({ destroyed }) => destroyed))
  })

  it('end at once when they are destroyed, with whatever is in flight or waits, closed before or not', async () => {
    for (const closesFirst of [false, true]) {
      pool = newPool(1)
      server.onData = () => undefined
      const count = server.sockets.length
      const [flying, waiting] = [askPool(pool), askPool(pool)]
      const both = Promise.all([
        assert.rejects(flying, { code: 'UND_ERR_DESTROYED' }),
        assert.rejects(waiting, { code: 'UND_ERR_DESTROYED' }),
      ])
      await until(() => (server.heard[count] ?? '') !== '')
      const closed = closesFirst ? pool.close().catch(() => undefined) : undefined
      await pool.destroy()
      await both
      await closed
      assert.equal(pool.destroyed, true)
      await assert.rejects(askPool(pool), { code: 'UND_ERR_DESTROYED' })
      await until(() => server.sockets.every(({ destroyed }) => destroyed))
    }
  })

  it('fail one call for each connection that does not come about', async () => {
    await server.close()
    const calls = await Promise.allSettled(Array.from({ length: 5 }, () => askPool(pool)))
    for (const call of calls) {
      assert.equal(call.status, 'rejected')
      assert.equal((call.reason as { code?: string }).code, 'SP_CONNECT_FAILED')
    }
  })
})
