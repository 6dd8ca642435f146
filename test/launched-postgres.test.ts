/** A launched program reaches a declared PostgreSQL as any client would: by PG variables, with neither key nor password. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { launchAgent, lazyWorkload } from '@sallyport/agent'
import type { Launched, LaunchOptions } from '@sallyport/agent'
import { errorCode } from '@sallyport/base'
import { createMtlsServer, IdentityHolder } from '@sallyport/transport'
import { findIsolation } from '../packages/agent/src/launcher/isolate.ts'
import { Identity } from '../packages/agent/src/identity.ts'
import { Roots } from '../packages/agent/src/roots.ts'
import { until } from '../packages/gateway/test/support/world.ts'
import { SCHEMA } from './support/sql/schema.ts'
import { startSqlWorld } from './support/sql/world.ts'
import type { SqlWorld } from './support/sql/world.ts'

/** Knows nothing but what the environment says; asks once for each line on its way in. */
const PROGRAM = `
const pg = require(process.argv[1])
const told = (error) => ({ code: error.code, message: error.message })
const ask = async (over, text) => {
  const client = new pg.Client(over)
  client.on('error', () => {})
  try { await client.connect(); return (await client.query(text)).rows } catch (error) { return told(error) } finally { await client.end().catch(() => {}) }
}
const run = async () => {
  console.log(JSON.stringify({
    env: process.env,
    own: await ask({}, 'SELECT count(*)::int AS count FROM accounts'),
    ssl: await ask({ ssl: { rejectUnauthorized: false } }, 'SELECT 1'),
    other: await ask({ user: 'clerk' }, 'SELECT count(*)::int AS count FROM accounts'),
    undeclared: await ask({ database: 'nothing' }, 'SELECT 1'),
  }))
  const kept = new pg.Client()
  kept.on('error', () => {})
  await kept.connect()
  kept.on('end', async () => {
    console.log(JSON.stringify({ ended: true, again: await ask({}, 'SELECT 1') }))
    process.exit()
  })
  console.log('open')
}
run()
setInterval(() => {}, 1000)
`
const PG = import.meta.resolve('pg').slice('file://'.length)

let world: SqlWorld
let dir: string

before(async () => {
  world = await startSqlWorld(SCHEMA)
  dir = mkdtempSync(join(tmpdir(), 'sp-lp-'))
})
after(async () => {
  await world?.close()
  rmSync(dir, { recursive: true, force: true })
})

/** An identity as enrolment gives it: the control plane of this world enrols gateways only. */
function workloadOf(agent: string) {
  const material = world.material(agent)
  const { rootsPem, trustDomain } = material
  return lazyWorkload(() =>
    Promise.resolve(
      new Identity({
        holder: new IdentityHolder(material),
        spiffeId: `spiffe://${trustDomain}/agent/${agent}/i1`,
        planeTarget: { host: '127.0.0.1', port: 1 },
        roots: new Roots({ rootsPem, trustDomain }),
      }),
    ),
  )
}

interface Run {
  readonly launched: Launched
  readonly lines: string[]
  readonly runDir: string
}

async function launch(
  name: string,
  isolate: LaunchOptions['isolate'],
  over: Partial<LaunchOptions> = {},
): Promise<Run> {
  const lines: string[] = []
  const runDir = join(dir, `${name}-${isolate}`)
  const { postgresAddress, address } = world.gateway
  assert.ok(postgresAddress)
  const launched = await launchAgent({
    name: 'analyst',
    command: process.execPath,
    args: ['-e', PROGRAM, PG],
    env: {},
    runDir,
    gateway: address,
    control: { host: '127.0.0.1', port: world.plane.port },
    workload: workloadOf('analyst'),
    databases: { target: postgresAddress, database: 'ledger' },
    isolate,
    onStdout: (line) => lines.push(line),
    onStderr: (line) => lines.push(line),
    onExit: () => lines.push('exit'),
    ...over,
  })
  return { launched, lines, runDir }
}

/** What never comes to hold is the failure of the test. */
const soon = (holds: () => boolean): Promise<void> =>
  until(holds, 60_000).catch((error: unknown) => assert.fail(`it never came: ${String(error)}`))

async function works(isolate: LaunchOptions['isolate']): Promise<void> {
  const { launched, lines, runDir } = await launch('works', isolate)
  try {
    await soon(() => lines.includes('open') || lines.includes('exit'))
    // What the program prints.
    const told = JSON.parse(lines[0] ?? '{}') as Readonly<Record<string, unknown>>
    const analyst = world.client('analyst')
    await analyst.connect()
    const { rows } = await analyst.query('SELECT count(*)::int AS count FROM accounts')
    assert.deepEqual(told['own'], rows, 'as its own client with a certificate sees it')
    // Another user name is not believed: the certificate says who it is.
    assert.equal((told['other'] as { code: unknown }).code, '28000')
    assert.equal((told['undeclared'] as { code: unknown }).code, '3D000')
    assert.match((told['ssl'] as { message: string }).message, /SSL/)
    const env = told['env'] as Readonly<Record<string, string>>
    const [host, port, user] = [env['PGHOST'] ?? '', env['PGPORT'], env['PGUSER']]
    assert.deepEqual([port, user, env['PGDATABASE']], ['5432', 'analyst', 'ledger'])
    assert.equal(statSync(join(host, '.s.PGSQL.5432')).mode & 0o777, 0o600)
    assert.equal(statSync(host).mode & 0o777, 0o700)
    assert.ok(!('PGPASSWORD' in env) && !('PGSSLKEY' in env) && !('PGPASSFILE' in env))
    assert.ok(!JSON.stringify(env).includes('PRIVATE KEY'))
    launched.cut()
    await soon(() => lines.some((line) => line.includes('"ended"')) || lines.includes('exit'))
    const end = JSON.parse(lines.find((line) => line.includes('"ended"')) ?? '{}') as object
    assert.ok('again' in end, lines.join('\n'))
    const { again } = end as { again: { code: string } }
    assert.match(again.code, /^(?:ENOENT|ECONNREFUSED)$/)
    assert.equal(host, runDir)
  } finally {
    await launched.stop()
  }
}

test('a program inside reads a declared database by PGHOST and PGUSER, until it is cut', () =>
  works('off'))

test('also where it is isolated, with no way out but its sockets', async (context) => {
  const found = await findIsolation()
  if (!found.isolation.network) {
    context.skip(`this machine cannot isolate: ${found.reason}`)
    return
  }
  await works('require')
})

test('what is no gateway of the trust domain is told nothing, and the program is told why', async () => {
  // With a good SVID of the trust domain, and speaking what a gateway speaks.
  let heard = 0
  const impostor = createMtlsServer({
    identity: new IdentityHolder(world.plane.service('ledger-db')),
    alpn: ['postgresql'],
    accept: () => true,
    handshakeTimeoutMs: 10_000,
    onConnection: (socket) => {
      socket.on('error', () => undefined)
      socket.on('data', (data) => {
        heard += data.length
        socket.destroy()
      })
    },
  })
  const at = await impostor.listen({ host: '127.0.0.1', port: 0 })
  assert.ok(typeof at === 'object')
  const target = { host: '127.0.0.1', port: at.port }
  const refused: unknown[] = []
  const { launched, lines } = await launch('wrong', 'off', {
    databases: { target, onRefused: (error) => refused.push(errorCode(error)) },
  })
  try {
    await soon(() => lines.length > 0)
    const { own } = JSON.parse(lines[0] ?? '{}') as { own: { code: string; message: string } }
    assert.equal(heard, 0)
    assert.equal(own.code, '08006')
    assert.match(own.message, /gateway cannot be reached.*\[SP_PEER_REFUSED\]/)
    assert.ok(refused.includes('SP_PEER_REFUSED'))
  } finally {
    await launched.stop()
    await impostor.close()
  }
})

test('who asks for encryption without end, or says nothing that is a beginning, is closed', async () => {
  const { launched, lines, runDir } = await launch('odd', 'off')
  try {
    await soon(() => lines.includes('open'))
    const request = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
    const path = join(runDir, '.s.PGSQL.5432')
    for (const bytes of [Buffer.concat([request, request, request, request]), Buffer.from('GET')]) {
      const socket = connect(path)
      socket.on('error', () => undefined)
      let got = ''
      socket.on('data', (data) => (got += String(data)))
      socket.end(bytes)
      await new Promise((resolve) => socket.once('close', resolve))
      assert.match(got, /^N{0,3}$/)
    }
  } finally {
    await launched.stop()
  }
})
