import assert from 'node:assert/strict'
import { generateKeyPairSync, sign } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { SignJWT } from 'jose'
import {
  decodeRecord,
  encodeRecord,
  issueCallToken,
  requestHash,
  verifyCallToken,
} from '../src/index.ts'
import type { AuditRecord, DecisionRecord } from '../src/index.ts'

const NOW = 1_800_000_000_000
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const ed = generateKeyPairSync('ed25519')
const code = (code: string): { code: string } => ({ code })

const claims = {
  iss: 'spiffe://td/gateway/g1',
  sub: 'spiffe://td/agent/a/1',
  aud: 'spiffe://td/service/core',
  decision: 'dec_1',
  operation: 'core.placeHold',
  request: requestHash('POST', '/v1/holds', Buffer.from('{}')),
}
const expect = { aud: claims.aud, iss: claims.iss, requestHash: claims.request, now: NOW }

test('the request hash is pinned', () => {
  // printf 'POST /v1/holds %s' "$(printf '{}' | sha256sum)" | sha256sum, made with another tool.
  assert.equal(claims.request, '13e75880f4316e208fbfff1c2532e8f4ed2d0fb7297cbb5af84631268cec0bbc')
})

for (const [name, keys] of [
  ['ES256', ec],
  ['EdDSA', ed],
] as const) {
  test(`a call token verifies for its request: ${name}`, async () => {
    const token = issueCallToken(claims, keys.privateKey, NOW)
    const verified = await verifyCallToken(token, keys.publicKey, expect)
    assert.equal(verified.exp - verified.iat, 30)
    assert.equal(verified.decision, 'dec_1')
    const [header = ''] = token.split('.')
    assert.deepEqual(JSON.parse(Buffer.from(header, 'base64url').toString()), {
      alg: name,
      typ: 'sallyport-call+jwt',
    })
  })
}

test('a call token verifies when a number of its signature is short', async () => {
  const short = { r: 0, s: 0 }
  // One in 256 begins with a zero byte, which DER leaves out.
  for (let i = 0; i < 20_000 && (short.r === 0 || short.s === 0); i++) {
    const token = issueCallToken(claims, ec.privateKey, NOW)
    const signature = Buffer.from(token.slice(token.lastIndexOf('.') + 1), 'base64url')
    assert.equal(signature.length, 64)
    if (signature[0] !== 0 && signature[32] !== 0) continue
    await verifyCallToken(token, ec.publicKey, expect)
    if (signature[0] === 0) short.r++
    if (signature[32] === 0) short.s++
  }
  assert.ok(short.r > 0 && short.s > 0)
})

test('a call token is for one audience, issuer and request, for thirty seconds', async () => {
  const token = issueCallToken(claims, ec.privateKey, NOW)
  const verify = (changes: Partial<typeof expect>): Promise<unknown> =>
    verifyCallToken(token, ec.publicKey, { ...expect, ...changes })
  await verify({ now: NOW + 29_000 })
  await assert.rejects(verify({ now: NOW + 30_000 }), code('SP_CALL_TOKEN_EXPIRED'))
  await assert.rejects(verify({ now: NOW - 6000 }), code('SP_CALL_TOKEN_INVALID'))
  await assert.rejects(verify({ aud: 'spiffe://td/service/vault' }), code('SP_CALL_TOKEN_INVALID'))
  await assert.rejects(verify({ iss: 'spiffe://td/gateway/g2' }), code('SP_CALL_TOKEN_INVALID'))
  const other = requestHash('POST', '/v1/holds', Buffer.from('{ }'))
  await assert.rejects(verify({ requestHash: other }), code('SP_CALL_TOKEN_REQUEST'))
})

test('a call token says for whom the caller acts and by which mandate, in exactly these shapes', async () => {
  const obo = { subject: 'operator:olga', actors: [claims.sub, 'spiffe://td/agent/b/1'] }
  const issue = (over: object): string => issueCallToken({ ...claims, ...over }, ec.privateKey, NOW)
  const verify = async (over: object): Promise<unknown> =>
    verifyCallToken(issue(over), ec.publicKey, expect)
  const verified = await verifyCallToken(issue({ obo, mandate: 'mdt_1' }), ec.publicKey, expect)
  assert.deepEqual([verified.obo, verified.mandate], [obo, 'mdt_1'])
  for (const over of [
    { obo: { ...obo, admin: true } },
    { obo: { subject: 'operator:olga' } },
    { obo: { ...obo, actors: Array.from({ length: 9 }, () => 'a') } },
    { obo: 'operator:olga' },
    { mandate: ['mdt_1'] },
    { mandate: 'm'.repeat(129) },
  ]) {
    await assert.rejects(verify(over), code('SP_CALL_TOKEN_INVALID'))
  }
})

test('forged call tokens are refused', async () => {
  const good = issueCallToken(claims, ec.privateKey, NOW)
  const [header = '', payload = '', signature = ''] = good.split('.')
  const iat = Math.floor(NOW / 1000)
  const full = { ...claims, iat, exp: iat + 30, jti: 'j' }
  const jwt = (
    head: { alg: string; typ?: string; kid?: string },
    body: object,
    key: Parameters<SignJWT['sign']>[0],
  ): Promise<string> => new SignJWT({ ...body }).setProtectedHeader(head).sign(key)
  const encode = (value: unknown): string =>
    Buffer.from(JSON.stringify(value)).toString('base64url')
  const typ = 'sallyport-call+jwt'
  /** By the gateway's own key, whatever it says. */
  const signed = (head: object, body: string): string => {
    const text = `${encode(head)}.${Buffer.from(body).toString('base64url')}`
    const key = { key: ec.privateKey, dsaEncoding: 'ieee-p1363' } as const
    return `${text}.${sign('sha256', Buffer.from(text), key).toString('base64url')}`
  }
  const secret = ec.publicKey.export({ format: 'der', type: 'spki' })
  const { request: _, ...incomplete } = full
  const forged = [
    `${encode({ alg: 'none', typ })}.${payload}.`,
    await jwt({ alg: 'HS256', typ }, full, new Uint8Array(secret)),
    await jwt(
      { alg: 'ES256', typ },
      full,
      generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
    ),
    await jwt({ alg: 'EdDSA', typ }, full, ed.privateKey),
    await jwt({ alg: 'ES256', typ: 'JWT' }, full, ec.privateKey),
    await jwt({ alg: 'ES256' }, full, ec.privateKey),
    await jwt({ alg: 'ES256', typ, kid: 'k' }, full, ec.privateKey),
    await jwt({ alg: 'ES256', typ: 'SALLYPORT-CALL+JWT' }, full, ec.privateKey),
    // Said twice: a second parser might take the other one.
    signed({ alg: 'ES256', typ }, JSON.stringify(full).replace('{', `{"sub":"${claims.iss}",`)),
    signed({ alg: 'EdDSA', typ }, JSON.stringify(full)),
    signed({ alg: 'ES256', typ, crit: ['x'], x: 1 }, JSON.stringify(full)),
    signed({ alg: 'ES256', typ, b64: false, crit: ['b64'] }, JSON.stringify(full)),
    `${header}=.${payload}.${signature}`,
    `${header}.${payload}.${signature}=`,
    `${header}.${payload}.${signature.slice(0, -1)}`,
    `${header}.${payload}.${respelled(signature)}`,
    `${header}.${payload}`,
    `${header}.${payload}.`,
    `${header}.${payload}.${Buffer.alloc(64).toString('base64url')}`,
    await jwt({ alg: 'ES256', typ }, { ...full, exp: iat + 3600 }, ec.privateKey),
    await jwt({ alg: 'ES256', typ }, { ...full, aud: [claims.aud, 'x'] }, ec.privateKey),
    await jwt({ alg: 'ES256', typ }, { ...full, admin: true }, ec.privateKey),
    await jwt({ alg: 'ES256', typ }, incomplete, ec.privateKey),
    `${header}.${encode({ ...full, sub: 'spiffe://td/agent/b/1' })}.${signature}`,
    JSON.stringify({ protected: header, payload, signature }),
    `${good}.`,
    'x'.repeat(10_000),
    '',
  ]
  for (const token of forged) {
    await assert.rejects(
      verifyCallToken(token, ec.publicKey, expect),
      code('SP_CALL_TOKEN_INVALID'),
    )
  }
  await verifyCallToken(await jwt({ alg: 'ES256', typ }, full, ec.privateKey), ec.publicKey, expect)
  await verifyCallToken(signed({ typ, alg: 'ES256' }, JSON.stringify(full)), ec.publicKey, expect)
})

/** The same bytes, with other bits in the last character than its padding has. */
function respelled(text: string): string {
  const bytes = Buffer.from(text, 'base64url')
  const last = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  for (const one of last) {
    const other = `${text.slice(0, -1)}${one}`
    if (other !== text && Buffer.from(other, 'base64url').equals(bytes)) return other
  }
  throw new Error('nothing else means the same')
}

test('keys of other kinds sign no call tokens', async () => {
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  assert.throws(() => issueCallToken(claims, p384.privateKey, NOW), code('SP_CALL_TOKEN_KEY'))
})

const decision: DecisionRecord = {
  v: 1,
  kind: 'decision',
  at: NOW,
  gateway: 'spiffe://td/gateway/g1',
  id: 'dec_1',
  instance: 'spiffe://td/agent/a/1',
  agent: 'a',
  system: 'core',
  operation: 'placeHold',
  decision: 'needs',
  code: 'SP_NEEDS_APPROVAL',
  reasons: ['p1'],
  errors: [{ policyId: 'p2', message: 'no such attribute' }],
  needs: [{ kind: 'approval', count: 1 }],
  approvalId: 'apr_1',
  revision: { epoch: 1, n: 3 },
  declarationDigest: 'a'.repeat(64),
  stateDigest: 'b'.repeat(64),
  labels: ['pii'],
  risk: 12.5,
  requestHash: 'c'.repeat(64),
  input: { k: 'k', iv: 'i', ct: 'c' },
  peer: { serial: '0a', group: 'X25519MLKEM768' },
}
const base = { v: 1, at: NOW, gateway: 'spiffe://td/gateway/g1' } as const
const records: readonly AuditRecord[] = [
  decision,
  {
    ...base,
    kind: 'outcome',
    decisionId: 'dec_1',
    status: 200,
    result: 'completed',
    durationMs: 3.25,
    bytesOut: 12,
    released: { accounts: { records: 3, maxWholeClass: 'internal' } },
  },
  {
    ...base,
    kind: 'labels',
    decisionId: 'dec_1',
    instance: 'spiffe://td/agent/a/1',
    added: ['pii'],
  },
  {
    ...base,
    kind: 'approval-used',
    decisionId: 'dec_1',
    approvalId: 'apr_1',
    approvers: ['ada'],
    statements: ['d'.repeat(64)],
  },
  {
    ...base,
    kind: 'event',
    event: 'start',
    code: 'SP_X',
    subject: 's',
    facts: { a: 1, b: 'x', c: true },
  },
]

for (const record of records) {
  test(`a record survives its bytes: ${record.kind}`, () => {
    assert.deepEqual(decodeRecord(encodeRecord(record)), record)
  })

  test(`a record with a member missing, unknown or of another kind is refused: ${record.kind}`, () => {
    const invalid = code('SP_RECORD_INVALID')
    // Deliberately not records.
    const spoil = (value: unknown): void => {
      assert.throws(() => encodeRecord(value as AuditRecord), invalid)
      assert.throws(() => decodeRecord(Buffer.from(JSON.stringify(value))), invalid)
    }
    const optional = new Set(['approvalId', 'input', 'why', 'code', 'subject'])
    for (const key of Object.keys(record)) {
      if (record.kind === 'event' ? !optional.has(key) : key !== 'approvalId' && key !== 'input') {
        spoil(Object.fromEntries(Object.entries(record).filter(([name]) => name !== key)))
      }
      spoil({ ...record, [key]: { odd: [null] } })
      spoil({ ...record, [key]: null })
    }
    spoil({ ...record, surprise: 1 })
    spoil({ ...record, v: 2 })
    spoil({ ...record, kind: 'constructor' })
    spoil({ ...record, at: -1 })
  })
}

test('a decision may say what a shadow would have decided, and who else asked for it, in exactly these shapes', () => {
  const shadow = { digest: 'e'.repeat(64), decision: 'allow', code: 'SP_ALLOWED' } as const
  const pep = { id: 'spiffe://td/service/front/1', unobserved: ['body'] }
  const whole = {
    ...decision,
    shadow: { ...shadow, needs: decision.needs, changes: ['field a.b: mask to whole'] },
    pep,
  }
  assert.deepEqual(decodeRecord(encodeRecord(whole)), whole)
  for (const odd of [
    { shadow: { ...shadow, digest: 'e' } },
    { shadow: { ...shadow, decision: 'perhaps' } },
    { shadow: { ...shadow, code: 'ok' } },
    { shadow: { ...shadow, surprise: 1 } },
    { shadow: { ...shadow, changes: Array.from({ length: 33 }, () => 'x') } },
    { pep: { ...pep, surprise: 1 } },
    { pep: { id: pep.id } },
  ]) {
    // Deliberately not records.
    const spoilt = { ...decision, ...odd } as unknown as AuditRecord
    assert.throws(() => encodeRecord(spoilt), code('SP_RECORD_INVALID'))
  }
})

test('a decision may say of which trace it is, in exactly this shape', () => {
  const trace = { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', parentId: '00f067aa0ba902b7' }
  const whole = { ...decision, trace }
  assert.deepEqual(decodeRecord(encodeRecord(whole)), whole)
  // Records of before it, and calls without one, have none.
  assert.ok(!('trace' in decodeRecord(encodeRecord(decision))))
  for (const odd of [
    { trace: { traceId: trace.traceId } },
    { trace: { ...trace, surprise: 1 } },
    { trace: { ...trace, traceId: trace.traceId.toUpperCase() } },
    { trace: { ...trace, traceId: trace.traceId.slice(1) } },
    { trace: { ...trace, parentId: trace.traceId } },
    { trace: `00-${trace.traceId}-${trace.parentId}-01` },
  ]) {
    // Deliberately not records.
    const spoilt = { ...decision, ...odd } as unknown as AuditRecord
    assert.throws(() => encodeRecord(spoilt), code('SP_RECORD_INVALID'))
  }
})

test('a decision may say for whom the call was and by which mandate, in exactly these shapes', () => {
  const onBehalfOf = { subject: 'operator:olga', actors: [decision.instance] }
  const mandate = {
    ...{ id: 'mdt_2', delegator: 'operator:olga', depth: 2, task: 'close case 7' },
    chain: ['mdt_1', 'mdt_2'],
  }
  const payment = { k: 'k', iv: 'i', ct: 'c' }
  const whole = { ...decision, onBehalfOf, payment, mandate }
  assert.deepEqual(decodeRecord(encodeRecord(whole)), whole)
  for (const odd of [
    { onBehalfOf: { ...onBehalfOf, surprise: 1 } },
    { onBehalfOf: { subject: 'x' } },
    { payment: { amount: 5, currency: 'EUR', creditor: 'ACC-9', by: 'operator:olga' } },
    { mandate: { ...mandate, depth: 0 } },
    { mandate: { ...mandate, chain: 'mdt_1' } },
    { mandate: { ...mandate, surprise: 1 } },
  ]) {
    // Deliberately not records.
    const spoilt = { ...decision, ...odd } as unknown as AuditRecord
    assert.throws(() => encodeRecord(spoilt), code('SP_RECORD_INVALID'))
  }
})

test('only canonical bytes decode: one record is one leaf', () => {
  const bytes = encodeRecord(decision)
  const text = Buffer.from(bytes).toString()
  for (const other of [
    ` ${text}`,
    `${text}\n`,
    JSON.stringify(decision),
    text.replace('"risk":12.5', '"risk":12.50'),
  ]) {
    assert.notEqual(other, text)
    assert.throws(() => decodeRecord(Buffer.from(other)), code('SP_RECORD_INVALID'))
  }
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Buffer.from(bytes)
      changed[at] = (changed[at] ?? 0) ^ flip
      try {
        assert.notDeepEqual(decodeRecord(changed), decision)
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error
        assert.equal((error as { code?: string }).code, 'SP_RECORD_INVALID')
      }
    }),
  )
})

test('a record larger than a log entry may be is refused', () => {
  const why = { k: 'k', iv: 'i', ct: 'x'.repeat(65_000) }
  assert.throws(() => encodeRecord({ ...decision, why }), code('SP_RECORD_TOO_LARGE'))
  assert.ok(encodeRecord({ ...decision, why: { ...why, ct: 'x'.repeat(60_000) } }).length > 60_000)
})
