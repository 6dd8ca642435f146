import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import {
  certificatesFromPem,
  createRoot,
  signAuthority,
  TrustBundle,
  verifySvid,
} from '@sallyport/spiffe'
import { openAuthority } from '../src/authority/authority.ts'
import type { Authority, AuthorityOptions } from '../src/authority/authority.ts'
import { due, NONE } from '../src/authority/generations.ts'
import type { Generation } from '../src/authority/generations.ts'
import { softwareKeys } from '@sallyport/seal'
import { providedKeys } from '../src/authority/keys.ts'

const dir = mkdtempSync(join(tmpdir(), 'sp-ca-'))
after(() => rmSync(dir, { recursive: true }))
const root = createRoot({ trustDomain: 'bank.test', ttlSeconds: 10 * 365 * 86_400 })
const rootKey = createPrivateKey(root.privateKeyPem)
const spki = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
  format: 'der',
  type: 'spki',
})
const keySigner = (key: KeyObject) => ({
  publicKey: createPublicKey(key),
  sign: (data: Uint8Array) => sign('sha256', data, key),
})
const HOUR = 3_600_000
const DAY = 24 * HOUR
let folders = 0
let now = Date.now()
const clock = { now: () => now, monotonic: () => now }
const stopped = (at: number): typeof clock => ({ now: () => at, monotonic: () => at })

function open(folder: string, more: Partial<AuthorityOptions> = {}): Promise<Authority> {
  return openAuthority({
    folder,
    keys: providedKeys(softwareKeys({ dir: folder }), ''),
    root: { certificatePem: root.certificatePem, signer: keySigner(rootKey) },
    clock,
    ...more,
  })
}
function fresh(): string {
  const folder = join(dir, String(++folders))
  mkdirSync(folder)
  return folder
}
const states = (authority: Authority): string[] =>
  authority.view().generations.map(({ state }) => state)
const activeId = (authority: Authority): string | undefined =>
  authority.view().generations.find(({ state }) => state === 'active')?.id

const spiffeId = 'spiffe://bank.test/agent/monitor/1'
const pinned = new Map([['bank.test', TrustBundle.fromPem('bank.test', root.certificatePem)]])
const issue = (authority: Authority, at = now): Buffer[] =>
  certificatesFromPem(
    authority.issue({ spiffeId, publicKeySpki: spki, ttlSeconds: 900, now: at }).chainPem,
  )
const holds = (chain: readonly Buffer[], at = now): string =>
  verifySvid(chain, pinned, { now: at }).id.uri
describe('the signing authority', () => {
  it('issues below the pinned root, which is all that a peer knows, through every rollover', async () => {
    const authority = await open(fresh())
    let before = issue(authority)
    assert.equal(before.length, 2)
    assert.equal(holds(before), spiffeId)
    for (let turn = 0; turn < 3; turn++) {
      await authority.prepare()
      assert.equal(issue(authority)[1]?.equals(before[1] ?? Buffer.alloc(0)), true)
      await authority.activate()
      const chain = issue(authority)
      assert.equal(chain[1]?.equals(before[1] ?? Buffer.alloc(0)), false)
      assert.equal(holds(chain), spiffeId)
      // What the one before signed stays good until it expires.
      assert.equal(holds(before), spiffeId)
      before = chain
    }
  })

  it('prepares a successor at half of its life and puts it in use with a sixth left', async () => {
    const start = now
    const authority = await open(fresh())
    const first = activeId(authority)
    now = start + 0.49 * DAY
    await authority.tick()
    assert.deepEqual(states(authority), ['active'])
    now = start + 0.51 * DAY
    await authority.tick()
    assert.deepEqual(states(authority), ['active', 'prepared'])
    now = start + 0.82 * DAY
    await authority.tick()
    assert.equal(activeId(authority), first)
    now = start + 0.84 * DAY
    await authority.tick()
    assert.deepEqual(states(authority), ['retired', 'active'])
    assert.notEqual(activeId(authority), first)
    now = start + 1.01 * DAY
    await authority.tick()
    assert.deepEqual(states(authority), ['active', 'prepared'])
    assert.equal(
      authority.view().generations.some(({ id }) => id === first),
      false,
    )
  })

  it('outlives a process that slept for a week, and a clock that jumps an hour either way', async () => {
    const authority = await open(fresh())
    assert.equal(holds(issue(authority)), spiffeId)
    const start = now
    for (const jump of [7 * DAY, 7 * DAY + HOUR, 7 * DAY, 7 * DAY - HOUR, 7 * DAY]) {
      now = start + jump
      // No tick before: what is issued is right at once.
      await authority.ready()
      assert.equal(holds(issue(authority)), spiffeId)
    }
  })

  it('goes on from what it kept', async () => {
    const folder = fresh()
    const authority = await open(folder)
    await authority.prepare()
    const again = await open(folder)
    assert.deepEqual(again.view(), authority.view())
    await again.activate()
    assert.deepEqual(states(await open(folder)), ['retired', 'active'])
  })

  it('has one successor at a time, and activates what was prepared only', async () => {
    const authority = await open(fresh())
    await assert.rejects(authority.activate(), { code: 'SP_CA_NOT_PREPARED' })
    await authority.prepare()
    await assert.rejects(authority.prepare(), { code: 'SP_CA_PREPARED' })
    const { generations } = await authority.activate()
    assert.deepEqual(
      generations.map(({ state }) => state),
      ['retired', 'active'],
    )
  })

  it('keeps keys only of what may sign: the active one and its successor', async () => {
    const folder = fresh()
    const authority = await open(folder)
    const keys = () => readdirSync(folder).filter((name) => name.endsWith('.key')).length
    assert.equal(keys(), 1)
    await authority.prepare()
    assert.equal(keys(), 2)
    await authority.activate()
    assert.equal(keys(), 1)
  })

  it('signs by the root itself where that root permits nothing below it', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const signer = keySigner(privateKey)
    // A root of before is stood in for by a signing certificate: its path length is zero as well.
    const certificatePem = signAuthority(
      { certificatePem: root.certificatePem, signer: keySigner(rootKey) },
      { publicKey: signer.publicKey, ttlSeconds: 7 * 86_400, now },
    )
    const authority = await open(fresh(), { root: { certificatePem, signer } })
    assert.equal(authority.view().belowRoot, false)
    assert.equal(issue(authority).length, 2)
    await assert.rejects(authority.prepare(), { code: 'SP_CA_ROOT_SIGNS' })
    await assert.rejects(authority.activate(), { code: 'SP_CA_ROOT_SIGNS' })
  })

  it('refuses a damaged state, and a state whose key is gone', async () => {
    const folder = fresh()
    await open(folder)
    const state = readFileSync(join(folder, 'state.json'), 'utf8')
    for (const text of ['', '{', '[]', '{"format":"other","generations":[]}']) {
      writeFileSync(join(folder, 'state.json'), text)
      await assert.rejects(open(folder), { code: 'SP_CA_STATE' }, text)
    }
    writeFileSync(join(folder, 'state.json'), state)
    assert.ok(await open(folder))
    for (const name of readdirSync(folder)) {
      if (name.endsWith('.key')) rmSync(join(folder, name))
    }
    await assert.rejects(open(folder), { code: 'SP_CA_STATE' })
  })
})

describe('what is due', () => {
  const entry = (state: Generation['state'], notBefore: number, notAfter: number): Generation => ({
    ...{ id: `${state}${notBefore}`, state, notBefore, notAfter, preparedAt: notBefore },
    certificate: '',
  })
  const at = (when: number, ...generations: Generation[]) => due({ ...NONE, generations }, when)

  it('is judged at every edge', async () => {
    const active = entry('active', 0, 600)
    const prepared = entry('prepared', 300, 900)
    assert.equal(at(0), 'prepare')
    assert.equal(at(0, active), undefined)
    assert.equal(at(299, active), undefined)
    assert.equal(at(300, active), 'prepare')
    assert.equal(at(499, active, prepared), undefined)
    assert.equal(at(500, active, prepared), 'activate')
    assert.equal(at(601, active, prepared), 'activate')
    assert.equal(at(601, active), 'prepare')
    assert.equal(at(-1, active), 'prepare')
    assert.equal(at(-1, active, prepared), 'prepare')
    assert.equal(at(901, active, prepared), 'forget')
    assert.equal(at(601, entry('retired', 0, 600), entry('active', 500, 1100)), 'forget')
    assert.equal(at(600, entry('retired', 0, 600), entry('active', 500, 1100)), undefined)
  })
})

// MUST-reject, row 14: a crash in the middle of CA rotation.
describe('a crash at any step of a rotation', () => {
  const script = join(import.meta.dirname, 'support/crash-authority.ts')
  const rootFile = join(dir, 'root.pem')
  const keyFile = join(dir, 'root.key')
  const run = (folder: string, at: number, ...more: readonly string[]) =>
    new Promise<{ signal: string | null; out: string }>((resolve, reject) => {
      const child = execFile(
        process.execPath,
        [script, folder, rootFile, keyFile, String(at), ...more],
        { timeout: 120_000 },
        (error, out, err) => {
          if (error && child.signalCode !== 'SIGKILL') reject(new Error(err, { cause: error }))
          else resolve({ signal: child.signalCode, out })
        },
      )
    })

  const reopened = (at: number, ...args: Parameters<typeof open>) =>
    open(...args).catch((error: unknown) => assert.fail(`step ${at}: ${String(error)}`))

  it('leaves an authority that issues, rotates on, and holds no key too many', async () => {
    writeFileSync(rootFile, root.certificatePem)
    writeFileSync(keyFile, root.privateKeyPem)
    const whole = await run(fresh(), 0)
    const steps = Number(whole.out)
    assert.equal(whole.signal, null)
    assert.ok(steps >= 14, whole.out)
    const check = async (at: number): Promise<void> => {
      const folder = fresh()
      const killed = await run(folder, at)
      assert.equal(killed.signal, 'SIGKILL', `step ${at}`)
      const when = Number(killed.out.split(' ').at(-1))
      const authority = await reopened(at, folder, { clock: stopped(when) })
      assert.equal(states(authority).filter((state) => state === 'active').length, 1)
      const chain = issue(authority, when)
      assert.equal(holds(chain, when), spiffeId, `step ${at}`)
      if (!states(authority).includes('prepared')) await authority.prepare()
      await authority.activate()
      assert.equal(holds(issue(authority, when), when), spiffeId)
      assert.equal(holds(chain, when), spiffeId)
      const keys = readdirSync(folder).filter((name) => name.endsWith('.key'))
      assert.equal(keys.length, 1, `step ${at}: ${keys.join(' ')}`)
    }
    for (let at = 1; at <= steps; at += 2) {
      await Promise.all([check(at), at < steps ? check(at + 1) : undefined])
    }
  })

  it('in a change of the root leaves one that issues below either, and goes over to the new one', async () => {
    const next = createRoot({ trustDomain: 'bank.test', ttlSeconds: 86_400 })
    const [nextFile, nextKey] = [join(dir, 'next.pem'), join(dir, 'next.key')]
    writeFileSync(rootFile, root.certificatePem)
    writeFileSync(keyFile, root.privateKeyPem)
    writeFileSync(nextFile, next.certificatePem)
    writeFileSync(nextKey, next.privateKeyPem)
    const newRoot = {
      certificatePem: next.certificatePem,
      signer: keySigner(createPrivateKey(next.privateKeyPem)),
    }
    const both = new Map([
      ['bank.test', TrustBundle.fromPem('bank.test', root.certificatePem + next.certificatePem)],
    ])
    const endOf = (authority: Authority, at: number): string =>
      verifySvid(issue(authority, at), both, { now: at }).root
    const whole = await run(fresh(), 0, nextFile, nextKey)
    const steps = Number(whole.out)
    assert.ok(steps >= 14, whole.out)
    now = Date.now()
    const check = async (at: number): Promise<void> => {
      // The database says either, by when the process came to be killed.
      for (const [named, expected] of [
        [newRoot, (await open(fresh(), { root: newRoot })).root],
        [undefined, (await open(fresh())).root],
      ] as const) {
        const folder = fresh()
        const killed = await run(folder, at, nextFile, nextKey)
        assert.equal(killed.signal, 'SIGKILL', `step ${at}`)
        const when = Number(killed.out.split(' ').at(-1))
        const more = { clock: stopped(when) }
        const authority = await reopened(at, folder, named ? { ...more, root: named } : more)
        assert.equal(authority.root, expected)
        assert.equal(endOf(authority, when), expected, `step ${at}`)
        await authority.useRoot(newRoot)
        assert.equal(endOf(authority, when), authority.root)
        assert.notEqual(named ? 'new' : authority.root, expected)
        const keys = readdirSync(folder).filter((name) => name.endsWith('.key'))
        assert.equal(keys.length, 1, `step ${at}: ${keys.join(' ')}`)
        const again = await open(folder, { ...more, root: newRoot })
        assert.deepEqual(again.view(), authority.view())
      }
    }
    for (let at = 1; at <= steps; at += 2) {
      await Promise.all([check(at), at < steps ? check(at + 1) : undefined])
    }
  })
})
