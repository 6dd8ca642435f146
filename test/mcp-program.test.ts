/** MCP servers on standard input and output, run by the gateway as its children. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseJson } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { startWorld, until } from '../packages/gateway/test/support/world.ts'
import type { World } from '../packages/gateway/test/support/world.ts'
import { connectSdk, declareTools, EVERYTHING } from './support/mcp.ts'
import type { Connected } from './support/mcp.ts'
import { apart, noPrograms as skip, PROGRAM } from './support/programs.ts'

const ECHO = {
  name: 'echo',
  description: 'Echoes.',
  inputSchema: {
    type: 'object',
    required: ['message'],
    properties: { message: { type: 'string' } },
  },
}
const ACT = {
  name: 'act',
  description: 'Acts.',
  inputSchema: {
    type: 'object',
    properties: { what: { type: 'string' }, path: { type: 'string' } },
  },
}

type Facts = { readonly [key: string]: JsonValue }

describe('programs that speak MCP', { skip }, () => {
  let world: World
  let client: Connected
  /** Of the network and not of this gateway: open to all, as it is to a program that has the gateway's user id. */
  const data = mkdtempSync(join(tmpdir(), 'sp-mcp-data-'))
  before(async () => {
    for (const folder of ['trust', 'shown']) mkdirSync(join(data, folder))
    for (const file of ['trust/root.key', 'shown/notes', 'secrets.json'])
      writeFileSync(join(data, file), 'a secret')
    chmodSync(data, 0o755)
    const declaration = await declareTools({
      upstream: `{ command: ${process.execPath}, args: [${PROGRAM}, '$(id)', 'a;b'], env: { ONLY: this } }`,
      offer: { tools: [ACT] },
      operations: '      act: { kind: read, content: tool-content }',
      flows: { reader: ['act'], teller: ['act'] },
      policies: '',
    })
    world = await startWorld(
      {
        settings: { upstreamTimeoutMs: 60_000 },
        hide: [join(data, 'trust'), join(data, 'trust', 'root.key'), join(data, 'secrets.json')],
      },
      undefined,
      () => declaration,
    )
    client = await connectSdk(world.agent('reader'))
  })
  after(async () => {
    await client?.close()
    await world?.close()
    rmSync(data, { recursive: true, force: true })
  })

  const act = async (what: string, path = '', by: Connected = client): Promise<JsonValue> => {
    const { content } = await by.client.callTool({ name: 'act', arguments: { what, path } })
    // One block, as the program answers.
    const [block] = content as { text: string }[]
    return parseJson(block?.text ?? '')
  }

  /** Programs of these tests that run, as this machine counts: other files start the same one with other arguments. */
  const running = (): number =>
    readdirSync('/proc').filter((pid) => {
      try {
        const [command, program, first] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
        return command === process.execPath && program === PROGRAM && first === '$(id)'
      } catch {
        return false
      }
    }).length

  it('runs them with what is declared and nothing else, away from the keys of the gateway', async () => {
    // Shapes are the program's.
    const facts = (await act('facts', world.dataDir)) as Facts
    assert.deepEqual(facts['env'], ['ONLY'])
    // No shell read them.
    assert.deepEqual(facts['args'], ['$(id)', 'a;b'])
    if (process.getuid?.() === 0) assert.notEqual(facts['uid'], 0)
    assert.ok(readdirSync(world.dataDir).length > 0)
    assert.ok(
      !Array.isArray(facts['entries']) || facts['entries'].length === 0,
      JSON.stringify(facts['entries']),
    )
  })

  it(
    'hides from them the keys of the network, and the file of secrets',
    { skip: apart?.network ? false : 'another user id does that here' },
    async () => {
      const seen = async (path: string): Promise<unknown> =>
        ((await act('facts', join(data, path))) as Facts)['entries']
      assert.deepEqual(await seen('shown'), ['notes'])
      assert.deepEqual(await seen('trust'), [])
      assert.equal(await act('read', join(data, 'shown/notes')), 'a secret')
      assert.equal(await act('read', join(data, 'secrets.json')), '')
      assert.match(JSON.stringify(await act('read', join(data, 'trust/root.key'))), /ENOENT/)
    },
  )

  it(
    'leaves them no network, where the machine permits',
    { skip: apart?.network ? false : 'it does not' },
    async () => {
      const listener = createServer((socket) => socket.end()).listen(0, '127.0.0.1')
      await once(listener, 'listening')
      // Of a TCP listener.
      const { port } = listener.address() as AddressInfo
      const here = connect(port, '127.0.0.1')
      await once(here, 'connect')
      here.destroy()
      assert.notEqual(await act('dial', String(port)), 'connected')
      assert.deepEqual(((await act('facts')) as Facts)['interfaces'], [])
      listener.close()
    },
  )

  it('runs one for each session, and ends it with the session', async () => {
    const one = (await act('facts')) as Facts
    const before = running()
    const other = await connectSdk(world.agent('teller'))
    assert.notDeepEqual(await act('', '', other), one)
    assert.equal(running(), before + 1)
    await other.transport.terminateSession()
    await until(() => running() === before)
    await other.close()
  })

  it('starts one that ended again, and later where it keeps ending', async () => {
    const fresh = await connectSdk(world.agent('reader', 'i2'))
    await assert.rejects(act('exit', '', fresh), /SP_UPSTREAM_FAILED|could not be reached/)
    // Too soon, told in words; then again.
    await assert.rejects(act('', '', fresh), /cannot be started/)
    let answer: JsonValue | undefined
    for (let i = 0; i < 600 && answer === undefined; i++) {
      answer = await act('', '', fresh).catch(() => sleep(50, undefined))
    }
    assert.equal(answer, 'done')
    await fresh.close()
  })

  it('takes no more from them than a message a line', async () => {
    for (const what of ['noise', 'flood']) {
      let said = ''
      for (let i = 0; i < 600 && !said.includes('cannot be used'); i++) {
        const one = await connectSdk(world.agent('reader', `noisy-${what}`))
        said = await act(what, '', one).then(String, String)
        await one.close()
        // It is not started again at once.
        if (said.includes('cannot be started')) await sleep(50)
      }
      assert.match(said, /cannot be used/)
    }
  })

  it('ends them with the gateway', async () => {
    assert.ok(running() > 0 || (await act('')) === 'done')
    await world.gateway.close()
    await until(() => running() === 0)
  })
})

describe('server-everything as a program', { skip }, () => {
  it('answers through the gateway', async () => {
    const declaration = await declareTools({
      upstream: `{ command: ${process.execPath}, args: [${join(EVERYTHING, 'stdio.js')}] }`,
      offer: { tools: [ECHO] },
      operations: '      echo: { kind: read, content: tool-content }',
      flows: { reader: ['echo'] },
      policies: '',
    })
    const world = await startWorld(
      { settings: { upstreamTimeoutMs: 60_000 } },
      undefined,
      () => declaration,
    )
    try {
      const one = await connectSdk(world.agent('reader'))
      const { content } = await one.client.callTool({ name: 'echo', arguments: { message: 'hi' } })
      assert.deepEqual(content, [{ type: 'text', text: 'Echo: hi' }])
      await one.close()
    } finally {
      await world.close()
    }
  })
})
