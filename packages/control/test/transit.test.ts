import assert from 'node:assert/strict'
import { verify } from 'node:crypto'
import { after, before, test } from 'node:test'
import type { Custody } from '../src/secrets/custody.ts'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Answer, Peer } from './support/network.ts'

let plane: TestPlane
let flagger: Peer
let analyst: Peer
const TEXT = Buffer.from('DE02 1203 0000 0000 2020 51')

before(async () => {
  plane = await TestPlane.start(
    declarationWith({
      transit: [
        {
          ...{ name: 'ibans', owner: 'core', use: 'account numbers', type: 'aes256-gcm' },
          users: { flagger: ['encrypt', 'decrypt', 'rewrap'], analyst: ['encrypt', 'rewrap'] },
        },
        {
          ...{ name: 'other', owner: 'core', use: 'a test', type: 'aes256-gcm' },
          users: { flagger: ['encrypt', 'decrypt'] },
        },
        {
          ...{ name: 'reports', owner: 'risk', use: 'signs reports', type: 'ed25519' },
          users: { flagger: ['sign', 'verify'], analyst: ['verify'] },
        },
      ],
      secrets: [
        {
          ...{ path: 'mail', owner: 'desk', use: 'sends mail', agents: ['flagger'], services: [] },
          ...{ operators: [], local: false, maxVersions: 3 },
          rotation: {
            ...{ kind: 'airtable', url: 'https://api.airtable.example', everySeconds: 60 },
            ...{ graceSeconds: 60, parameters: {} },
          },
        },
      ],
    }),
  )
  flagger = await plane.enrol('agent', 'flagger')
  analyst = await plane.enrol('agent', 'analyst')
})
after(() => plane?.close())

const custody = (): Custody => plane.control.context.custody
const call = (peer: Peer, key: string, act: string, body: unknown): Promise<Answer> =>
  peer.call('POST', `/v1/transit/${key}/${act}`, body)
const refusedWith = (answer: Answer, status: number, code: string): void =>
  assert.deepEqual([answer.status, answer.body['code']], [status, code])

async function encrypted(peer: Peer, key = 'ibans', context?: string): Promise<string> {
  const plaintext = TEXT.toString('base64')
  const answer = await call(peer, key, 'encrypt', { plaintext, ...(context ? { context } : {}) })
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  return String(answer.body['ciphertext'])
}

async function decrypted(ciphertext: string, context?: string): Promise<string> {
  const body = { ciphertext, ...(context === undefined ? {} : { context }) }
  const answer = await call(flagger, 'ibans', 'decrypt', body)
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  return Buffer.from(String(answer.body['plaintext']), 'base64').toString()
}

test('what is encrypted opens with its key and context only, for those who may', async () => {
  const one = await encrypted(flagger)
  const two = await encrypted(analyst, 'ibans', 'customer 7')
  assert.notEqual(one, await encrypted(flagger))
  assert.equal(await decrypted(one), TEXT.toString())
  assert.equal(await decrypted(two, 'customer 7'), TEXT.toString())
  for (const body of [
    { ciphertext: two },
    { ciphertext: two, context: 'customer 8' },
    { ciphertext: `${one.slice(0, -1)}${one.endsWith('A') ? 'B' : 'A'}` },
    { ciphertext: one.replace('spt:1:', 'spt:2:') },
    { ciphertext: 'spt:1:AAAA' },
    { ciphertext: `${one}=` },
    { ciphertext: await encrypted(flagger, 'other') },
  ]) {
    refusedWith(await call(flagger, 'ibans', 'decrypt', body), 400, 'SP_TRANSIT_INVALID')
  }
  refusedWith(
    await call(analyst, 'ibans', 'decrypt', { ciphertext: one }),
    403,
    'SP_TRANSIT_REFUSED',
  )
  const none = { plaintext: '' }
  refusedWith(await call(analyst, 'other', 'encrypt', none), 403, 'SP_TRANSIT_REFUSED')
  refusedWith(await call(flagger, 'nothing', 'encrypt', none), 403, 'SP_TRANSIT_REFUSED')
  refusedWith(await call(flagger, 'ibans', 'encrypt', { plaintext: '*' }), 400, 'SP_PLANE_BODY')
  refusedWith(await call(flagger, 'ibans', 'sign', { data: '' }), 403, 'SP_TRANSIT_REFUSED')
  const gateway = await plane.enrol('gateway', 'gw1')
  refusedWith(await call(gateway, 'ibans', 'encrypt', none), 403, 'SP_PLANE_KIND')
})

test('a new version encrypts, older ones open until they are not accepted any more', async () => {
  const { transit } = custody()
  const old = await encrypted(flagger)
  assert.match(old, /^spt:1:/)
  assert.equal(await transit.rotate('alice', 'ibans'), 2)
  assert.match(await encrypted(flagger), /^spt:2:/)
  assert.equal(await decrypted(old), TEXT.toString())
  const rewrapped = await call(analyst, 'ibans', 'rewrap', { ciphertext: old })
  const fresh = String(rewrapped.body['ciphertext'])
  assert.match(fresh, /^spt:2:/)
  assert.deepEqual(Object.keys(rewrapped.body), ['ciphertext'])
  await assert.rejects(transit.setMinDecrypt('alice', 'ibans', 3), { code: 'SP_TRANSIT_VERSION' })
  await transit.setMinDecrypt('alice', 'ibans', 2)
  // What was shut out is not let back in.
  await assert.rejects(transit.setMinDecrypt('alice', 'ibans', 1), { code: 'SP_TRANSIT_VERSION' })
  refusedWith(
    await call(flagger, 'ibans', 'decrypt', { ciphertext: old }),
    400,
    'SP_TRANSIT_VERSION',
  )
  refusedWith(
    await call(analyst, 'ibans', 'rewrap', { ciphertext: old }),
    400,
    'SP_TRANSIT_VERSION',
  )
  assert.equal(await decrypted(fresh), TEXT.toString())
  await plane.restart()
  assert.equal(await decrypted(fresh), TEXT.toString())
})

test('signatures verify here and with the public key anywhere, until their version is not accepted', async () => {
  const data = TEXT.toString('base64')
  const signature = String((await call(flagger, 'reports', 'sign', { data })).body['signature'])
  const check = async (body: unknown): Promise<unknown> =>
    (await call(analyst, 'reports', 'verify', body)).body['valid']
  assert.equal(await check({ data, signature }), true)
  assert.equal(await check({ data: Buffer.from('other').toString('base64'), signature }), false)
  refusedWith(await call(analyst, 'reports', 'sign', { data }), 403, 'SP_TRANSIT_REFUSED')
  const key = (await custody().transit.list()).find(({ name }) => name === 'reports')
  const bytes = Buffer.from(signature.split(':')[2] ?? '', 'base64url')
  assert.equal(verify(null, TEXT, key?.publicKey ?? '', bytes), true)
  await custody().transit.rotate('alice', 'reports')
  assert.equal(await check({ data, signature }), true)
  await custody().transit.setMinDecrypt('alice', 'reports', 2)
  refusedWith(
    await call(analyst, 'reports', 'verify', { data, signature }),
    400,
    'SP_TRANSIT_VERSION',
  )
})

test('the first use of a key at once makes one version', async () => {
  const names = await Promise.all([1, 2, 3, 4].map(() => encrypted(flagger, 'other')))
  assert.ok(names.every((text) => text.startsWith('spt:1:')))
})

test('the register has every key and certificate, with owner, use and age, and no value', async () => {
  await plane.firstOperator()
  await custody().vault.write('alice', 'mail', Buffer.from('canary-mail'))
  const entries = await custody().register()
  const find = (name: string) => entries.find((one) => one.name === name)
  assert.deepEqual(
    { ...find('mail'), createdAt: 0, rotateBy: 0 },
    {
      ...{ kind: 'secret', name: 'mail', owner: 'desk', use: 'sends mail', algorithm: 'unknown' },
      ...{ createdAt: 0, ageDays: 0, expiresAt: null, rotateBy: 0, state: 'good' },
      ...{ heldBy: 'barrier', exportable: true },
    },
  )
  const root = find('root of the trust domain')
  assert.deepEqual([root?.algorithm, root?.state], ['ec prime256v1', 'good'])
  assert.ok((root?.expiresAt ?? 0) > Date.now() + 9 * 365 * 86_400_000)
  assert.equal(find('bundle key')?.algorithm, 'ed25519')
  assert.deepEqual(
    [find(flagger.spiffeId)?.owner, find(flagger.spiffeId)?.heldBy],
    ['risk', 'agent'],
  )
  assert.equal(find('transit reports, version 2')?.exportable, false)
  assert.ok(find('data key 1 of the barrier'))
  assert.ok(entries.some(({ heldBy, owner }) => heldBy === 'authenticator' && owner === 'alice'))
  assert.ok(find('authority of database clients'))
  const signing = plane.control.context.authority.view().generations
  assert.ok(signing.length > 0)
  for (const { id } of signing) assert.ok(find(`signing certificate ${id}`), id)
  assert.ok(!JSON.stringify(entries).includes('canary'))
})
