import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  acceptBundle,
  compareRevision,
  declarationDigest,
  signBundle,
  signOperatorSet,
  verifyBundle,
} from '../src/index.ts'
import type {
  Bundle,
  BundleState,
  OperatorSet,
  PasskeySignature,
  Quarantine,
  SignedBundle,
  Statement,
  TrustPins,
} from '../src/index.ts'
import { operatorSet, TestPasskey } from './support/passkey.ts'

const NOW = 1_800_000_000_000
const bundleKey = generateKeyPairSync('ed25519')
const genesisKey = generateKeyPairSync('ed25519')
const spki = (pair: typeof bundleKey): string =>
  pair.publicKey.export({ format: 'der', type: 'spki' }).toString('base64url')

const D0 = { network: { name: 'meridian' }, policies: [] }
const D1 = { network: { name: 'meridian' }, policies: [{ id: 'narrow' }] }
const D2 = { network: { name: 'meridian' }, policies: [{ id: 'narrower' }] }

const pins: TrustPins = {
  trustDomain: 'meridian.test',
  bundleKey: spki(bundleKey),
  genesisKey: spki(genesisKey),
  genesisDigest: declarationDigest(D0),
  roots: '',
}

const ada = new TestPasskey('ada')
const bob = new TestPasskey('bob', 'EdDSA')
const cyd = new TestPasskey('cyd')
const v1 = operatorSet(1, 2, ada.key(['admin']), bob.key(['admin']), cyd.key(['approver']))
const operatorsV1 = {
  set: v1,
  genesisSignature: signOperatorSet(v1, genesisKey.privateKey),
  signatures: [],
}

const q1: Quarantine = {
  id: 'q1',
  subject: 'spiffe://meridian.test/agent/a/1',
  reason: 'risk',
  by: 'detector',
  at: NOW,
}
const q2: Quarantine = { ...q1, id: 'q2', subject: 'spiffe://meridian.test/agent/b' }

function bundle(n: number, changes: Partial<Bundle> = {}): Bundle {
  const declaration = changes.declaration ?? D0
  return {
    format: 'sallyport-bundle/1',
    trustDomain: 'meridian.test',
    revision: { epoch: 1, n },
    issuedAt: NOW,
    declaration,
    declarationDigest: declarationDigest(declaration),
    declarationSignatures: [],
    operators: operatorsV1,
    quarantined: [],
    releases: [],
    revokedSerials: [],
    risk: {},
    ...changes,
  }
}
const signed = (b: Bundle): SignedBundle => signBundle(b, bundleKey.privateKey)
const accept = (state: BundleState | undefined, b: Bundle): BundleState =>
  acceptBundle(state, signed(b), pins, { now: NOW })
const code = (code: string): { code: string } => ({ code })

const declares = (d: unknown, epoch = 1): Statement => ({
  kind: 'declaration',
  digest: declarationDigest(d),
  epoch,
})
const sigs = (statement: Statement, ...passkeys: TestPasskey[]): PasskeySignature[] =>
  passkeys.map((p) => p.sign(statement))
const release = (q: Quarantine, ...passkeys: TestPasskey[]): Bundle['releases'][number] => {
  const statement = {
    kind: 'release',
    quarantineId: q.id,
    subject: q.subject,
    reason: 'clean',
    nonce: 'n',
  } as const
  return { statement, signatures: sigs(statement, ...passkeys) }
}

test('a signed bundle verifies and its state is plain JSON', () => {
  const state = accept(undefined, bundle(1))
  assert.deepEqual(JSON.parse(JSON.stringify(state)), state)
  assert.deepEqual(state.revision, { epoch: 1, n: 1 })
  assert.equal(verifyBundle(signed(bundle(1)), pins).trustDomain, 'meridian.test')
})

test('revisions compare epoch first', () => {
  fc.assert(
    fc.property(fc.nat(9), fc.nat(9), fc.nat(9), fc.nat(9), (e1, n1, e2, n2) => {
      const order = compareRevision({ epoch: e1, n: n1 }, { epoch: e2, n: n2 })
      assert.equal(Math.sign(order), Math.sign(e1 * 100 + n1 - e2 * 100 - n2))
    }),
  )
})

test('any altered member of a bundle voids its signature', () => {
  const good = signed(bundle(5, { quarantined: [q1] }))
  verifyBundle(good, pins)
  const altered: Partial<Bundle>[] = [
    { quarantined: [] },
    { revision: { epoch: 1, n: 6 } },
    { revision: { epoch: 2, n: 5 } },
    { issuedAt: NOW + 1 },
    { risk: { a: { score: 1, at: 1 } } },
    { trustDomain: 'other.test' },
    { declaration: D1, declarationDigest: declarationDigest(D1) },
    { revokedSerials: [{ serial: '0a', notAfter: 1 }] },
    { shadow: { digest: declarationDigest(D1), declaration: D1 } },
  ]
  for (const change of altered) {
    assert.throws(
      () => verifyBundle({ ...good, bundle: { ...good.bundle, ...change } }, pins),
      code('SP_BUNDLE_SIGNATURE'),
    )
  }
  const other = generateKeyPairSync('ed25519')
  assert.throws(
    () => verifyBundle(signBundle(bundle(5), other.privateKey), pins),
    code('SP_BUNDLE_SIGNATURE'),
  )
  for (const signature of ['', 'AAAA', `${good.signature}=`, `${good.signature}A`]) {
    assert.throws(() => verifyBundle({ ...good, signature }, pins), /bundle/)
  }
})

test('a bundle of another domain, or whose declared digest is not its declaration’s, is refused', () => {
  assert.throws(
    () => accept(undefined, bundle(1, { trustDomain: 'other.test' })),
    code('SP_BUNDLE_DOMAIN'),
  )
  assert.throws(
    () => accept(undefined, bundle(1, { declaration: D1, declarationDigest: pins.genesisDigest })),
    code('SP_BUNDLE_DIGEST'),
  )
})

test('a shadow needs no operator, and counts for nothing: only the declaration in force is remembered', () => {
  const shadow = { digest: declarationDigest(D1), declaration: D1 }
  const state = accept(undefined, bundle(1, { shadow }))
  assert.equal(state.declarationDigest, pins.genesisDigest)
  assert.ok(!JSON.stringify({ ...state, bundleDigest: '' }).includes(shadow.digest))
  assert.equal(accept(state, bundle(2)).declarationDigest, pins.genesisDigest)
  const misnamed = { ...shadow, digest: declarationDigest(D2) }
  assert.throws(() => accept(state, bundle(2, { shadow: misnamed })), code('SP_BUNDLE_DIGEST'))
  // In force it needs them, whatever was in shadow before.
  const live = { declaration: D1, declarationDigest: shadow.digest }
  assert.throws(() => accept(state, bundle(2, live)), code('SP_BUNDLE_UNSIGNED'))
})

test('malformed bundles are refused, unknown members too', () => {
  const { revision: _, ...headless } = bundle(1)
  for (const value of [
    headless,
    { ...bundle(1), surprise: 1 },
    { ...bundle(1), format: 'sallyport-bundle/2' },
    { ...bundle(1), revision: { epoch: 1, n: 1.5 } },
    { ...bundle(1), revision: { epoch: 1, n: -1 } },
    { ...bundle(1), quarantined: {} },
    { ...bundle(1), quarantined: [{ ...q1, at: 'now' }] },
    { ...bundle(1), risk: { a: { score: 101, at: 0 } } },
    { ...bundle(1), revokedSerials: [{ serial: '0A', notAfter: 1 }] },
    { ...bundle(1), operators: { ...operatorsV1, set: { ...v1, quorum: 0 } } },
    { ...bundle(1), shadow: null },
    { ...bundle(1), shadow: { digest: declarationDigest(D1) } },
    { ...bundle(1), shadow: { digest: 'x', declaration: D1 } },
    { ...bundle(1), shadow: { digest: declarationDigest(D1), declaration: D1, live: true } },
    null,
    [],
  ]) {
    // Deliberately not a bundle: what a hostile control plane could sign.
    const hostile = signBundle(value as Bundle, bundleKey.privateKey)
    assert.throws(() => acceptBundle(undefined, hostile, pins), code('SP_BUNDLE_FORMAT'))
  }
})

test('never an older revision; the same one only unchanged', () => {
  const state = accept(undefined, bundle(5))
  assert.throws(() => accept(state, bundle(4)), code('SP_BUNDLE_OLDER'))
  assert.throws(
    () => accept(state, bundle(9, { revision: { epoch: 0, n: 9 } })),
    code('SP_BUNDLE_OLDER'),
  )
  assert.equal(accept(state, bundle(5)), state)
  assert.throws(() => accept(state, bundle(5, { issuedAt: NOW + 1 })), code('SP_BUNDLE_FORKED'))
  assert.equal(accept(state, bundle(6)).revision.n, 6)
})

test('a new declaration needs a quorum of admins over this digest and epoch', () => {
  const state = accept(undefined, bundle(1))
  const next = (declarationSignatures: PasskeySignature[]): Bundle =>
    bundle(2, { declaration: D1, declarationSignatures })
  assert.equal(
    accept(state, next(sigs(declares(D1), ada, bob))).declarationDigest,
    declarationDigest(D1),
  )
  for (const refused of [
    [],
    sigs(declares(D1), ada),
    sigs(declares(D1), ada, ada),
    sigs(declares(D1), ada, cyd),
    sigs(declares(D2), ada, bob),
    sigs(declares(D1, 2), ada, bob),
  ]) {
    assert.throws(() => accept(state, next(refused)), code('SP_BUNDLE_UNSIGNED'))
  }
})

test('without operators only the genesis declaration is taken, and only at the beginning', () => {
  const { operators: _, ...bare } = bundle(1)
  const state = acceptBundle(undefined, signed(bare), pins)
  assert.equal(state.operators, undefined)
  const { operators: __, ...changed } = bundle(2, { declaration: D1 })
  assert.throws(() => acceptBundle(state, signed(changed), pins), code('SP_BUNDLE_UNSIGNED'))
  assert.throws(() => acceptBundle(undefined, signed(changed), pins), code('SP_BUNDLE_UNSIGNED'))
  const later = { ...bare, revision: { epoch: 2, n: 1 } }
  assert.throws(() => acceptBundle(undefined, signed(later), pins), code('SP_BUNDLE_UNSIGNED'))
})

test('a replaced declaration does not come back: neither genesis nor one once signed', () => {
  const d1 = { declaration: D1, declarationSignatures: sigs(declares(D1), ada, bob) }
  const d2 = { declaration: D2, declarationSignatures: sigs(declares(D2), ada, bob) }
  const at2 = accept(undefined, bundle(1))
  const at3 = accept(accept(at2, bundle(2, d1)), bundle(3, d2))
  assert.throws(() => accept(at3, bundle(4)), code('SP_BUNDLE_SUPERSEDED'))
  assert.throws(() => accept(at3, bundle(4, d1)), code('SP_BUNDLE_SUPERSEDED'))
  assert.equal(accept(at3, bundle(4, d2)).revision.n, 4)
})

test('within an epoch declarations come in rising order of what was signed', () => {
  const numbered = (d: unknown, serial: number, by = [ada, bob], epoch = 1): Partial<Bundle> => ({
    declaration: d,
    declarationSerial: serial,
    declarationSignatures: sigs(
      { kind: 'declaration', digest: declarationDigest(d), epoch, serial },
      ...by,
    ),
  })
  const D3 = { network: { name: 'meridian' }, policies: [{ id: 'wide' }] }
  const at1 = accept(undefined, bundle(1))
  const at2 = accept(at1, bundle(2, numbered(D1, 2)))
  assert.equal(at2.declarationSerial, 2)
  // Signed by a quorum, and never seen here: the one before, one with the same serial, one from before there were serials.
  for (const older of [
    numbered(D3, 1),
    numbered(D3, 2),
    { declaration: D3, declarationSignatures: sigs(declares(D3), ada, bob) },
  ]) {
    assert.equal(accept(at1, bundle(3, older)).declarationDigest, declarationDigest(D3))
    assert.throws(() => accept(at2, bundle(3, older)), code('SP_BUNDLE_SERIAL'))
  }
  // What is in force goes on under its own serial only: neither lower, as if it had none, nor one that nobody signed.
  const { declarationSerial: _, ...without } = numbered(D1, 2)
  assert.throws(() => accept(at2, bundle(3, without)), code('SP_BUNDLE_SERIAL'))
  for (const unsigned of [
    { ...numbered(D1, 2), declarationSerial: 3 },
    { ...numbered(D2, 3), declarationSerial: 4 },
    numbered(D2, 3, [ada]),
  ]) {
    assert.throws(() => accept(at2, bundle(3, unsigned)), code('SP_BUNDLE_UNSIGNED'))
  }
  assert.equal(accept(at2, bundle(3, numbered(D1, 2))).declarationSerial, 2)
  assert.equal(accept(at2, bundle(3, numbered(D1, 7))).declarationSerial, 7)
  const at3 = accept(at2, bundle(3, numbered(D2, 3)))
  assert.equal(at3.declarationSerial, 3)
  // A new epoch that a quorum signed for is the only way back, and counts up from there.
  const epoch2 = (n: number, over: Partial<Bundle>): Bundle =>
    bundle(n, { revision: { epoch: 2, n }, ...over })
  assert.throws(() => accept(at3, epoch2(1, numbered(D3, 1))), code('SP_BUNDLE_UNSIGNED'))
  const restored = accept(at3, epoch2(1, numbered(D3, 1, [ada, bob], 2)))
  assert.equal(restored.declarationSerial, 1)
  assert.throws(
    () => accept(restored, epoch2(2, numbered(D2, 1, [ada, bob], 2))),
    code('SP_BUNDLE_SERIAL'),
  )
  assert.equal(
    accept(restored, epoch2(2, numbered(D2, 2, [ada, bob], 2))).declarationDigest,
    declarationDigest(D2),
  )
  // The declaration of `init` has none: nobody raises the floor without signatures.
  assert.throws(
    () => accept(undefined, bundle(1, { declarationSerial: 9 })),
    code('SP_BUNDLE_UNSIGNED'),
  )
  for (const declarationSerial of [0, -1, 1.5, '1', null]) {
    // Deliberately no serial: what a hostile control plane could sign.
    const odd = { ...numbered(D2, 3), declarationSerial } as Partial<Bundle>
    assert.throws(() => accept(at2, bundle(3, odd)), code('SP_BUNDLE_FORMAT'))
  }
})

test('a new epoch needs a quorum even for the same declaration, and carries quarantines on', () => {
  const state = accept(undefined, bundle(9, { quarantined: [q1] }))
  const epoch2 = (changes: Partial<Bundle>): Bundle =>
    bundle(1, { revision: { epoch: 2, n: 1 }, quarantined: [q1], ...changes })
  const declarationSignatures = sigs(declares(D0, 2), ada, bob)
  assert.equal(accept(state, epoch2({ declarationSignatures })).revision.epoch, 2)
  assert.throws(() => accept(state, epoch2({})), code('SP_BUNDLE_UNSIGNED'))
  assert.throws(
    () => accept(state, epoch2({ declarationSignatures: sigs(declares(D0, 1), ada, bob) })),
    code('SP_BUNDLE_UNSIGNED'),
  )
  assert.throws(
    () => accept(state, epoch2({ declarationSignatures, quarantined: [] })),
    code('SP_BUNDLE_RELEASE'),
  )
})

test('quarantines only grow, except by releases that a quorum signed', () => {
  const state = accept(
    accept(undefined, bundle(1, { quarantined: [q1] })),
    bundle(2, { quarantined: [q1, q2] }),
  )
  assert.equal(state.quarantined.length, 2)
  const without = (...releases: Bundle['releases']): Bundle =>
    bundle(3, { quarantined: [q2], releases })
  const freed = accept(state, without(release(q1, ada, cyd)))
  assert.deepEqual(freed.released, ['q1'])
  const { statement, signatures } = release(q1, ada, bob)
  for (const refused of [
    [],
    [release(q1, ada)],
    [release(q1, ada, ada)],
    [release(q2, ada, bob)],
    [release({ ...q1, id: 'q9' }, ada, bob)],
    [release({ ...q1, subject: q2.subject }, ada, bob)],
    [{ statement: { ...statement, reason: 'edited' }, signatures }],
    [{ statement, signatures: [] }],
  ]) {
    assert.throws(() => accept(state, without(...refused)), code('SP_BUNDLE_RELEASE'))
  }
  const renamed = bundle(3, {
    quarantined: [{ ...q1, subject: 'spiffe://meridian.test/agent/z/1' }, q2],
  })
  assert.throws(() => accept(state, renamed), code('SP_BUNDLE_RELEASE'))
})

test('a release is for once: the same id quarantined again stays', () => {
  const releases = [release(q1, ada, bob)]
  const free = accept(accept(undefined, bundle(1, { quarantined: [q1] })), bundle(2, { releases }))
  const again = accept(free, bundle(3, { quarantined: [q1], releases }))
  assert.throws(() => accept(again, bundle(4, { releases })), code('SP_BUNDLE_RELEASE'))
})

test('revoked mandates stay until they expire, in a later epoch too', () => {
  const revoked = { id: `mdt_${'A'.repeat(43)}`, notAfter: NOW + 1000 }
  const with1 = { revokedMandates: [revoked] }
  const state = accept(undefined, bundle(1, with1))
  assert.deepEqual(state.revokedMandates, [revoked])
  const dropped = code('SP_BUNDLE_UNREVOKED')
  assert.throws(() => accept(state, bundle(2)), dropped)
  assert.throws(() => accept(state, bundle(2, { revokedMandates: [] })), dropped)
  const shorter = { revokedMandates: [{ ...revoked, notAfter: NOW + 1 }] }
  assert.throws(() => accept(state, bundle(2, shorter)), dropped)
  assert.deepEqual(accept(state, bundle(2, with1)).revokedMandates, [revoked])
  const past = { revokedMandates: [{ ...revoked, notAfter: NOW }] }
  assert.equal(accept(accept(undefined, bundle(1, past)), bundle(2)).revokedMandates, undefined)
  const next = {
    revision: { epoch: 2, n: 1 },
    declarationSignatures: sigs(declares(D0, 2), ada, bob),
  }
  assert.throws(() => accept(state, bundle(1, next)), dropped)
  assert.deepEqual(accept(state, bundle(1, { ...next, ...with1 })).revokedMandates, [revoked])
  const odd = bundle(2, { revokedMandates: [{ ...revoked, id: 'mdt_1' }] })
  assert.throws(() => accept(state, odd), code('SP_BUNDLE_FORMAT'))
})

test('revoked serials stay until they expire', () => {
  const revoked = { serial: '0a', notAfter: NOW + 1000 }
  const state = accept(undefined, bundle(1, { revokedSerials: [revoked] }))
  assert.throws(() => accept(state, bundle(2)), code('SP_BUNDLE_UNREVOKED'))
  assert.throws(
    () => accept(state, bundle(2, { revokedSerials: [{ ...revoked, notAfter: NOW + 1 }] })),
    code('SP_BUNDLE_UNREVOKED'),
  )
  assert.equal(accept(state, bundle(2, { revokedSerials: [revoked] })).revokedSerials.length, 1)
  const expired = acceptBundle(state, signed(bundle(2)), pins, { now: NOW + 1000 })
  assert.equal(expired.revokedSerials.length, 0)
})

const dan = new TestPasskey('dan')
const v2 = operatorSet(2, 2, bob.key(['admin']), dan.key(['admin']))
const changes = (set: OperatorSet): Statement => ({ kind: 'operators', set })
const v2By = (...passkeys: TestPasskey[]): NonNullable<Bundle['operators']> => ({
  set: v2,
  signatures: sigs(changes(v2), ...passkeys),
  history: [operatorsV1],
})

test('operator set 1 is valid by the genesis key alone', () => {
  const { operators: _, ...bare } = bundle(1)
  const state = acceptBundle(undefined, signed(bare), pins)
  assert.equal(accept(state, bundle(2)).operators?.version, 1)
  const foreign = signOperatorSet(v1, generateKeyPairSync('ed25519').privateKey)
  for (const operators of [
    { set: v1, signatures: [] },
    { set: v1, signatures: [], genesisSignature: foreign },
    { set: v1, signatures: sigs(changes(v1), ada, bob) },
    { ...operatorsV1, set: { ...v1, quorum: 1 } },
    { ...operatorsV1, set: { ...v1, origin: 'https://evil.test' } },
  ]) {
    assert.throws(() => accept(state, bundle(2, { operators })), code('SP_BUNDLE_OPERATORS'))
  }
})

test('operator set k+1 needs a quorum of set k, for old and new gateways alike', () => {
  const state = accept(undefined, bundle(1))
  for (const from of [state, undefined]) {
    assert.equal(accept(from, bundle(2, { operators: v2By(ada, bob) })).operators?.version, 2)
    for (const refused of [v2By(), v2By(ada), v2By(ada, ada), v2By(ada, cyd), v2By(bob, dan)]) {
      assert.throws(
        () => accept(from, bundle(2, { operators: refused })),
        code('SP_BUNDLE_OPERATORS'),
      )
    }
  }
  const { history: _, ...alone } = v2By(ada, bob)
  assert.equal(accept(state, bundle(2, { operators: alone })).operators?.version, 2)
  assert.throws(
    () => accept(undefined, bundle(2, { operators: alone })),
    code('SP_BUNDLE_OPERATORS'),
  )
})

test('operator sets are neither dropped, rolled back, forked nor reset by the genesis key', () => {
  const state = accept(undefined, bundle(2, { operators: v2By(ada, bob) }))
  const { operators: _, ...bare } = bundle(3)
  assert.throws(() => accept(state, bare), code('SP_BUNDLE_OPERATORS'))
  assert.throws(() => accept(state, bundle(3)), code('SP_BUNDLE_OPERATORS'))
  const fork = { ...v2, quorum: 1 }
  const forked = { set: fork, signatures: sigs(changes(fork), ada, bob), history: [operatorsV1] }
  assert.throws(() => accept(state, bundle(3, { operators: forked })), code('SP_BUNDLE_OPERATORS'))
  const reset = { ...v1, version: 3 }
  const genesisSignature = signOperatorSet(reset, genesisKey.privateKey)
  assert.throws(
    () => accept(state, bundle(3, { operators: { set: reset, genesisSignature, signatures: [] } })),
    code('SP_BUNDLE_OPERATORS'),
  )
  assert.equal(accept(state, bundle(3, { operators: v2By(ada, bob) })).operators?.version, 2)
})

test('an operator who was removed signs nothing any more', () => {
  const state = accept(undefined, bundle(2, { operators: v2By(ada, bob), quarantined: [q1] }))
  const by = (...passkeys: TestPasskey[]): Bundle =>
    bundle(3, {
      operators: v2By(ada, bob),
      quarantined: [q1],
      declaration: D1,
      declarationSignatures: sigs(declares(D1), ...passkeys),
    })
  assert.throws(() => accept(state, by(ada, bob)), code('SP_BUNDLE_UNSIGNED'))
  assert.equal(accept(state, by(bob, dan)).revision.n, 3)
  // What they signed while they were one stays in force, for whoever comes later or was away: nobody who leaves takes it along.
  const before = accept(undefined, bundle(1, { quarantined: [q1] }))
  for (const from of [undefined, before]) {
    assert.equal(accept(from, by(ada, bob)).operators?.version, 2)
    assert.throws(() => accept(from, by(ada, dan)), code('SP_BUNDLE_UNSIGNED'))
    assert.throws(() => accept(from, by(ada)), code('SP_BUNDLE_UNSIGNED'))
  }
  const freeing = (...passkeys: TestPasskey[]): Bundle =>
    bundle(3, { operators: v2By(ada, bob), releases: [release(q1, ...passkeys)] })
  assert.throws(() => accept(state, freeing(ada, bob)), code('SP_BUNDLE_RELEASE'))
  assert.deepEqual(accept(state, freeing(bob, dan)).released, ['q1'])
})

test('a release signed before a change of set counts for a gateway that saw neither', () => {
  const state = accept(undefined, bundle(1, { quarantined: [q1] }))
  const next = bundle(2, { operators: v2By(ada, bob), releases: [release(q1, ada, cyd)] })
  assert.deepEqual(accept(state, next).released, ['q1'])
})

test('the first operator alone admits the second, but declares nothing alone', () => {
  const lone = operatorSet(1, 2, ada.key(['admin']))
  const operators = {
    set: lone,
    genesisSignature: signOperatorSet(lone, genesisKey.privateKey),
    signatures: [],
  }
  const state = accept(undefined, bundle(1, { operators }))
  const two = operatorSet(2, 2, ada.key(['admin']), bob.key(['admin']))
  const grown = { set: two, signatures: sigs(changes(two), ada), history: [operators] }
  assert.equal(accept(state, bundle(2, { operators: grown })).operators?.version, 2)
  assert.throws(
    () =>
      accept(
        state,
        bundle(2, { operators, declaration: D1, declarationSignatures: sigs(declares(D1), ada) }),
      ),
    code('SP_BUNDLE_UNSIGNED'),
  )
  assert.throws(
    () =>
      accept(state, bundle(2, { operators: { ...grown, signatures: sigs(changes(two), bob) } })),
    code('SP_BUNDLE_OPERATORS'),
  )
})

test('no version of the operator set is skipped', () => {
  const v3 = { ...v2, version: 3 }
  const operators = { set: v3, signatures: sigs(changes(v3), ada, bob), history: [operatorsV1] }
  const state = accept(undefined, bundle(1))
  assert.throws(() => accept(state, bundle(2, { operators })), code('SP_BUNDLE_OPERATORS'))
  const after2 = { ...operators, signatures: sigs(changes(v3), bob, dan) }
  const history = [operatorsV1, { set: v2, signatures: sigs(changes(v2), ada, bob) }]
  assert.equal(
    accept(state, bundle(2, { operators: { ...after2, history } })).operators?.version,
    3,
  )
})

test('a set with one credential or key twice is refused', () => {
  const renamed = { ...cyd.key(['admin']), credentialId: ada.credentialId }
  const same = operatorSet(1, 2, ada.key(['admin']), renamed)
  const genesisSignature = signOperatorSet(same, genesisKey.privateKey)
  assert.throws(
    () =>
      accept(undefined, bundle(1, { operators: { set: same, genesisSignature, signatures: [] } })),
    code('SP_BUNDLE_OPERATORS'),
  )
  const twice = operatorSet(1, 2, ada.key(['admin']), {
    ...ada.key(['admin']),
    credentialId: 'ZXZl',
    operator: 'eve',
  })
  const operators = {
    set: twice,
    genesisSignature: signOperatorSet(twice, genesisKey.privateKey),
    signatures: [],
  }
  assert.throws(() => accept(undefined, bundle(1, { operators })), code('SP_BUNDLE_OPERATORS'))
})

test('one key in two spellings is no second operator: what one passkey signs would count twice', () => {
  const plain = Buffer.from(ada.key(['admin']).publicKey, 'base64url')
  // A key id more (RFC 9052, 7.1): the same point, in other bytes.
  const respelt = Buffer.concat([
    Buffer.from([(plain[0] ?? 0) + 1]),
    plain.subarray(1),
    Buffer.from([0x02, 0x41, 0x00]),
  ])
  const eve = { ...ada.key(['admin']), credentialId: 'ZXZl', operator: 'eve' }
  const withEve = (publicKey: string) => {
    const set = operatorSet(1, 2, ada.key(['admin']), { ...eve, publicKey })
    return { set, genesisSignature: signOperatorSet(set, genesisKey.privateKey), signatures: [] }
  }
  assert.throws(
    () => accept(undefined, bundle(1, { operators: withEve(respelt.toString('base64url')) })),
    code('SP_BUNDLE_OPERATORS'),
  )
  const other = withEve(bob.key(['admin']).publicKey)
  assert.equal(accept(undefined, bundle(1, { operators: other })).operators?.version, 1)
})

test('whatever sequence of bundles comes, what was quarantined stays so without a signed release', () => {
  const pool = [q1, q2, { ...q1, id: 'q3' }, { ...q2, id: 'q4' }]
  fc.assert(
    fc.property(fc.array(fc.subarray(pool), { maxLength: 8 }), (steps) => {
      let state: BundleState | undefined
      const floor = new Set<string>()
      steps.forEach((quarantined, n) => {
        try {
          state = accept(state, bundle(n, { quarantined }))
          for (const { id } of quarantined) floor.add(id)
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'SP_BUNDLE_RELEASE')
        }
        const held = new Set((state?.quarantined ?? []).map(({ id }) => id))
        for (const id of floor) assert.ok(held.has(id))
      })
    }),
  )
})
