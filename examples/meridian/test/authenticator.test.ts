import assert from 'node:assert/strict'
import { createPublicKey, hash, verify } from 'node:crypto'
import { test } from 'node:test'
import { encodeCbor } from '../src/cbor.ts'
import { SoftwareAuthenticator } from '../src/softwareAuthenticator.ts'

const ORIGIN = 'http://localhost:7443'
const bytes = (value: unknown): Buffer => Buffer.from(String(value), 'base64url')

test('CBOR follows the examples of RFC 8949, appendix A', () => {
  const hex = (value: Parameters<typeof encodeCbor>[0]): string => encodeCbor(value).toString('hex')
  assert.equal(hex(0), '00')
  assert.equal(hex(23), '17')
  assert.equal(hex(24), '1818')
  assert.equal(hex(1000), '1903e8')
  assert.equal(hex(-1), '20')
  assert.equal(hex(-1000), '3903e7')
  assert.equal(hex(Buffer.from('01020304', 'hex')), '4401020304')
  assert.equal(hex('IETF'), '6449455446')
  assert.equal(
    hex(
      new Map([
        [1, 2],
        [3, 4],
      ]),
    ),
    'a201020304',
  )
  assert.throws(() => encodeCbor(70_000), RangeError)
})

test('an assertion verifies under the key that was registered, over this challenge only', () => {
  const authenticator = new SoftwareAuthenticator(ORIGIN)
  const made = authenticator.create({ rp: { id: 'localhost' }, challenge: 'Y3JlYXRl' })
  const attestation = bytes(made.response['attestationObject'])
  // The COSE key ends the attestation object: two coordinates of 32 bytes, each behind a 3-byte head.
  const x = attestation.subarray(-67, -35)
  const y = attestation.subarray(-32)
  const key = createPublicKey({
    key: { kty: 'EC', crv: 'P-256', x: x.toString('base64url'), y: y.toString('base64url') },
    format: 'jwk',
  })
  const got = authenticator.get({ rpId: 'localhost', challenge: 'Y2hhbGxlbmdl' })
  assert.equal(got.id, made.id)
  const data = bytes(got.response['authenticatorData'])
  const clientData = bytes(got.response['clientDataJSON'])
  assert.deepEqual(data.subarray(0, 32), hash('sha256', 'localhost', 'buffer'))
  assert.equal(data[32], 0x05)
  assert.deepEqual(JSON.parse(clientData.toString()), {
    type: 'webauthn.get',
    challenge: 'Y2hhbGxlbmdl',
    origin: ORIGIN,
    crossOrigin: false,
  })
  const signed = (client: Buffer): Buffer => Buffer.concat([data, hash('sha256', client, 'buffer')])
  const signature = bytes(got.response['signature'])
  assert.ok(verify('sha256', signed(clientData), key, signature))
  const other = Buffer.from(clientData.toString().replace('Y2hh', 'Y2hi'))
  assert.ok(!verify('sha256', signed(other), key, signature))
})
