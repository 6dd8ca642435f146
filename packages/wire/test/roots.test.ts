import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import { errorCode } from '@sallyport/base'
import {
  acceptBundle,
  acceptRoots,
  declarationDigest,
  rootFingerprint,
  rootProof,
  signBundle,
  signOperatorSet,
  trustedRoots,
} from '../src/index.ts'
import type {
  Bundle,
  BundleState,
  OperatorSet,
  RootList,
  RootStatement,
  Statement,
  TrustPins,
} from '../src/index.ts'
import { operatorSet, TestPasskey } from './support/passkey.ts'

const bundleKey = generateKeyPairSync('ed25519')
const genesisKey = generateKeyPairSync('ed25519')
const spki = (pair: typeof bundleKey): string =>
  pair.publicKey.export({ format: 'der', type: 'spki' }).toString('base64url')
const D0 = { network: { name: 'bank' }, policies: [] }
/** Opaque on this floor: whether it is a certificate is judged where identities are verified. */
const der = (text: string): string => Buffer.from(`a certificate: ${text}`).toString('base64url')
const pem = (certificate: string): string =>
  `-----BEGIN CERTIFICATE-----\n${Buffer.from(certificate, 'base64url').toString('base64')}\n-----END CERTIFICATE-----\n`
const [OLD, NEW, NEWER] = [der('old'), der('new'), der('newer')]
const pins: TrustPins = {
  trustDomain: 'bank.test',
  bundleKey: spki(bundleKey),
  genesisKey: spki(genesisKey),
  genesisDigest: declarationDigest(D0),
  roots: pem(OLD),
}

const ada = new TestPasskey('ada')
const bob = new TestPasskey('bob')
const cyd = new TestPasskey('cyd')
const dan = new TestPasskey('dan')
const v1 = operatorSet(1, 2, ada.key(['admin']), bob.key(['admin']), cyd.key(['approver']))
const v2 = operatorSet(2, 2, bob.key(['admin']), dan.key(['admin']))
const linkV1 = {
  set: v1,
  genesisSignature: signOperatorSet(v1, genesisKey.privateKey),
  signatures: [],
}
const change = (set: OperatorSet): Statement => ({ kind: 'operators', set })
const operatorsV2 = {
  set: v2,
  signatures: [ada, bob].map((key) => key.sign(change(v2))),
  history: [linkV1],
}

const says = (certificate: string, more: Partial<RootStatement> = {}): RootStatement => ({
  ...{ kind: 'root', trustDomain: 'bank.test', certificate, operators: 1 },
  ...more,
})
type Added = RootList['added'][number]
const by = (statement: RootStatement, ...passkeys: TestPasskey[]): Added => ({
  statement,
  signatures: passkeys.map((key) => key.sign(statement)),
})
const list = (added: readonly Added[], ...retired: string[]): { roots: RootList } => ({
  roots: { added, retired: retired.map(rootFingerprint) },
})
function bundle(n: number, changes: Partial<Bundle> = {}): Bundle {
  return {
    ...{ format: 'sallyport-bundle/1', trustDomain: 'bank.test', revision: { epoch: 1, n } },
    ...{ issuedAt: 1, declaration: D0, declarationDigest: declarationDigest(D0) },
    ...{ declarationSignatures: [], operators: linkV1, quarantined: [], releases: [] },
    ...{ revokedSerials: [], risk: {} },
    ...changes,
  }
}
/** A gateway by bundles, an agent by what comes with renewals: one rule, so each case is put to both. */
const accept = (state: BundleState | undefined, of: Bundle): BundleState => {
  const gateway = () => acceptBundle(state, signBundle(of, bundleKey.privateKey), pins, { now: 1 })
  const proof = rootProof(of)
  if (!proof) return gateway()
  const agent = () => acceptRoots(state, proof, pins)
  let taken: BundleState
  try {
    taken = gateway()
  } catch (error) {
    assert.throws(agent, { code: errorCode(error) })
    throw error
  }
  assert.equal(trustedRoots(agent().roots, pins), trustedRoots(taken.roots, pins))
  return taken
}
const refused = { code: 'SP_BUNDLE_ROOTS' }
const both = by(says(NEW), ada, bob)

test('the pinned roots are all there is until a quorum of admins signs another, beside them', () => {
  const state = accept(undefined, bundle(1))
  assert.equal(trustedRoots(state.roots, pins), pins.roots)
  for (const from of [undefined, state]) {
    const taken = accept(from, bundle(2, list([both])))
    assert.equal(trustedRoots(taken.roots, pins), pem(OLD) + pem(NEW))
    assert.deepEqual(JSON.parse(JSON.stringify(taken)), taken)
  }
})

test('a root that a quorum did not sign is not trusted: the control plane alone brings none in', () => {
  const state = accept(undefined, bundle(1))
  const statement = says(NEW)
  for (const added of [
    by(statement),
    by(statement, ada),
    by(statement, ada, ada),
    by(statement, ada, cyd),
    by(statement, ada, dan),
    // Signed for another certificate, another domain, another act.
    { statement: says(NEWER), signatures: both.signatures },
    by(says(NEW, { trustDomain: 'other.test' }), ada, bob),
    by(says(NEW, { operators: 2 }), ada, bob),
    {
      statement,
      signatures: [ada, bob].map((key) =>
        key.sign({ kind: 'declaration', digest: declarationDigest(D0), epoch: 1 }),
      ),
    },
  ]) {
    for (const from of [undefined, state]) {
      assert.throws(() => accept(from, bundle(2, list([added]))), refused)
      assert.throws(() => accept(from, bundle(2, list([both, { ...added }]))), refused)
    }
  }
  assert.ok(accept(state, bundle(2, list([both]))))
})

test('operators who were replaced sign no root any more, for whoever knows that they were', () => {
  const knows = accept(undefined, bundle(2, { operators: operatorsV2 }))
  const before = accept(undefined, bundle(1))
  const late = { operators: operatorsV2, ...list([both]) }
  assert.throws(() => accept(knows, bundle(3, late)), refused)
  // Signed before the change: it counts for a gateway that saw neither.
  assert.ok(accept(before, bundle(3, late)).roots)
  const now = by(says(NEW, { operators: 2 }), bob, dan)
  assert.ok(accept(knows, bundle(3, { operators: operatorsV2, ...list([now]) })).roots)
  const unnamed = { ...now, statement: says(NEW, { operators: 1 }) }
  assert.throws(
    () => accept(knows, bundle(3, { operators: operatorsV2, ...list([unnamed]) })),
    refused,
  )
})

test('a root goes only by being retired, and what is retired never comes back', () => {
  const two = accept(undefined, bundle(1, list([both])))
  assert.throws(() => accept(two, bundle(2)), refused)
  assert.throws(() => accept(two, bundle(2, list([]))), refused)
  const one = accept(two, bundle(2, list([both], OLD)))
  assert.equal(trustedRoots(one.roots, pins), pem(NEW))
  // A database restored from before.
  assert.throws(() => accept(one, bundle(3, list([both]))), refused)
  assert.throws(() => accept(one, bundle(3)), refused)
  // Not even by a quorum.
  const again = accept(one, bundle(3, list([both, by(says(OLD), ada, bob)], OLD)))
  assert.equal(trustedRoots(again.roots, pins), pem(NEW))
  // A successor that was retired may be left out, and stays retired.
  const next = by(says(NEWER), ada, bob)
  const three = accept(one, bundle(3, list([both, next], OLD)))
  const last = accept(three, bundle(4, list([next], OLD, NEW)))
  assert.equal(trustedRoots(last.roots, pins), pem(NEWER))
  assert.throws(() => accept(last, bundle(5, list([both, next], OLD))), refused)
})

test('one root is always left', () => {
  const two = accept(undefined, bundle(1, list([both])))
  assert.throws(() => accept(two, bundle(2, list([both], OLD, NEW))), refused)
  assert.throws(() => accept(undefined, bundle(1, list([], OLD))), refused)
  assert.ok(accept(two, bundle(2, list([both], NEW))))
})

test('malformed lists of roots are refused in bounded time', () => {
  const hostile: readonly unknown[] = [
    null,
    [],
    {},
    { added: [] },
    { added: [], retired: ['x'] },
    { added: [], retired: [], more: 1 },
    { added: Array.from({ length: 65 }, () => both), retired: [] },
    { added: [{ statement: { ...both.statement, kind: 'release' }, signatures: [] }], retired: [] },
    { added: [{ ...both, statement: { ...both.statement, certificate: '+/' } }], retired: [] },
  ]
  for (const roots of hostile) {
    // What a hostile control plane would sign.
    const of = { ...bundle(1), roots } as unknown as Bundle
    const code = { code: 'SP_BUNDLE_FORMAT' }
    assert.throws(() => acceptBundle(undefined, signBundle(of, bundleKey.privateKey), pins), code)
    assert.throws(() => acceptRoots(undefined, { operators: linkV1, roots }, pins), code)
  }
  for (const proof of [null, 'x', [], { more: 1 }]) {
    assert.throws(() => acceptRoots(undefined, proof, pins), { code: 'SP_BUNDLE_FORMAT' })
  }
  assert.ok(acceptRoots(undefined, { operators: linkV1, roots: list([both]).roots }, pins).roots)
})
