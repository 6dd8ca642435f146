import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { gatewayId } from '@sallyport/spiffe'
import type { IdentityMaterial } from '@sallyport/transport'
import { requestHash, verifyCallToken } from '@sallyport/wire'
import type { CallToken } from '@sallyport/wire'
import { signOctets } from '@sallyport/wire/call-signature'
import { CallTokens } from '../src/upstream/call-tokens.ts'
import type { Addressed } from '../src/upstream/call-tokens.ts'
import { SigningAhead } from '../src/upstream/signing/ahead.ts'
import { TestPlane } from './support/plane.ts'
import { declared } from './support/world.ts'

const NOW = 1_800_000_000_000
const PATH = '/v1/accounts/ACC-1'

describe('call tokens that are made ready while a record is being written', () => {
  let monotonic = 0
  const clock = { now: () => NOW, monotonic: () => monotonic }
  let identity: IdentityMaterial
  let renewed: IdentityMaterial
  let call: Addressed
  let gateway: string
  let tokens: CallTokens
  const signing = new SigningAhead((error) => {
    throw new Error('the signing thread has ended', { cause: error })
  })
  before(async () => {
    const declaration = await declared()
    const plane = new TestPlane(declaration)
    gateway = gatewayId(plane.trustDomain, 'gw1')
    identity = plane.issue(gateway)
    renewed = plane.issue(gateway)
    const system = declaration.network.systems.find(({ name }) => name === 'bank')
    assert.ok(system)
    call = {
      caller: 'spiffe://meridian.example/agent/teller/i1',
      delegation: {},
      system,
      decision: 'dec_1',
      operation: 'bank.account',
      request: { method: 'GET', path: PATH, body: undefined },
      trace: undefined,
    }
    tokens = new CallTokens(gateway, clock, signing)
  })
  after(() => signing.close())

  const read = (token: string, by = identity): Promise<CallToken> =>
    verifyCallToken(token, createPublicKey(by.keyPem), {
      iss: gateway,
      aud: `spiffe://${by.trustDomain}/service/bank`,
      requestHash: requestHash('GET', PATH, new Uint8Array()),
      now: NOW,
    })
  const taken = (over: Partial<Addressed> = {}, by = identity): string =>
    tokens.of({ ...call, ...over }, 'bank', by)

  it('says of the call what one made at once says, and is taken once', async () => {
    const atOnce = await read(taken())
    tokens.prepare(call, 'bank', identity)
    monotonic += 1000
    const first = await read(taken())
    const second = await read(taken())
    assert.deepEqual({ ...first, jti: '' }, { ...atOnce, jti: '' })
    assert.equal(new Set([atOnce.jti, first.jti, second.jti]).size, 3)
  })

  it('is not for a connection of another key, another decision or another request', async () => {
    tokens.prepare(call, 'bank', identity)
    const other = await read(taken({}, renewed), renewed)
    assert.equal(other.decision, 'dec_1')
    tokens.prepare(call, 'bank', identity)
    assert.equal((await read(taken({ decision: 'dec_2' }))).decision, 'dec_2')
    tokens.prepare(call, 'bank', identity)
    const same = { ...call.request }
    const before = await read(taken({ request: same }))
    assert.notEqual(before.jti, (await read(taken())).jti)
  })

  it('is for no other key either where its signature was there in time', async () => {
    const signed: string[] = []
    const own = new CallTokens(gateway, clock, {
      begin: (text: string, key: KeyObject) =>
        signed.push(signOctets(Buffer.from(text), key).toString('base64url')) - 1,
      take: (ticket) => signed[ticket],
    })
    own.prepare(call, 'bank', identity)
    assert.equal((await read(own.of(call, 'bank', renewed), renewed)).decision, 'dec_1')
    own.prepare(call, 'bank', identity)
    const ready = own.of(call, 'bank', identity)
    assert.equal(ready.split('.')[2], signed[1])
    assert.equal((await read(ready)).decision, 'dec_1')
  })

  it('does not wait longer than a record takes', async () => {
    const signedAt = NOW
    let now = signedAt
    const own = new CallTokens(gateway, { ...clock, now: () => now }, signing)
    const iat = async (wait: number): Promise<number> => {
      now = signedAt
      own.prepare(call, 'bank', identity)
      monotonic += wait
      now = signedAt + wait
      const { iat: at } = await verifyCallToken(
        own.of(call, 'bank', identity),
        createPublicKey(identity.keyPem),
        {
          iss: gateway,
          aud: `spiffe://${identity.trustDomain}/service/bank`,
          requestHash: requestHash('GET', PATH, new Uint8Array()),
          now,
        },
      )
      return at * 1000 - signedAt
    }
    assert.equal(await iat(2000), 0, 'the one that waited')
    assert.equal(await iat(3000), 3000, 'one that was made anew')
  })
})
