import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'

import { parseCertificate } from '../src/certificate.ts'
import { certificatesFromPem, TrustBundle } from '../src/index.ts'
import { checkAuthority, checkLeaf } from '../src/profile.ts'

// Test data of spiffe/go-spiffe (Apache-2.0), read in place.
const dir = join(
  import.meta.dirname,
  '../../..',
  process.env['SALLYPORT_DATA'] ?? '../shared/data',
  'spiffe',
)
const skip = existsSync(dir) ? false : 'the SPIFFE test data is not on this machine'
const svid = (name: string) => readFileSync(join(dir, 'svid/x509svid/testdata', name), 'utf8')
const bundle = (name: string) => readFileSync(join(dir, 'bundle/x509bundle/testdata', name), 'utf8')
/** The certificates of a file that may also hold a key. */
const certificates = (name: string) =>
  certificatesFromPem(
    (svid(name).match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).join(
      '\n',
    ),
  ).map(parseCertificate)

describe('go-spiffe test data', { skip }, () => {
  for (const name of [
    'good-cert-and-key.pem',
    'good-key-and-cert.pem',
    'good-leaf-and-intermediate.pem',
  ]) {
    it(`accepts the leaf of ${name}`, () => {
      const [leaf, ...above] = certificates(name)
      assert.ok(leaf)
      assert.equal(checkLeaf(leaf).uri, 'spiffe://example.org/workload-1')
      for (const signer of above) checkAuthority(signer, 'example.org')
    })
  }

  it('refuses good-leaf-only.pem for the one rule that is stricter here: extended key usage', () => {
    const [leaf] = certificates('good-leaf-only.pem')
    assert.ok(leaf)
    assert.throws(() => checkLeaf(leaf), {
      code: 'SP_SVID_PROFILE',
      detail: /extended key usage is absent/,
    })
  })

  for (const [name, detail] of [
    ['wrong-leaf-ca-true.pem', /CA certificate/],
    ['wrong-leaf-cert-sign.pem', /keyCertSign/],
    ['wrong-leaf-crl-sign.pem', /cRLSign/],
    ['wrong-leaf-no-digital-signature.pem', /keyCertSign|digitalSignature/],
  ] as const) {
    it(`refuses ${name}`, () => {
      const [leaf] = certificates(name)
      assert.ok(leaf)
      assert.throws(() => checkLeaf(leaf), { code: 'SP_SVID_PROFILE', detail })
    })
  }

  it('refuses wrong-leaf-empty-id.pem', () => {
    const [leaf] = certificates('wrong-leaf-empty-id.pem')
    assert.ok(leaf)
    assert.throws(() => checkLeaf(leaf), { code: /SP_SVID_PROFILE|SP_SPIFFE_ID/ })
  })

  for (const [name, detail] of [
    ['wrong-intermediate-no-ca.pem', /without cA/],
    ['wrong-intermediate-no-key-cert-sign.pem', /keyCertSign/],
  ] as const) {
    it(`refuses the signer in ${name}`, () => {
      const [, signer] = certificates(name)
      assert.ok(signer)
      assert.throws(() => checkAuthority(signer, 'example.org'), {
        code: 'SP_SVID_PROFILE',
        detail,
      })
    })
  }

  it('refuses what is not certificates', () => {
    assert.throws(() => certificatesFromPem(svid('not-pem')), { code: 'SP_BUNDLE_INVALID' })
    assert.throws(() => certificatesFromPem(svid('corrupt-cert.pem')).map(parseCertificate), {
      code: /SP_BUNDLE_INVALID|SP_SVID_MALFORMED/,
    })
    for (const name of ['corrupted.pem', 'empty.pem', 'key.pem', 'not-pem.pem']) {
      assert.throws(
        () => TrustBundle.fromPem('example.org', bundle(name)),
        { code: /SP_BUNDLE_INVALID|SP_SVID_MALFORMED/ },
        name,
      )
    }
  })

  it('refuses the version 1 certificates of cert.pem and certs.pem as roots', () => {
    // go-spiffe reads them; version 1 has no extensions, so they cannot be signing certificates by the profile.
    for (const name of ['cert.pem', 'certs.pem']) {
      assert.throws(
        () => TrustBundle.fromPem('example.org', bundle(name)),
        { code: 'SP_SVID_MALFORMED' },
        name,
      )
    }
  })
})
