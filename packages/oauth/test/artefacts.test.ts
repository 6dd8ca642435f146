import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '@sallyport/base'
import { ArtefactAdapter, grantHash } from '../src/artefacts.ts'
import { keptArtefacts } from '../src/kept.ts'
import { Rows } from './rows.ts'

const KINDS = [
  'AuthorizationCode',
  'PushedAuthorizationRequest',
  'Interaction',
  'Session',
  'Grant',
  'BackchannelAuthenticationRequest',
  'ReplayDetection',
]

// MUST-reject 7
test('one-time artefacts do not cross between types', async () => {
  const store = new Rows()
  const of = (kind: string) => new ArtefactAdapter(kind, store, systemClock)
  for (const kind of KINDS) {
    const id = `id-of-${kind}`
    await of(kind).upsert(id, { jti: id, kind }, 60)
    assert.equal((await of(kind).find(id))?.['jti'], id)
    for (const other of KINDS.filter((one) => one !== kind)) {
      assert.equal(await of(other).find(id), undefined, `${kind} as ${other}`)
      await assert.rejects(of(other).consume(id))
    }
  }
})

test('what is stored can be presented by nobody who reads it', async () => {
  const store = new Rows()
  await new ArtefactAdapter('AuthorizationCode', store, systemClock).upsert(
    'the-code',
    { jti: 'the-code', kind: 'AuthorizationCode', grantId: 'the-grant' },
    60,
  )
  assert.ok(!JSON.stringify([...store.rows]).includes('the-code'))
})

test('an artefact is used once, and ends with its grant', async () => {
  const store = new Rows()
  const codes = new ArtefactAdapter('AuthorizationCode', store, systemClock)
  await codes.upsert('a', { jti: 'a', grantId: 'g' }, 60)
  await codes.upsert('b', { jti: 'b', grantId: 'other' }, 60)
  await codes.consume('a')
  await assert.rejects(codes.consume('a'), { error: 'invalid_grant' })
  assert.ok((await codes.find('a'))?.['consumed'])
  await codes.revokeByGrantId('g')
  assert.equal(await codes.find('a'), undefined)
  assert.ok(await codes.find('b'))
  const proofs = new ArtefactAdapter('ReplayDetection', store, systemClock)
  await proofs.upsert('p', { jti: 'p', iss: 'x' }, 60)
  await assert.rejects(proofs.upsert('p', { jti: 'p', iss: 'x' }, 60), { error: 'invalid_grant' })
})

test('of two that use one refresh token or code at once, the one that loses the race ends what came of it', async () => {
  for (const kind of ['RefreshToken', 'AuthorizationCode', 'BackchannelAuthenticationRequest']) {
    const ended: unknown[] = []
    const kept = keptArtefacts(kind, {
      artefacts: new Rows(),
      clock: systemClock,
      grants: {
        open: () => Promise.resolve(),
        holds: () => Promise.resolve(true),
        end: (...what) => {
          ended.push(what)
          return Promise.resolve()
        },
      },
      questions: { ask: () => Promise.resolve(), poll: () => Promise.resolve('fine') },
    })
    await kept.upsert('token', { grantId: 'given' }, 60)
    await kept.consume('token')
    assert.deepEqual(ended, [], kind)
    await assert.rejects(kept.consume('token'), { message: 'invalid_grant' })
    assert.deepEqual(ended, [[grantHash('given'), 'reused']], kind)
  }
})
