import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createPublicKey, hash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { existsSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { certificatesFromPem } from '@sallyport/spiffe'
import { verifyBundle } from '@sallyport/wire'
import { initTrust } from '../src/index.ts'
import type { ControlOptions } from '../src/index.ts'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import { ORIGIN, RP_ID } from './support/signer.ts'
import { claimPorts } from '../../../test/support/ports.ts'

type Keys = Parameters<typeof initTrust>[0]['keys']

const MODULE = '/usr/lib/softhsm/libsofthsm2.so'
const noSoftHsm = !existsSync(MODULE) && 'SoftHSM is not installed'
const PIN = '9876'
const tokens = mkdtempSync(join(tmpdir(), 'control-hsm-'))
after(() => rmSync(tokens, { recursive: true }))
/** Of the machine's package, as the module is. */
const TOOL = 'softhsm2-util'
if (!noSoftHsm) {
  mkdirSync(join(tokens, 'tokens'))
  const conf = join(tokens, 'softhsm2.conf')
  writeFileSync(conf, `directories.tokendir = ${join(tokens, 'tokens')}\nlog.level = ERROR\n`)
  process.env['SOFTHSM2_CONF'] = conf
  for (const label of ['one', 'two', 'three']) {
    const pins = ['--pin', PIN, '--so-pin', '11223344']
    execFileSync(TOOL, ['--init-token', '--free', '--label', label, ...pins], { stdio: 'pipe' })
  }
}
const ALWAYS = ['bundle ed25519', 'ca p256', 'log ed25519', 'unseal aes256']
const token = (label: string) => ({ module: MODULE, token: label })

/** A network with its keys in a certain place, not started. */
async function network(keys?: Keys): Promise<{ plane: TestPlane; shares: readonly string[] }> {
  const plane = new TestPlane(declarationWith(), {})
  const { dataDir, declaration } = plane
  const { shares } = await initTrust({
    ...{ dataDir, declaration, rpId: RP_ID, origin: ORIGIN },
    ...(keys ? { keys } : {}),
  })
  return { plane, shares }
}

/** Starts it, and gives what there is while it waits for shares. */
function starting(plane: TestPlane, over: Partial<ControlOptions> = {}) {
  const waits = Promise.withResolvers<void>()
  const started = plane.restart({ ...over, onSealed: () => waits.resolve() })
  started.catch(waits.reject)
  return { started, waits: waits.promise }
}

async function admin(
  plane: TestPlane,
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: Readonly<Record<string, unknown>> }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>()
  const socketPath = join(plane.dataDir, 'run', 'admin.sock')
  const headers = { host: 'localhost', 'content-type': 'application/json' }
  const req = request({ socketPath, method, path, headers }, (res) => {
    let text = ''
    res.setEncoding('utf8')
    res.on('data', (chunk: string) => (text += chunk))
    res.on('end', () => resolve({ status: res.statusCode ?? 0, text }))
  })
  req.on('error', reject)
  req.end(body === undefined ? undefined : JSON.stringify(body))
  const { status, text } = await promise
  return { status, body: JSON.parse(text) as Readonly<Record<string, unknown>> }
}

/** Enrols, checks the bundle against the pins and writes a checkpoint: all three keys at work. */
async function works(plane: TestPlane): Promise<void> {
  const gateway = await plane.enrol('gateway', 'gw1')
  const follower = await gateway.follow()
  const [first] = follower.bundles
  assert.ok(first && gateway.pins)
  verifyBundle(first.signed, gateway.pins)
  follower.close()
  const agent = await plane.enrol('agent', 'flagger')
  assert.equal((await agent.call('GET', '/v1/status')).status, 200)
  const renewed = await agent.renew()
  assert.equal(renewed.status, 200)
  // Wherever the keys are, the root does not sign SVIDs itself.
  assert.equal(certificatesFromPem(String(renewed.body['chain'])).length, 2)
}

/** Texts of all files of the trust folder. */
const trustFiles = (plane: TestPlane): Readonly<Record<string, string>> => {
  const dir = join(plane.dataDir, 'trust')
  return Object.fromEntries(
    readdirSync(dir).map((name) => [name, readFileSync(join(dir, name), 'utf8')]),
  )
}

test('keys in files: three separate ones, with their age and use in the register, and exportable', async () => {
  const { plane, shares } = await network()
  try {
    assert.deepEqual(shares, [])
    await plane.restart()
    await works(plane)
    const keys = await plane.control.context.keys()
    assert.deepEqual(
      keys.map(({ name, algorithm, exportable }) => [name, algorithm, exportable]),
      [
        ['bundle', 'ed25519', true],
        ['ca', 'p256', true],
        ['genesis', 'ed25519', true],
        ['log', 'ed25519', true],
      ],
    )
    assert.equal(new Set(keys.map(({ fingerprint }) => fingerprint)).size, 4)
    const { body } = await admin(plane, 'GET', '/api/keys')
    assert.equal((body['keys'] as unknown[]).length, 4)
    assert.equal((body['terms'] as unknown[]).length, 1)
    assert.deepEqual((await admin(plane, 'POST', '/api/keys/rotate', {})).body, { term: 2 })
    await plane.restart()
    assert.equal(plane.control.context.barrier.terms().length, 2)
  } finally {
    await plane.close()
  }
})

test('sealed: no private key is on disk; until a threshold of shares was given only health and unsealing answer', async () => {
  const { plane, shares } = await network({ kind: 'sealed' })
  try {
    assert.equal(shares.length, 5)
    const { 'genesis.key': _untilTheFirstOperator, ...files } = trustFiles(plane)
    assert.deepEqual(Object.keys(files).toSorted(), [
      'barrier',
      'bundle.sealed',
      'ca.pem',
      'ca.sealed',
      'keys.json',
      'log.sealed',
      'pins.json',
      'relying-party.json',
    ])
    for (const text of Object.values(files)) assert.doesNotMatch(text, /PRIVATE/)
    const { started, waits } = starting(plane)
    await waits
    const unseal = (share: unknown) => admin(plane, 'POST', '/api/unseal', { share })
    const refusals = [
      ['GET', '/api/network'],
      ['GET', '/api/quarantine'],
      ['POST', '/api/quarantine'],
      ['POST', '/api/join-tokens'],
      ['GET', '/'],
      ['GET', '/api/unseal?x'],
      ['PUT', '/api/unseal'],
    ] as const
    for (const [method, path] of refusals) {
      const { status, body } = await admin(plane, method, path)
      assert.deepEqual([status, body['code']], [503, 'SP_SEALED'], path)
    }
    const health = await admin(plane, 'GET', '/api/health')
    assert.deepEqual([health.status, health.body], [503, { control: 'sealed', state: 'sealed' }])
    assert.equal((await unseal('nothing')).body['code'], 'SP_SEAL_SHARE')
    assert.equal((await unseal(7)).body['code'], 'SP_API_INPUT')
    assert.equal((await unseal('x'.repeat(5000))).body['code'], 'SP_API_TOO_LARGE')
    for (const [given, share] of shares.slice(0, 2).entries()) {
      const { status, body } = await unseal(share)
      assert.deepEqual([status, body['state']], [200, 'half-unsealed'])
      const again = await admin(plane, 'GET', '/api/unseal')
      const { given: counted, threshold } = again.body['shares'] as Record<string, number>
      assert.deepEqual([counted, threshold], [given + 1, 3])
    }
    assert.equal((await admin(plane, 'GET', '/api/network')).body['code'], 'SP_SEALED')
    assert.equal((await unseal(shares[4])).body['state'], 'unsealed')
    await started
    await works(plane)
    const authority = join(plane.dataDir, 'control', 'authority')
    const { generations } = await plane.control.context.authority.prepare()
    assert.deepEqual(
      readdirSync(authority).toSorted(),
      [...generations.map(({ id }) => `${id}.sealed`), 'state.json'].toSorted(),
    )
    for (const name of readdirSync(authority)) {
      assert.doesNotMatch(readFileSync(join(authority, name), 'utf8'), /PRIVATE/)
    }
    await plane.control.context.authority.activate()
    assert.equal(readdirSync(authority).length, 2)
    await works(plane)
    const [, root] = await plane.control.context.roots.prepare({ by: 'test' })
    assert.equal(root?.state, 'prepared')
    const made = Object.entries(trustFiles(plane)).filter(([name]) => name.startsWith('root-'))
    assert.equal(made.length, 1)
    for (const [name, text] of made) {
      assert.match(name, /\.sealed$/)
      assert.doesNotMatch(text, /PRIVATE/)
    }
    assert.equal((await admin(plane, 'GET', '/api/unseal')).body['state'], 'unsealed')
    assert.equal((await unseal(shares[3])).body['code'], 'SP_SEAL_UNSEALED')
    // After a restart it is sealed again; who waits can be called off.
    const abort = new AbortController()
    const again = starting(plane, { signal: abort.signal })
    await again.waits
    abort.abort()
    await assert.rejects(again.started, { code: 'SP_SEALED' })
  } finally {
    await plane.close()
  }
})

test('sealed: over the network nothing listens for gateways, and the console says no more than that', async () => {
  const { plane, shares } = await network({ kind: 'sealed', shares: { count: 2, threshold: 2 } })
  try {
    const web = { port: await claimPorts() }
    const { started, waits } = starting(plane, { console: web })
    await waits
    const ask = (path: string, init: RequestInit = {}) =>
      fetch(`http://127.0.0.1:${web.port}${path}`, init)
    const health = await ask('/api/health')
    assert.deepEqual(
      [health.status, await health.json()],
      [503, { control: 'sealed', state: 'sealed' }],
    )
    for (const path of ['/', '/api/unseal', '/api/session', '/api/events']) {
      const answer = await ask(path)
      assert.equal(answer.status, 503)
      assert.equal(((await answer.json()) as { code: string }).code, 'SP_SEALED')
    }
    const headers = { 'content-type': 'application/json' }
    for (const share of shares) {
      const body = JSON.stringify({ share })
      const answer = await ask('/api/unseal', { method: 'POST', headers, body })
      assert.equal(answer.status, 503)
    }
    assert.equal((await admin(plane, 'GET', '/api/unseal')).body['state'], 'sealed')
    for (const share of shares) await admin(plane, 'POST', '/api/unseal', { share })
    await started
    assert.equal(plane.control.context.trustDomain, 'bank.test')
  } finally {
    await plane.close()
  }
})

test(
  'pkcs11: keys are made in the token and stay there, and everything works',
  { skip: noSoftHsm },
  async () => {
    const { plane, shares } = await network({ kind: 'pkcs11', token: token('one'), pin: PIN })
    try {
      assert.deepEqual(shares, [])
      const { 'genesis.key': _untilTheFirstOperator, ...files } = trustFiles(plane)
      assert.deepEqual(Object.keys(files).toSorted(), [
        'barrier',
        'ca.pem',
        'keys.json',
        'pins.json',
        'relying-party.json',
      ])
      for (const text of Object.values(files)) {
        assert.doesNotMatch(text, /PRIVATE/)
        assert.ok(!text.includes(PIN))
      }
      await assert.rejects(plane.restart(), { code: 'SP_HSM_PIN_SOURCE' })
      const pinFile = join(plane.dataDir, 'pin')
      writeFileSync(pinFile, PIN, { mode: 0o600 })
      await plane.restart({ pkcs11Pin: PIN })
      await works(plane)
      const own = readFileSync(join(plane.dataDir, 'control', 'authority', 'owner'), 'utf8')
      const signing = (ids: readonly string[]) => ids.map((id) => `signing-${own}-${id}`)
      const inToken = async () => {
        const keys = await plane.control.context.keys()
        for (const { exportable, provider } of keys) {
          assert.deepEqual([exportable, provider], [false, 'pkcs11'])
        }
        return keys
          .map(({ name, algorithm }) => `${name} ${algorithm}`)
          .filter((text) => !ALWAYS.includes(text))
          .toSorted()
      }
      const idsOf = ({ generations }: { generations: readonly { id: string; state: string }[] }) =>
        generations.filter(({ state }) => state !== 'retired').map(({ id }) => id)
      const p256 = (names: readonly string[]) => names.map((name) => `${name} p256`).toSorted()
      const { authority, roots } = plane.control.context
      // The successor is made in the token too; what retired is destroyed there.
      const [before] = idsOf(authority.view())
      assert.deepEqual(await inToken(), p256(signing([before ?? ''])))
      const both = idsOf(await authority.prepare())
      assert.equal(both.length, 2)
      assert.deepEqual(await inToken(), p256(signing(both)))
      const [after, ...none] = idsOf(await authority.activate())
      assert.notEqual(after, before)
      assert.deepEqual(none, [])
      assert.deepEqual(await inToken(), p256(signing([after ?? ''])))
      await works(plane)
      // So is a root.
      await roots.prepare({ by: 'test' })
      const withRoot = await inToken()
      assert.equal(withRoot.length, 2)
      assert.match(withRoot[0] ?? '', /^root-[0-9a-f]{16} p256$/)
      await roots.cancel()
      assert.deepEqual(await inToken(), p256(signing([after ?? ''])))
      await plane.restart({ pkcs11Pin: PIN })
      await works(plane)
      assert.deepEqual(await inToken(), p256(signing([after ?? ''])))
      assert.deepEqual(readdirSync(join(plane.dataDir, 'control', 'authority')).toSorted(), [
        'owner',
        'state.json',
      ])
    } finally {
      await plane.close()
    }
  },
)

test(
  'pkcs11: without its token, or with the keys of another network, nothing starts',
  { skip: noSoftHsm },
  async () => {
    const { plane } = await network({ kind: 'pkcs11', token: token('two'), pin: PIN })
    try {
      // The same trust domain again would need the same labels.
      await assert.rejects(network({ kind: 'pkcs11', token: token('two'), pin: PIN }), {
        code: 'SP_KEY_EXISTS',
      })
      const file = join(plane.dataDir, 'trust', 'keys.json')
      const settings = readFileSync(file, 'utf8')
      for (const [other, code] of [
        ['nobody', 'SP_HSM_TOKEN'],
        ['one', 'SP_HSM_FAILED'],
      ] as const) {
        writeFileSync(file, settings.replace('"two"', `"${other}"`))
        // `one` has an unsealing key of that name, and not this one.
        await assert.rejects(
          plane.restart({ pkcs11Pin: PIN }),
          ({ code: found }: { code: string }) => [code, 'SP_SEAL_UNSEALER'].includes(found),
        )
      }
      writeFileSync(file, settings)
      await plane.restart({ pkcs11Pin: PIN })
    } finally {
      await plane.close()
    }
  },
)

test(
  'pkcs11: an initialisation that fails leaves no key in the token',
  { skip: noSoftHsm },
  async () => {
    const keys = { kind: 'pkcs11', token: token('three'), pin: PIN } as const
    const dataDir = mkdtempSync(join(tmpdir(), 'sp-control-'))
    const bad = declarationWith({ trustDomain: 'Not A Domain' })
    const make = (declaration: typeof bad) =>
      initTrust({ dataDir, declaration, rpId: RP_ID, origin: ORIGIN, keys })
    await assert.rejects(make(bad), { code: 'SP_SPIFFE_ID' })
    await assert.rejects(make(bad), { code: 'SP_SPIFFE_ID' })
    // Nor one that fails between two keys.
    const few = { ...keys, shares: { count: 1, threshold: 1 } }
    const input = { dataDir, declaration: declarationWith(), rpId: RP_ID, origin: ORIGIN }
    for (let i = 0; i < 2; i++) {
      await assert.rejects(initTrust({ ...input, keys: few }), { code: 'SP_SEAL_SHARES' })
    }
    assert.deepEqual(readdirSync(dataDir), [])
    await make(declarationWith({ trustDomain: 'good.test' }))
    rmSync(dataDir, { recursive: true })
  },
)

test(
  'sealed, unsealed by a token: it starts by itself, and by people where the token is away',
  { skip: noSoftHsm },
  async () => {
    const keys = { kind: 'sealed', token: token('three'), pin: PIN } as const
    const { plane, shares } = await network(keys)
    try {
      assert.equal(shares.length, 5)
      await plane.restart({ pkcs11Pin: PIN })
      await works(plane)
      const { started, waits } = starting(plane)
      await waits
      assert.ok(
        plane.errors.some((error) => (error as { code?: string }).code === 'SP_HSM_PIN_SOURCE'),
      )
      for (const share of shares.slice(0, 3)) await admin(plane, 'POST', '/api/unseal', { share })
      await started
      await works(plane)
    } finally {
      await plane.close()
    }
  },
)

test('a data directory of an earlier version gets a barrier, and its log goes on with its key', async () => {
  const { plane } = await network()
  try {
    const at = (...names: string[]): string => join(plane.dataDir, ...names)
    mkdirSync(at('control'), { mode: 0o700 })
    renameSync(at('trust', 'log.key'), at('control', 'log.key'))
    const own = createPublicKey(readFileSync(at('control', 'log.key')))
    const fingerprint = hash('sha256', own.export({ format: 'der', type: 'spki' }), 'hex')
    for (const name of ['keys.json', 'barrier', 'unseal.secret']) rmSync(at('trust', name))
    await plane.restart()
    await works(plane)
    const log = (await plane.control.context.keys()).find(({ name }) => name === 'log')
    assert.equal(log?.fingerprint, fingerprint)
    assert.ok(existsSync(at('trust', 'keys.json')))
    await plane.restart()
    // Without its keys it is not taken for an earlier version.
    rmSync(at('trust', 'keys.json'))
    renameSync(at('trust', 'ca.key'), at('ca.key'))
    await assert.rejects(plane.restart(), { code: 'SP_TRUST_DAMAGED' })
  } finally {
    await plane.close()
  }
})
