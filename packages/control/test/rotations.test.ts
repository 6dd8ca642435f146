import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { after, before, test } from 'node:test'
import type { RotationRule, SecretRule } from '@sallyport/network'
import pg from 'pg'
import type { RotationView } from '../src/secrets/rotation/rotations.ts'
import { TestBank } from './support/bank.ts'
import type { Peer, TestPlane } from './support/network.ts'
import { ADMIN_KEY, TestProvider } from './support/provider.ts'

let bank: TestBank
let plane: TestPlane
let provider: TestProvider
let gateway: Peer
let state: pg.Client

const rotated = (path: string, rotation: Partial<RotationRule>): SecretRule => ({
  ...{ path, owner: 'platform', use: 'an upstream', agents: [], services: [], operators: [] },
  ...{ local: false, maxVersions: 10 },
  rotation: {
    kind: 'openai',
    url: provider.url,
    everySeconds: 86_400,
    graceSeconds: 300,
    admin: 'admin-key',
    parameters: { projectId: 'proj_1' },
    ...rotation,
  },
})
const accounts = '/v1/organization/projects/proj_1/service_accounts'

before(async () => {
  provider = new TestProvider()
  await provider.listen()
  bank = await TestBank.start()
  const declared = bank.declared()
  plane = await bank.plane({
    databases: [declared],
    systems: [
      {
        ...{ name: 'models', description: '', owner: 'platform', segment: 'aml', protocol: 'http' },
        criticality: 'high',
        operations: [],
        upstream: {
          kind: 'external',
          url: 'https://models.example',
          serverName: 'models.example',
          credential: { header: 'authorization', scheme: 'Bearer', secret: 'models-key' },
        },
      },
    ],
    flows: [],
    limits: [],
    secrets: [
      rotated('models-key', {}),
      rotated('claude', { kind: 'anthropic', parameters: {} }),
      rotated('tables', { kind: 'airtable', parameters: {} }),
      rotated('plain', {
        kind: 'http',
        parameters: {},
        create: { path: accounts, body: '{"name":"{label}"}' },
        secretAt: '/api_key/value',
        idAt: '/id',
        verify: { method: 'GET', path: '/v1/models' },
        revoke: { method: 'DELETE', path: `${accounts}/{id}` },
      }),
    ],
  })
  gateway = await plane.enrol('gateway', 'gw1')
  state = new pg.Client({ connectionString: bank.server.url })
  await state.connect()
  await put('admin-key', ADMIN_KEY)
})
after(async () => {
  await state?.end()
  await plane?.close()
  await bank?.close()
  await provider?.close()
})

const put = (path: string, value: string, keyId?: string): Promise<number> =>
  plane.control.context.custody.vault.write(
    'alice',
    path,
    Buffer.from(value),
    keyId === undefined ? {} : { keyId },
  )
const rotations = () => plane.control.context.custody.rotations

async function credential(): Promise<string> {
  const answer = await gateway.call('POST', '/v1/credentials/models-key', {})
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  return String(answer.body['value'])
}

async function works(key: string): Promise<boolean> {
  const { status, body } = await fetch(`${provider.url}/v1/models`, {
    headers: { authorization: `Bearer ${key}` },
  })
  await body?.cancel()
  return status === 200
}

const rotation = async (id: string): Promise<RotationView> => {
  const found = (await rotations().list()).find((one) => one.id === id)
  assert.ok(found)
  return found
}

async function until(id: string, met: (view: RotationView) => boolean): Promise<RotationView> {
  for (let i = 0; i < 600; i++) {
    const view = await rotation(id)
    if (met(view)) return view
    await delay(50)
  }
  assert.fail(JSON.stringify(await rotation(id)))
}

/** As if the grace had passed: by the clock that judges it. */
const graceOver = (): Promise<unknown> => state.query('UPDATE lease_clock SET high = high + 600000')

test('under load a key is replaced without a failed call: both are good until the old one is ended', async () => {
  const old = provider.add('by hand', 'sk-svcacct-canary-old')
  await put('models-key', old.value, old.id)
  const before = provider.refused
  const load = { on: true, calls: 0, failed: 0 }
  const worker = async (): Promise<void> => {
    while (load.on) {
      // As a gateway does: it holds what it fetched for a moment.
      const key = await credential()
      for (let i = 0; i < 3; i++) {
        load.calls++
        if (!(await works(key))) load.failed++
      }
    }
  }
  const workers = Promise.all([worker(), worker()])
  const { id } = await rotations().start({ path: 'models-key', reason: 'a test', by: 'alice' })
  await until(id, ({ step }) => step === 'grace')
  const next = await credential()
  assert.notEqual(next, old.value)
  assert.deepEqual(await Promise.all([works(old.value), works(next)]), [true, true])
  await graceOver()
  const done = await until(id, ({ endedAt }) => endedAt !== null)
  load.on = false
  await workers
  assert.deepEqual([done.step, done.error], ['done', null])
  assert.deepEqual(provider.active, [next])
  assert.ok(load.calls > 6)
  assert.deepEqual([load.failed, provider.refused - before], [0, 0])
  assert.equal(await works(old.value), false)
})

test('what fails, or is cut off after it was done, is tried again, and leaves no key behind', async () => {
  const start = await credential()
  for (const failures of [
    [{ kind: 'create', status: 500 }],
    [{ kind: 'create', status: -1 }],
    [{ kind: 'verify', status: 503 }],
    [{ kind: 'revoke', status: 500 }],
    [{ kind: 'revoke', status: -1 }],
  ] as const) {
    provider.failures.push(...failures)
    const { id } = await rotations().start({ path: 'models-key', reason: 'a test', by: 'alice' })
    await until(id, ({ step }) => step === 'grace')
    await graceOver()
    const done = await until(id, ({ endedAt }) => endedAt !== null)
    assert.equal(done.step, 'done')
    assert.deepEqual(provider.active, [await credential()], JSON.stringify(failures))
  }
  assert.notEqual(await credential(), start)
  assert.ok(plane.errors.length >= 5)
  assert.ok(!JSON.stringify(plane.errors.map(String)).includes('canary'))
})

test('a crash at each step resumes: a restarted control plane goes on from what was written down', async () => {
  for (const step of ['create', 'verify', 'switch', 'grace', 'revoke'] as const) {
    const before = await credential()
    // The steps after it meet a provider that is away, until the restart.
    const broken = Array.from({ length: 200 }, () => ({ kind: 'create' as const, status: 500 }))
    if (step === 'create') provider.failures.push(...broken)
    if (step === 'verify') {
      provider.failures.push(...broken.map(() => ({ kind: 'verify' as const, status: 500 })))
    }
    if (step === 'revoke') {
      provider.failures.push(...broken.map(() => ({ kind: 'revoke' as const, status: 500 })))
    }
    const { id } = await rotations().start({ path: 'models-key', reason: step, by: 'alice' })
    if (step === 'switch') {
      await until(id, (view) => view.step === 'grace')
      // Promoted, and not yet written down.
      await state.query(`UPDATE rotations SET step = 'switch' WHERE id = $1`, [id])
    } else if (step === 'revoke') {
      await until(id, (view) => view.step === 'grace')
      await graceOver()
      await until(id, (view) => view.step === 'revoke' && view.error !== null)
    } else
      await until(id, (view) => view.step === step && (step === 'grace' || view.error !== null))
    await plane.restart()
    provider.failures.length = 0
    await until(id, (view) => view.step === 'grace' || view.step === 'done')
    await graceOver()
    await until(id, (view) => view.step === 'done')
    assert.notEqual(await credential(), before, step)
    assert.deepEqual(provider.active, [await credential()], step)
  }
})

test('a key that comes of age is replaced by itself, once', async () => {
  const before = await credential()
  await state.query(`UPDATE secret_versions SET created_at = created_at - 86400001`)
  await Promise.all([rotations().schedule(), rotations().schedule()])
  const [latest, ...others] = (await rotations().list()).filter(({ endedAt }) => endedAt === null)
  assert.ok(latest)
  assert.deepEqual([latest.path, latest.reason, others.length], ['models-key', 'scheduled', 0])
  await until(latest.id, ({ step }) => step === 'grace')
  await graceOver()
  await until(latest.id, ({ step }) => step === 'done')
  assert.notEqual(await credential(), before)
})

test('a quarantine for an exposed key replaces it at once', async () => {
  const agent = await plane.enrol('agent', 'analyst')
  const before = await credential()
  await plane.control.context.quarantine.quarantine({
    subject: agent.spiffeId,
    reason: 'secret exposure: models-key',
    by: 'alice',
  })
  let open: RotationView | undefined
  for (let i = 0; i < 600 && !open; i++) {
    await delay(20)
    open = (await rotations().list()).find(({ reason }) => reason.startsWith('exposed'))
  }
  assert.ok(open)
  const view = await until(open.id, ({ step }) => step !== 'create' && step !== 'verify')
  await until(view.id, ({ graceUntil }) => graceUntil !== null)
  await graceOver()
  await until(open.id, ({ step }) => step === 'done')
  assert.equal(await works(before), false)
  assert.equal(await works(await credential()), true)
})

test('Anthropic: a person makes the key, the rotation tries it, switches, and deactivates the old one', async () => {
  const old = provider.add('claude', 'sk-ant-api03-canary-oldAAAA')
  await put('claude', old.value)
  const start = { path: 'claude', reason: 'a test', by: 'alice' }
  await assert.rejects(rotations().start(start), { code: 'SP_ROTATION_VALUE' })
  const next = provider.add('claude 2', 'sk-ant-api03-canary-newBBBB')
  const { id } = await rotations().start({ ...start, value: next.value })
  await assert.rejects(rotations().start({ ...start, value: next.value }), {
    code: 'SP_ROTATION_RUNNING',
  })
  await until(id, ({ step }) => step === 'grace')
  assert.deepEqual([old.active, next.active], [true, true])
  await graceOver()
  assert.equal((await until(id, ({ endedAt }) => endedAt !== null)).error, null)
  assert.deepEqual([old.active, next.active], [false, true])
})

test('Airtable: a person makes and ends the token, and the rotation says so', async () => {
  const old = provider.add('tables', 'patcanaryOld')
  await put('tables', old.value)
  const next = provider.add('tables 2', 'patcanaryNew')
  const start = { path: 'tables', reason: 'a test', by: 'alice', value: next.value }
  const { id } = await rotations().start(start)
  await until(id, ({ step }) => step === 'grace')
  await graceOver()
  const done = await until(id, ({ endedAt }) => endedAt !== null)
  assert.match(done.error ?? '', /by hand/)
})

test('any HTTP API: the declared calls', async () => {
  const old = provider.add('plain', 'sk-plain-canary-old')
  await put('plain', old.value, old.id)
  const { id } = await rotations().start({ path: 'plain', reason: 'a test', by: 'alice' })
  await until(id, ({ step }) => step === 'grace')
  await graceOver()
  const done = await until(id, ({ endedAt }) => endedAt !== null)
  assert.deepEqual([done.error, old.active], [null, false])
  await assert.rejects(rotations().start({ path: 'nothing', reason: 'a test', by: 'alice' }), {
    code: 'SP_ROTATION_UNDECLARED',
  })
})
