import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  webcrypto,
  X509Certificate,
} from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'

// The reader of requests that is compared with needs its shim first.
import 'reflect-metadata'
import {
  BasicConstraintsExtension,
  ChallengePasswordAttribute,
  Pkcs10CertificateRequest,
  Pkcs10CertificateRequestGenerator,
} from '@peculiar/x509'

import {
  certificatesFromPem,
  createIssuer,
  createRoot,
  csrFor,
  permitsAuthorities,
  publicKeyFromCsr,
  signAuthority,
  signRoot,
  TrustBundle,
  verifySvid,
} from '../src/index.ts'

const root = createRoot({ trustDomain: 'bank.test', ttlSeconds: 86_400 })
const issuer = createIssuer({ certificatePem: root.certificatePem, privateKey: root.privateKeyPem })
const bundles = new Map([['bank.test', TrustBundle.fromPem('bank.test', root.certificatePem)]])
const spkiOf = (curve = 'P-256') =>
  generateKeyPairSync('ec', { namedCurve: curve }).publicKey.export({ format: 'der', type: 'spki' })
const request = {
  spiffeId: 'spiffe://bank.test/agent/monitor/1',
  publicKeySpki: spkiOf(),
  ttlSeconds: 900,
}

describe('createIssuer', () => {
  it('issues what the verifier accepts, with the facts it returns', () => {
    const now = Date.now()
    const issued = issuer.issue({ ...request, now, dnsNames: ['localhost'] })
    const verified = verifySvid(certificatesFromPem(issued.chainPem), bundles, { now })
    assert.equal(verified.id.uri, request.spiffeId)
    assert.equal(verified.serial, issued.serial)
    assert.equal(verified.notAfter, issued.notAfter)
    assert.equal(verified.notBefore, issued.notBefore)
    assert.equal(issued.notAfter, Math.floor((now + 900_000) / 1000) * 1000)
    assert.ok(
      verified.publicKey.equals(
        createPublicKey({ key: request.publicKeySpki, format: 'der', type: 'spki' }),
      ),
    )
    const node = new X509Certificate(issued.chainPem)
    assert.equal(node.serialNumber.toLowerCase(), issued.serial)
    assert.equal(node.subjectAltName, 'URI:spiffe://bank.test/agent/monitor/1, DNS:localhost')
  })

  it('issues below a signing certificate, which goes along and is checked like any other', () => {
    const now = Date.now()
    const signer = (key = generateKeyPairSync('ec', { namedCurve: 'P-256' })) => ({
      publicKey: key.publicKey,
      sign: (data: Uint8Array) => sign('sha256', data, key.privateKey),
    })
    const own = signer()
    const above = {
      certificatePem: signRoot(own, { trustDomain: 'bank.test', ttlSeconds: 90 }),
      signer: own,
    }
    const below = signer()
    const certificatePem = signAuthority(above, {
      publicKey: below.publicKey,
      ttlSeconds: 3600,
      now,
    })
    const trusted = new Map([['bank.test', TrustBundle.fromPem('bank.test', above.certificatePem)]])
    const { chainPem, notAfter } = createIssuer({ certificatePem, signer: below }).issue(request)
    const chain = certificatesFromPem(chainPem)
    assert.equal(chain.length, 2)
    // Twice: the second time the signing certificate is one that is known.
    for (let turn = 0; turn < 2; turn++) {
      assert.equal(verifySvid(chain, trusted, { now }).id.uri, request.spiffeId)
      assert.throws(() => verifySvid(chain, bundles, { now }), { code: 'SP_SVID_UNTRUSTED' })
      // A server is shown the leaf alone, which encloses the other.
      const [leaf] = chain
      assert.ok(leaf)
      assert.equal(verifySvid([leaf], trusted, { now }).id.uri, request.spiffeId)
      assert.throws(() => verifySvid([leaf], bundles, { now }), { code: 'SP_SVID_UNTRUSTED' })
      assert.throws(() => verifySvid(chain, trusted, { now: now + 120_000 }), {
        code: 'SP_SVID_EXPIRED',
      })
    }
    const rootEnd = Date.parse(new X509Certificate(above.certificatePem).validTo)
    assert.equal(Date.parse(new X509Certificate(certificatePem).validTo), rootEnd)
    assert.equal(notAfter, rootEnd)
    // One level, no more; and only by the root's own key.
    const code = 'SP_ISSUE_REFUSED'
    const next = { publicKey: signer().publicKey, ttlSeconds: 60, now }
    assert.throws(() => signAuthority({ certificatePem, signer: below }, next), { code })
    assert.throws(() => signAuthority({ ...above, signer: below }, next), { code })
    assert.throws(() => signAuthority(above, { ...next, now: now + 3_600_000 }), { code })
    assert.equal(permitsAuthorities(certificatePem), false)
  })

  it('never gives a serial twice', () => {
    const serials = new Set(Array.from({ length: 500 }, () => issuer.issue(request).serial))
    assert.equal(serials.size, 500)
  })

  it('never outlives the root', () => {
    const short = createRoot({ trustDomain: 'bank.test', ttlSeconds: 60 })
    const from = createIssuer({
      certificatePem: short.certificatePem,
      privateKey: short.privateKeyPem,
    })
    const end = Date.parse(new X509Certificate(short.certificatePem).validTo)
    assert.equal(from.issue(request).notAfter, end)
    assert.throws(() => from.issue({ ...request, now: end + 1000 }), { code: 'SP_ISSUE_REFUSED' })
  })

  it('refuses other domains, ids without path, other keys, and bad names', () => {
    const refused = (change: object, code = 'SP_ISSUE_REFUSED') => {
      assert.throws(() => issuer.issue({ ...request, ...change }), { code }, JSON.stringify(change))
    }
    assert.ok(issuer.issue(request).serial)
    refused({ spiffeId: 'spiffe://evil.test/agent/a/1' })
    refused({ spiffeId: 'spiffe://bank.test' })
    refused({ spiffeId: 'spiffe://bank.test/a/../b' }, 'SP_SPIFFE_ID')
    refused({ publicKeySpki: spkiOf('P-384') })
    refused({
      publicKeySpki: generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({
        format: 'der',
        type: 'spki',
      }),
    })
    refused({ publicKeySpki: Buffer.from('no key') })
    refused({ ttlSeconds: 0 })
    refused({ ttlSeconds: Number.NaN })
    refused({ dnsNames: ['bad name'] })
    refused({ dnsNames: ['*.bank.test'] })
  })

  it('signs root and leaves where the key is kept, and refuses a signer of another key or curve', () => {
    const signer = (namedCurve = 'P-256') => {
      const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve })
      return { publicKey, sign: (data: Uint8Array) => sign('sha256', data, privateKey) }
    }
    const own = signer()
    const certificatePem = signRoot(own, { trustDomain: 'bank.test', ttlSeconds: 86_400 })
    const { chainPem } = createIssuer({ certificatePem, signer: own }).issue(request)
    const trusted = new Map([['bank.test', TrustBundle.fromPem('bank.test', certificatePem)]])
    const verified = verifySvid(certificatesFromPem(chainPem), trusted, { now: Date.now() })
    assert.equal(verified.id.uri, request.spiffeId)
    const refused = { code: 'SP_ISSUE_REFUSED' }
    assert.throws(() => createIssuer({ certificatePem, signer: signer() }), refused)
    const wide = { trustDomain: 'bank.test', ttlSeconds: 60 }
    assert.throws(() => signRoot(signer('P-384'), wide), refused)
  })

  it("refuses a key that is not the certificate's", () => {
    const other = createRoot({ trustDomain: 'bank.test', ttlSeconds: 60 })
    assert.throws(
      () => createIssuer({ certificatePem: root.certificatePem, privateKey: other.privateKeyPem }),
      { code: 'SP_ISSUE_REFUSED' },
    )
  })

  it('makes what `openssl verify -x509_strict` accepts', (context) => {
    if (spawnSync('openssl', ['version']).status !== 0) {
      context.skip('openssl is not on this machine')
      return
    }
    const dir = mkdtempSync(join(tmpdir(), 'sp-issue-'))
    try {
      const leaf = issuer.issue(request)
      writeFileSync(join(dir, 'root.pem'), root.certificatePem)
      writeFileSync(join(dir, 'leaf.pem'), leaf.chainPem)
      const run = (purpose: string, anchor: string) =>
        spawnSync(
          'openssl',
          ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', anchor, 'leaf.pem'],
          { cwd: dir },
        ).status
      assert.equal(run('sslclient', 'root.pem'), 0)
      assert.equal(run('sslserver', 'root.pem'), 0)
      const { privateKey, publicKey: caKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const rootKey = createPrivateKey(root.privateKeyPem)
      const signerOf = (key: KeyObject) => ({
        publicKey: createPublicKey(key),
        sign: (data: Uint8Array) => sign('sha256', data, key),
      })
      const above = { certificatePem: root.certificatePem, signer: signerOf(rootKey) }
      const ca = signAuthority(above, { publicKey: caKey, ttlSeconds: 3600 })
      const chain = createIssuer({ certificatePem: ca, signer: signerOf(privateKey) }).issue(
        request,
      )
      writeFileSync(join(dir, 'chain.pem'), chain.chainPem)
      const withChain = (anchor: string, ...more: string[]) =>
        spawnSync('openssl', ['verify', '-x509_strict', '-CAfile', anchor, ...more, 'chain.pem'], {
          cwd: dir,
        }).status
      assert.equal(withChain('root.pem', '-untrusted', 'chain.pem'), 0)
      assert.notEqual(withChain('root.pem'), 0)
      writeFileSync(
        join(dir, 'other.pem'),
        createRoot({ trustDomain: 'bank.test', ttlSeconds: 60 }).certificatePem,
      )
      assert.notEqual(run('sslclient', 'other.pem'), 0)
    } finally {
      rmSync(dir, { recursive: true })
    }
  })
})

describe('certificate requests', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })

  it('hand over the key they were signed with', () => {
    const spki = publicKeyFromCsr(csrFor(privateKey))
    assert.ok(spki.equals(publicKey.export({ format: 'der', type: 'spki' })))
  })

  it('are refused when altered, of another key type, or not one PEM block', () => {
    const text = csrFor(privateKey)
    const body = Buffer.from(text.split('\n').slice(1, -2).join(''), 'base64')
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
      format: 'der',
      type: 'spki',
    })
    const at = body.indexOf(publicKey.export({ format: 'der', type: 'spki' }))
    assert.ok(at > 0)
    other.copy(body, at)
    const swapped = `-----BEGIN CERTIFICATE REQUEST-----\n${body.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`
    const p384 = csrFor(generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey)
    for (const bad of [
      swapped,
      p384,
      '',
      'x',
      text + text,
      body.toString('base64'),
      root.certificatePem,
      `${text}${'A'.repeat(9000)}`,
    ]) {
      assert.throws(() => publicKeyFromCsr(bad), { code: 'SP_CSR_INVALID' })
    }
  })

  it('of another maker, with names and attributes, hand over the key and nothing else', async () => {
    const made = await Pkcs10CertificateRequestGenerator.create(
      {
        name: 'CN=spiffe://bank.test/agent/other',
        keys: await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
          'sign',
          'verify',
        ]),
        signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
        attributes: [new ChallengePasswordAttribute('x')],
        extensions: [new BasicConstraintsExtension(true, 2, true)],
      },
      webcrypto,
    )
    const spki = publicKeyFromCsr(`${made.toString('pem')}\n`)
    assert.ok(spki.equals(Buffer.from(made.publicKey.rawData)))
  })

  it('are refused whichever bit of them is changed', async () => {
    const text = csrFor(privateKey)
    const body = Buffer.from(text.split('\n').slice(1, -2).join(''), 'base64')
    const accepts = (pem: string): boolean => {
      try {
        return publicKeyFromCsr(pem).length > 0
      } catch {
        return false
      }
    }
    assert.ok(accepts(text))
    assert.ok(await new Pkcs10CertificateRequest(text).verify(webcrypto))
    for (let bit = 0; bit < body.length * 8; bit++) {
      const changed = Buffer.from(body)
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${changed.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`
      assert.equal(accepts(pem), false, `bit ${bit}`)
    }
  })
})
