/** What a program that speaks MCP cannot do to the gateway that runs it: fill its memory, hold its calls, or be started in a storm. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { afterEach, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { errorCode, systemClock } from '@sallyport/base'
import type { System } from '@sallyport/network'
import type { Audit } from '../packages/gateway/src/audit/audit.ts'
import { DEFAULT_SETTINGS } from '../packages/gateway/src/settings.ts'
import type { McpCall } from '../packages/gateway/src/upstream/mcp.ts'
import { McpProgramLink } from '../packages/gateway/src/upstream/mcp-program.ts'
import { Programs } from '../packages/gateway/src/upstream/programs.ts'
import { until } from '../packages/gateway/test/support/world.ts'
import { noPrograms as skip, PROGRAM } from './support/programs.ts'

const system: System = {
  ...{ name: 'tools', description: '', owner: 'tests', segment: 'zone', criticality: 'low' },
  protocol: 'mcp',
  upstream: { kind: 'program', command: process.execPath, args: [PROGRAM], env: {} },
  operations: [],
}

describe('programs that are not to be trusted', { skip }, () => {
  let programs: Programs | undefined
  afterEach(() => {
    programs?.close()
  })

  const start = (changed: Partial<typeof DEFAULT_SETTINGS> = {}) => {
    const time = { ms: 0 }
    const settings = { ...DEFAULT_SETTINGS, upstreamTimeoutMs: 60_000, ...changed }
    programs = new Programs({
      // All that is told of it.
      audit: { event: () => undefined, boundedEvent: () => true } as unknown as Audit,
      clock: { now: systemClock.now, monotonic: () => time.ms },
      settings,
      hide: [],
      log: () => undefined,
    })
    return { programs, time, settings, link: new McpProgramLink(programs) }
  }

  let ids = 0
  const act = (link: McpProgramLink, what: string, more: Partial<McpCall> = {}, path = '') => {
    const id = `dec_${++ids}`
    const params = { name: 'act', arguments: { what, path } }
    const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params }))
    const call: McpCall = {
      ...{ session: 's', caller: 'c', delegation: {}, system, decision: id, operation: 'act' },
      ...{ abilities: {}, trace: undefined, signal: new AbortController().signal },
      request: { method: 'POST', path: '/mcp', body },
      ...{ repeatable: false, isWaiting: () => false, aside: () => Promise.resolve(), ...more },
    }
    const answer = link.request(call, id)
    answer.catch(() => undefined)
    return { call, answer }
  }
  const came = (link: McpProgramLink, what: string): Promise<string> =>
    act(link, what).answer.then(() => 'answered', errorCode)

  it('are sent no more where they do not read', async () => {
    const { link } = start()
    const large = 'x'.repeat(3_000_000)
    assert.ok(await act(link, '', {}, large).answer)
    const { call, answer } = act(link, 'deaf')
    assert.ok(await answer)
    const message = { jsonrpc: '2.0', method: 'm', params: { text: 'x'.repeat(200_000) } }
    let sent = 0
    await assert.rejects(
      async () => {
        for (; sent < 40; sent++) await link.send(call, message)
      },
      { code: 'SP_MCP_PROGRAM' },
    )
    assert.ok(sent > 4, String(sent))
    assert.equal(await came(link, ''), 'SP_MCP_PROGRAM')
  })

  it('are ended where they say too much', async () => {
    const { link, programs: all } = start()
    let said = 0
    const aside = (): Promise<void> => {
      said++
      return Promise.resolve()
    }
    assert.ok(await act(link, 'chatter', { aside }, '500').answer)
    assert.equal(said, 500)
    const { answer } = act(link, 'chatter', { aside }, '20000')
    await assert.rejects(answer, { code: 'SP_UPSTREAM_RESPONSE' })
    assert.ok(said < 5000, String(said))
    await until(() => all.size === 0)
  })

  it('are read on only while what they said is being handled', async () => {
    const { link } = start()
    let said = 0
    const { promise, resolve } = Promise.withResolvers<undefined>()
    const aside = async (): Promise<void> => {
      said++
      await promise
    }
    const { answer } = act(link, 'chatter', { aside }, '4000')
    await until(() => said >= 64)
    // What it has read by then is one piece of a pipe at the most.
    await sleep(3000)
    assert.ok(said < 2000, String(said))
    resolve(undefined)
    assert.ok(await answer)
    assert.equal(said, 4000)
  })

  it('hold no call for ever, whatever they say meanwhile', async () => {
    const { link, settings } = start()
    assert.equal(await came(link, ''), 'answered')
    Object.assign(settings, { upstreamTimeoutMs: 30_000, maxStreamMs: 1000 })
    let said = 0
    const aside = (): Promise<void> => {
      said++
      return Promise.resolve()
    }
    await assert.rejects(act(link, 'busy', { aside }).answer, { code: 'SP_UPSTREAM_TIMEOUT' })
    assert.ok(said > 0)
  })

  it('are started later and later, and one at a time, where they break off', async () => {
    const { link, programs: all, time } = start()
    assert.equal(await came(link, 'noise'), 'SP_UPSTREAM_RESPONSE')
    await until(() => all.size === 0)
    const [one, other] = [new McpProgramLink(all), new McpProgramLink(all)]
    assert.equal(await came(one, ''), 'SP_MCP_PROGRAM')
    time.ms += 251
    const both = await Promise.all([came(one, ''), came(other, '')])
    assert.deepEqual(both.toSorted(), ['SP_MCP_PROGRAM', 'answered'])
    // Ended by whoever used it, it has not failed, and has not shown that it stays either.
    one.end()
    other.end()
    await until(() => all.size === 0)
    time.ms += 251
    const third = new McpProgramLink(all)
    assert.equal(await came(third, ''), 'answered')
    time.ms += 10_000
    third.end()
    await until(() => all.size === 0)
    // That one had.
    const more = [new McpProgramLink(all), new McpProgramLink(all)]
    assert.deepEqual(await Promise.all(more.map((each) => came(each, ''))), [
      'answered',
      'answered',
    ])
  })

  it('are no more than may run, however many are wanted at once', async () => {
    const { programs: all } = start({ maxMcpPrograms: 2 })
    const links = [1, 2, 3, 4].map(() => new McpProgramLink(all))
    const answers = await Promise.all(links.map((link) => came(link, '')))
    assert.deepEqual(answers.toSorted(), [
      ...['SP_MCP_PROGRAM', 'SP_MCP_PROGRAM'],
      ...['answered', 'answered'],
    ])
    assert.equal(all.size, 2)
  })

  it('are not started for one caller again and again', async () => {
    const { programs: all } = start()
    const answers = new Set<string>()
    for (let i = 0; i < 40 && !answers.has('SP_MCP_PROGRAM'); i++) {
      const link = new McpProgramLink(all)
      const { answer } = act(link, 'nothing')
      answers.add(await Promise.race([answer.then(() => 'answered', errorCode), sleep(1, 'begun')]))
      link.end()
    }
    assert.ok(answers.has('SP_MCP_PROGRAM'), [...answers].join(' '))
  })

  it('take no place where this machine can open no more files', async () => {
    const script = fileURLToPath(import.meta.resolve('./support/no-files-left.ts'))
    const child = spawn('sh', ['-c', 'ulimit -n 128 && exec "$0" "$1"', process.execPath, script])
    assert.equal(await text(child.stdout), 'SP_MCP_PROGRAM 0\n', await text(child.stderr))
  })
})
