import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { readCbor } from '../src/cbor.ts'
import { readCoseKey } from '../src/cose.ts'
import { statementChallenge, verifyApprovals, verifyPasskey, verifyQuorum } from '../src/index.ts'
import type { ApprovalStatement, PasskeySignature, Signed, Statement } from '../src/index.ts'
import { coseKey, operatorSet, TestPasskey } from './support/passkey.ts'
import type { Bend } from './support/passkey.ts'

const NOW = 1_800_000_000_000
const ada = new TestPasskey('ada')
const ada2 = new TestPasskey('ada', 'ES256', 'ada-second')
const bob = new TestPasskey('bob', 'EdDSA')
const cyd = new TestPasskey('cyd', 'RS256')
const vic = new TestPasskey('vic')
const set = operatorSet(
  1,
  2,
  ada.key(['approver']),
  ada2.key(['approver']),
  bob.key(['admin']),
  cyd.key(['approver']),
  vic.key(['viewer']),
)
const code = (code: string): { code: string } => ({ code })
const uv = { requireUv: true } as const

const call = {
  approvalId: 'apr_1',
  instance: 'spiffe://meridian.test/agent/flagger/1',
  system: 'core',
  operation: 'placeHold',
  input: { accountId: 'acct-1', amount: 1_500_000, payees: ['p1', 'p2'] },
  declarationDigest: 'a'.repeat(64),
}
function approval(approver: string, changes: Partial<ApprovalStatement> = {}): ApprovalStatement {
  return {
    kind: 'approval',
    decision: 'approve',
    approver,
    nonce: 'n1',
    expiresAt: NOW + 60_000,
    ...call,
    ...changes,
  }
}
const statement = approval('ada')

test('the challenge is SHA-256 over canonical JSON: pinned', () => {
  const release: Statement = {
    kind: 'release',
    quarantineId: 'q1',
    subject: 'spiffe://td/agent/a/1',
    reason: 'drill over',
    nonce: 'n',
  }
  // printf '{"kind":"release","nonce":"n",…}' | sha256sum, made with another tool.
  assert.equal(statementChallenge(release).toString('hex'), PINNED_CHALLENGE)
  assert.equal(
    statementChallenge({
      nonce: 'n',
      reason: 'drill over',
      subject: release.subject,
      quarantineId: 'q1',
      kind: 'release',
    }).toString('hex'),
    PINNED_CHALLENGE,
  )
})
const PINNED_CHALLENGE = '588a44fc7bc7d5dcc05e8d1fba8fe8954d86b2fa97f89c2c9701aa2f0c30e6b1'

for (const [passkey, algorithm] of [
  [ada, 'ES256'],
  [bob, 'EdDSA'],
  [cyd, 'RS256'],
] as const) {
  test(`a passkey signature verifies: ${algorithm}`, () => {
    const mine = approval(passkey.operator)
    const signature = passkey.sign(mine)
    verifyPasskey(mine, signature, set, uv)
    const bytes = Buffer.from(signature.signature, 'base64url')
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1
    const forged = { ...signature, signature: bytes.toString('base64url') }
    assert.throws(() => verifyPasskey(mine, forged, set, uv), code('SP_SIGNATURE_INVALID'))
  })
}

const bends: readonly (readonly [string, Bend, string])[] = [
  ['for another RP', { rpId: 'evil.test' }, 'SP_SIGNATURE_RP'],
  ['on another origin', { origin: 'https://evil.test' }, 'SP_SIGNATURE_ORIGIN'],
  ['on another port', { origin: 'http://localhost:4001' }, 'SP_SIGNATURE_ORIGIN'],
  ['in a foreign frame', { clientData: { crossOrigin: true } }, 'SP_SIGNATURE_ORIGIN'],
  [
    'under a foreign top',
    { clientData: { topOrigin: 'https://evil.test' } },
    'SP_SIGNATURE_ORIGIN',
  ],
  ['as a registration', { type: 'webauthn.create' }, 'SP_SIGNATURE_TYPE'],
  ['without user verification', { flags: 0x01 }, 'SP_SIGNATURE_VERIFICATION'],
  ['without user presence', { flags: 0x04 }, 'SP_SIGNATURE_PRESENCE'],
  ['with impossible backup flags', { flags: 0x15 }, 'SP_SIGNATURE_FORMAT'],
  ['with attested data', { flags: 0x45 }, 'SP_SIGNATURE_FORMAT'],
  ['with bytes behind', { extra: Buffer.from([0]) }, 'SP_SIGNATURE_FORMAT'],
  ['with announced extensions that are missing', { flags: 0x85 }, 'SP_SIGNATURE_FORMAT'],
  ['over another challenge', { challenge: Buffer.alloc(32) }, 'SP_SIGNATURE_CHALLENGE'],
  [
    'with client data twice',
    { rawClientData: '{"type":"webauthn.get","type":"x"}' },
    'SP_SIGNATURE_FORMAT',
  ],
  ['with client data that is no object', { rawClientData: '[]' }, 'SP_SIGNATURE_FORMAT'],
]
for (const [name, bend, expected] of bends) {
  test(`refused: a signature ${name}`, () => {
    assert.throws(
      () => verifyPasskey(statement, ada.sign(statement, bend), set, uv),
      code(expected),
    )
    verifyPasskey(statement, ada.sign(statement), set, uv)
  })
}

test('extensions that are announced and well formed are accepted; backed-up passkeys too', () => {
  const extra = Buffer.from([0xa1, 0x61, 0x61, 0xf5])
  verifyPasskey(statement, ada.sign(statement, { flags: 0x85, extra }), set, uv)
  verifyPasskey(statement, ada.sign(statement, { flags: 0x1d }), set, uv)
})

test('refused: a passkey that is not pinned, or pinned for another operator', () => {
  const stranger = new TestPasskey('ada', 'ES256', 'stranger')
  assert.throws(
    () => verifyPasskey(statement, stranger.sign(statement), set, uv),
    code('SP_SIGNATURE_UNKNOWN_KEY'),
  )
  const borrowed = { ...bob.sign(statement), operator: 'ada' }
  assert.throws(() => verifyPasskey(statement, borrowed, set, uv), code('SP_SIGNATURE_UNKNOWN_KEY'))
  const impostor = { ...stranger.sign(statement), credentialId: ada.credentialId }
  assert.throws(() => verifyPasskey(statement, impostor, set, uv), code('SP_SIGNATURE_INVALID'))
})

test('refused: one operator signing the approval that names another', () => {
  assert.throws(
    () => verifyPasskey(statement, bob.sign(statement), set, uv),
    code('SP_SIGNATURE_APPROVER'),
  )
})

test('refused: text that is not strict base64url', () => {
  const signature = ada.sign(statement)
  for (const member of ['signature', 'clientDataJSON', 'authenticatorData'] as const) {
    for (const spoiled of [
      `${signature[member]}=`,
      `${signature[member]}\n`,
      `+${signature[member]}`,
    ]) {
      assert.throws(
        () => verifyPasskey(statement, { ...signature, [member]: spoiled }, set, uv),
        code('SP_SIGNATURE_FORMAT'),
      )
    }
  }
})

test('any altered member of an approval voids the signature', () => {
  const signature = ada.sign(statement)
  const altered: Partial<ApprovalStatement>[] = [
    { approvalId: 'apr_2' },
    { decision: 'deny' },
    { instance: 'spiffe://meridian.test/agent/flagger/2' },
    { system: 'other' },
    { operation: 'releaseHold' },
    { input: { ...call.input, accountId: 'acct-2' } },
    { input: { ...call.input, amount: 1_500_001 } },
    { input: { ...call.input, payees: ['p1', 'p3'] } },
    { input: { ...call.input, payees: ['p2', 'p1'] } },
    { input: { ...call.input, extra: 1 } },
    { declarationDigest: 'b'.repeat(64) },
    { nonce: 'n2' },
    { expiresAt: NOW + 60_001 },
  ]
  for (const change of altered) {
    assert.throws(
      () => verifyPasskey(approval('ada', change), signature, set, uv),
      code('SP_SIGNATURE_CHALLENGE'),
    )
  }
  verifyPasskey(approval('ada'), signature, set, uv)
})

test('statements of one kind never pass as another', () => {
  const release: Statement = {
    kind: 'release',
    quarantineId: 'q',
    subject: 's',
    reason: '',
    nonce: 'n',
  }
  const declaration: Statement = { kind: 'declaration', digest: 'a'.repeat(64), epoch: 1 }
  assert.throws(
    () => verifyPasskey(declaration, ada.sign(release), set, uv),
    code('SP_SIGNATURE_CHALLENGE'),
  )
})

const declaration: Statement = { kind: 'declaration', digest: 'c'.repeat(64), epoch: 1 }
const quorum = (
  signatures: readonly PasskeySignature[],
  roles: readonly string[],
  count = 2,
): string[] => verifyQuorum(declaration, signatures, set, { quorum: count, roles })

test('a quorum is different people with the role, whoever signs twice', () => {
  const roles = ['approver', 'admin']
  assert.deepEqual(quorum([cyd.sign(declaration), bob.sign(declaration)], roles), ['bob', 'cyd'])
  assert.throws(
    () => quorum([ada.sign(declaration), ada.sign(declaration)], roles),
    code('SP_SIGNATURE_QUORUM'),
  )
  assert.throws(
    () => quorum([ada.sign(declaration), ada2.sign(declaration)], roles),
    code('SP_SIGNATURE_QUORUM'),
  )
  assert.throws(
    () => quorum([ada.sign(declaration), vic.sign(declaration)], roles),
    code('SP_SIGNATURE_QUORUM'),
  )
  assert.throws(
    () => quorum([ada.sign(declaration), bob.sign(declaration)], ['admin']),
    code('SP_SIGNATURE_QUORUM'),
  )
  assert.throws(() => quorum([], roles), code('SP_SIGNATURE_QUORUM'))
  for (const count of [0, -1, 1.5, NaN]) {
    assert.throws(() => quorum([bob.sign(declaration)], roles, count), code('SP_SIGNATURE_QUORUM'))
  }
})

test('a bad signature counts for nobody and takes nothing from the good ones', () => {
  const bad = { ...ada.sign(declaration, { flags: 1 }) }
  assert.deepEqual(
    quorum([bad, bob.sign(declaration), cyd.sign(declaration)], ['approver', 'admin']),
    ['bob', 'cyd'],
  )
  assert.throws(
    () => quorum([bad, bob.sign(declaration)], ['approver', 'admin']),
    code('SP_SIGNATURE_QUORUM'),
  )
})

function signedApproval(
  passkey: TestPasskey,
  changes: Partial<ApprovalStatement> = {},
): Signed<ApprovalStatement> {
  const statement = approval(passkey.operator, changes)
  return { statement, signatures: [passkey.sign(statement)] }
}
const expected = { ...call, now: NOW }

test('approvals count for exactly the call they cover', () => {
  assert.deepEqual(verifyApprovals([signedApproval(ada), signedApproval(bob)], set, expected), [
    'ada',
    'bob',
  ])
  const swapped: Partial<typeof expected>[] = [
    { approvalId: 'apr_2' },
    { instance: 'spiffe://meridian.test/agent/flagger/2' },
    { system: 'other' },
    { operation: 'other' },
    { input: { ...call.input, amount: 2 } },
    { input: { ...call.input, accountId: 'acct-9' } },
    { input: { ...call.input, payees: ['p1', 'p9'] } },
    { declarationDigest: 'b'.repeat(64) },
    { now: NOW + 60_000 },
  ]
  for (const change of swapped) {
    assert.deepEqual(verifyApprovals([signedApproval(ada)], set, { ...expected, ...change }), [])
  }
})

test('one person is one approver; a viewer is none; an altered statement is none', () => {
  assert.deepEqual(
    verifyApprovals(
      [signedApproval(ada), signedApproval(ada2), signedApproval(vic)],
      set,
      expected,
    ),
    ['ada'],
  )
  const { signatures } = signedApproval(ada, {
    input: { accountId: 'acct-1', amount: 1, payees: [] },
  })
  assert.deepEqual(verifyApprovals([{ statement: approval('ada'), signatures }], set, expected), [])
})

test('a signed denial beats every approval; an unsigned one is nothing', () => {
  const denial = signedApproval(bob, { decision: 'deny' })
  assert.throws(
    () => verifyApprovals([signedApproval(ada), denial], set, expected),
    code('SP_SIGNATURE_DENIED'),
  )
  assert.deepEqual(
    verifyApprovals([signedApproval(ada), { ...denial, signatures: [] }], set, expected),
    ['ada'],
  )
})

test('COSE keys: real ones are read, everything else is refused', () => {
  for (const make of [
    () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey,
    () => generateKeyPairSync('ed25519').publicKey,
    () => generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey,
  ]) {
    const key = make()
    assert.ok(readCoseKey(coseKey(key)).key.equals(key))
  }
  const good = coseKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey)
  const changed = (at: number, value: number): Buffer => {
    const copy = Buffer.from(good)
    copy[at] = value
    return copy
  }
  const offCurve = Buffer.from(good)
  offCurve[good.length - 1] = (good[good.length - 1] ?? 0) ^ 1
  const weak = coseKey(
    createPublicKey(generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey),
  )
  for (const bytes of [
    offCurve,
    weak,
    changed(2, 0x01),
    changed(4, 0x27),
    changed(6, 0x02),
    Buffer.concat([good, Buffer.from([0])]),
    good.subarray(0, -1),
    Buffer.alloc(0),
    Buffer.from([0xa0]),
    Buffer.from([0x80]),
  ]) {
    assert.throws(() => readCoseKey(bytes), code('SP_SIGNATURE_KEY'))
  }
})

test('CBOR: RFC 8949 appendix A values of the subset are read, all else is refused', () => {
  const read = (hex: string): unknown => {
    const bytes = Buffer.from(hex, 'hex')
    const { value, end } = readCbor(bytes)
    assert.equal(end, bytes.length)
    return value
  }
  const rows: readonly (readonly [string, unknown])[] = [
    ['00', 0],
    ['17', 23],
    ['1818', 24],
    ['1903e8', 1000],
    ['1a000f4240', 1_000_000],
    ['20', -1],
    ['3903e7', -1000],
    ['4401020304', Buffer.from([1, 2, 3, 4])],
    ['6449455446', 'IETF'],
    ['62c3bc', 'ü'],
    ['83010203', [1, 2, 3]],
    [
      'a201020304',
      new Map([
        [1, 2],
        [3, 4],
      ]),
    ],
    ['f4', false],
    ['f5', true],
    ['f6', null],
  ]
  for (const [hex, value] of rows) assert.deepEqual(read(hex), value)
  const refusedBytes = [
    ['1b000000e8d4a51000', 'a 64-bit number'],
    ['1817', 'a longer form than needed'],
    ['190018', 'a longer form than needed'],
    ['f90000', 'a float'],
    ['f7', 'undefined'],
    ['c000', 'a tag'],
    ['5f42010243030405ff', 'an indefinite string'],
    ['9fff', 'an indefinite array'],
    ['a201020103', 'a key twice'],
    ['a1f401', 'a boolean key'],
    ['62c328', 'bad UTF-8'],
    ['4401', 'truncated'],
    ['9a00ffffff', 'truncated array'],
    ['', 'nothing'],
    ['81'.repeat(20) + '00', 'too deep'],
  ]
  for (const [hex = '', why] of refusedBytes) assert.throws(() => read(hex), RangeError, why)
})

test('CBOR: no bytes make the reader do anything but return or throw RangeError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        readCbor(Buffer.from(bytes))
      } catch (error) {
        assert.ok(error instanceof RangeError)
      }
    }),
    { numRuns: 2000 },
  )
})
