import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { describe, it } from 'node:test'

import { SallyportError } from '@sallyport/base'
import fc from 'fast-check'

import { certificatesFromPem, TrustBundle, verifySvid } from '../src/index.ts'
import { der, octets, sequence } from '../src/der-write.ts'
import { badLeaves, extension, forge, forgeRoot, forgeSigner } from './forge.ts'
import type { Forged } from './forge.ts'

const now = Date.now()
const root = forgeRoot()
const trust = (...roots: readonly Forged[]): Map<string, TrustBundle> =>
  new Map([['bank.test', TrustBundle.fromPem('bank.test', roots.map((one) => one.pem).join(''))]])
const bundles = trust(root)

function refusal(run: () => unknown): SallyportError {
  try {
    run()
  } catch (error) {
    assert.ok(error instanceof SallyportError, String(error))
    return error
  }
  throw new assert.AssertionError({ message: 'it was accepted' })
}

const verify = (chain: readonly Forged[], against: ReadonlyMap<string, TrustBundle> = bundles) =>
  verifySvid(
    chain.map((one) => one.raw),
    against,
    { now },
  )

describe('verifySvid', () => {
  it('accepts a good leaf, with and without the root behind it', () => {
    const leaf = forge({ signer: root })
    assert.equal(verify([leaf]).id.uri, 'spiffe://bank.test/agent/monitor/1')
    assert.equal(verify([leaf, root]).id.trustDomain, 'bank.test')
    assert.equal(
      verify([forge({ signer: root, name: '', dns: ['localhost'] })]).id.path,
      '/agent/monitor/1',
    )
    assert.equal(verify([forge({ signer: root, ca: null })]).id.path, '/agent/monitor/1')
  })

  for (const bad of badLeaves(root)) {
    it(`refuses ${bad.name}`, () => {
      const error = refusal(() => verify([bad.leaf]))
      assert.equal(error.code, bad.code)
      if (bad.detail) assert.match(error.detail ?? '', bad.detail)
    })
  }

  it('refuses names put together from pieces, which OpenSSL reads: a second URI would hide in them', () => {
    const own = der(0x86, Buffer.from('spiffe://bank.test/agent/monitor/1'))
    const evil = Buffer.from('spiffe://bank.test/agent/evil/1')
    const named = (...names: readonly Buffer[]) => {
      const san = extension('2.5.29.17', true, sequence(...names))
      return forge({ signer: root, uris: [], extra: [san] })
    }
    const hidden = named(own, der(0xa6, der(0x16, evil)))
    assert.match(new X509Certificate(hidden.raw).subjectAltName ?? '', /evil/)
    for (const bad of [hidden, named(own, der(0xa2, der(0x16, evil))), named(own, der(0x89))]) {
      assert.equal(refusal(() => verify([bad])).code, 'SP_SVID_MALFORMED')
    }
    assert.equal(
      verify([named(own, der(0x82, Buffer.from('a.test')))]).id.uri,
      own.toString('latin1', 2),
    )
    // A constraint that is not read would constrain nothing.
    const constraint = (tag: number) =>
      extension(
        '2.5.29.30',
        true,
        sequence(
          der(
            0xa0,
            sequence(
              der(
                tag,
                ...(tag === 0x86
                  ? [Buffer.from('bank.test')]
                  : [der(0x16, Buffer.from('other.test'))]),
              ),
            ),
          ),
        ),
      )
    const below = (tag: number) => {
      const signer = forgeSigner(root, { extra: [constraint(tag)] })
      return [forge({ signer }), signer]
    }
    assert.equal(verify(below(0x86)).id.path, '/agent/monitor/1')
    assert.equal(refusal(() => verify(below(0xa6))).code, 'SP_SVID_MALFORMED')
  })

  it('judges each end of the validity to the millisecond', () => {
    const second = Math.floor(now / 1000) * 1000
    const leaf = forge({ signer: root, notBefore: second, notAfter: second + 5000 })
    const at = (when: number) => verifySvid([leaf.raw], bundles, { now: when })
    assert.equal(at(second).notBefore, second)
    assert.equal(at(second + 5000).notAfter, second + 5000)
    assert.equal(refusal(() => at(second - 1)).code, 'SP_SVID_NOT_YET_VALID')
    assert.equal(refusal(() => at(second + 5001)).code, 'SP_SVID_EXPIRED')
    assert.equal(refusal(() => at(Number.NaN)).code, 'SP_SVID_EXPIRED')
  })

  it('refuses what a root signs for a domain whose own bundle did not', () => {
    const evil = forgeRoot('evil.test')
    const both = new Map([
      ...bundles,
      ['evil.test', TrustBundle.fromPem('evil.test', evil.pem)] as const,
    ])
    const honest = forge({ signer: evil, uris: ['spiffe://evil.test/agent/x/1'] })
    assert.equal(verify([honest], both).id.trustDomain, 'evil.test')
    const claims = forge({ signer: evil, uris: ['spiffe://bank.test/agent/x/1'] })
    assert.equal(refusal(() => verify([claims], both)).code, 'SP_SVID_UNTRUSTED')
    assert.equal(refusal(() => verify([claims, evil], both)).code, 'SP_SVID_UNTRUSTED')
  })

  it('refuses a bundle filed under a domain that is not its own', () => {
    const misfiled = new Map([
      ['bank.test', TrustBundle.fromPem('evil.test', forgeRoot('evil.test').pem)],
    ])
    assert.equal(refusal(() => verify([forge({ signer: root })], misfiled)).code, 'SP_SVID_FOREIGN')
  })

  it('follows intermediates in order, and checks each as a signing certificate', () => {
    const mid = (recipe: object = {}) =>
      forge({
        signer: root,
        name: 'mid',
        ca: true,
        uris: ['spiffe://bank.test'],
        sanCritical: false,
        ...recipe,
      })
    const good = mid()
    const leaf = forge({ signer: good })
    assert.equal(verify([leaf, good]).id.path, '/agent/monitor/1')
    assert.equal(verify([leaf, good, root]).id.path, '/agent/monitor/1')
    assert.equal(refusal(() => verify([leaf])).code, 'SP_SVID_UNTRUSTED')
    assert.equal(refusal(() => verify([leaf, root, good])).code, 'SP_SVID_UNTRUSTED')
    assert.equal(refusal(() => verify([leaf, root])).code, 'SP_SVID_UNTRUSTED')
    const wrong: readonly [string, object, RegExp][] = [
      ['no cA', { ca: false, usage: [5] }, /without cA/],
      ['no basic constraints', { ca: null, usage: [5] }, /without cA/],
      ['cA not critical', { caCritical: false }, /not critical/],
      ['no keyCertSign', { usage: [6] }, /keyCertSign/],
      ['no key usage', { usage: null }, /key usage/],
      ['a path in its id', { uris: ['spiffe://bank.test/ca'] }, /path/],
      ['two ids', { uris: ['spiffe://bank.test', 'spiffe://bank.test'] }, /more than one URI/],
      ['an extended key usage without TLS', { extended: ['1.3.6.1.5.5.7.3.1'] }, /leaves out TLS/],
      ['another domain in its id', { uris: ['spiffe://evil.test'] }, /another trust domain/],
    ]
    for (const [name, recipe, detail] of wrong) {
      const bad = mid(recipe)
      const error = refusal(() => verify([forge({ signer: bad }), bad]))
      assert.equal(error.code, 'SP_SVID_PROFILE', name)
      assert.match(error.detail ?? '', detail, name)
    }
    const dead = mid({ notBefore: now - 9000, notAfter: now - 5000 })
    assert.equal(refusal(() => verify([forge({ signer: dead }), dead])).code, 'SP_SVID_EXPIRED')
  })

  it('takes the signer that a leaf encloses where nothing came beside it, and only there', () => {
    const mid = forgeSigner(root)
    const leaf = forge({ signer: mid, encloses: mid.raw })
    assert.equal(verify([leaf]).id.path, '/agent/monitor/1')
    assert.equal(verify([leaf, mid]).id.path, '/agent/monitor/1')
    assert.equal(refusal(() => verify([leaf, forgeSigner(root)])).code, 'SP_SVID_UNTRUSTED')
    assert.equal(refusal(() => verify([forge({ signer: mid })])).code, 'SP_SVID_UNTRUSTED')
    // Known by now, and judged anew all the same.
    const late = { now: now + 2 * 3_600_000 }
    const error = refusal(() => verifySvid([leaf.raw], bundles, late))
    assert.equal(error.code, 'SP_SVID_EXPIRED')
  })

  it('refuses a leaf that signs another leaf', () => {
    const leaf = forge({ signer: root })
    const below = forge({ signer: leaf, uris: ['spiffe://bank.test/gateway/g1'] })
    assert.match(refusal(() => verify([below, leaf])).detail ?? '', /without cA/)
  })

  it('holds the path length', () => {
    const tight = forgeRoot('bank.test', { pathLength: 0 })
    const roomy = forgeRoot('bank.test', { pathLength: 1 })
    for (const [anchor, accepted] of [
      [tight, false],
      [roomy, true],
    ] as const) {
      const mid = forge({ signer: anchor, name: 'mid', ca: true, uris: [] })
      const run = () => verify([forge({ signer: mid }), mid], trust(anchor))
      if (accepted) assert.equal(run().id.path, '/agent/monitor/1')
      else assert.match(refusal(run).detail ?? '', /path length/)
      assert.equal(verify([forge({ signer: anchor })], trust(anchor)).id.path, '/agent/monitor/1')
    }
  })

  it('holds URI name constraints, permitted and excluded', () => {
    const cases: readonly [object, boolean][] = [
      [{ permitted: ['bank.test'] }, true],
      [{ permitted: ['other.test', 'bank.test'] }, true],
      [{ permitted: ['other.test'] }, false],
      [{ permitted: ['.bank.test'] }, false],
      [{ permitted: ['.test'] }, true],
      [{ excluded: ['bank.test'] }, false],
      [{ excluded: ['other.test'] }, true],
      [{ permitted: ['bank.test'], excluded: ['.test'] }, false],
    ]
    for (const [recipe, accepted] of cases) {
      const anchor = forgeRoot('bank.test', recipe)
      const run = () => verify([forge({ signer: anchor })], trust(anchor))
      if (accepted) assert.equal(run().id.trustDomain, 'bank.test')
      else assert.equal(refusal(run).code, 'SP_SVID_PROFILE', JSON.stringify(recipe))
    }
  })

  it('demands that key ids agree where both sides name one', () => {
    const id = (byte: number) => Buffer.alloc(20, byte)
    const named = forgeRoot('bank.test', { extra: [extension('2.5.29.14', false, octets(id(1)))] })
    const below = (byte: number) =>
      forge({
        signer: named,
        extra: [extension('2.5.29.35', false, sequence(der(0x80, id(byte))))],
      })
    assert.equal(verify([below(1)], trust(named)).id.path, '/agent/monitor/1')
    assert.equal(refusal(() => verify([below(2)], trust(named))).code, 'SP_SVID_UNTRUSTED')
  })

  it('refuses an expired root', () => {
    const old = forgeRoot('bank.test', { notAfter: now - 5000 })
    assert.equal(
      refusal(() => verify([forge({ signer: old })], trust(old))).code,
      'SP_SVID_EXPIRED',
    )
  })

  it('never authenticates a CA certificate, not even the root', () => {
    assert.match(refusal(() => verify([root])).detail ?? '', /CA certificate/)
  })

  it('refuses chains that are empty or too long', () => {
    assert.equal(refusal(() => verify([])).code, 'SP_SVID_MALFORMED')
    const leaf = forge({ signer: root })
    assert.equal(refusal(() => verify([leaf, root, root, root, root])).code, 'SP_SVID_MALFORMED')
    assert.equal(refusal(() => verify([leaf, root, root])).code, 'SP_SVID_UNTRUSTED')
  })

  it('refuses every one-byte change of a good leaf, and any cut or added byte, with a code of its own', () => {
    const { raw } = forge({ signer: root })
    const good = verify([{ raw } as Forged])
    fc.assert(
      fc.property(fc.nat(raw.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const copy = Buffer.from(raw)
        copy[at] = (copy[at] ?? 0) ^ flip
        // An ECDSA signature may have more than one accepted encoding only if DER were lax; nothing may pass.
        assert.match(
          refusal(() => verifySvid([copy], bundles, { now })).code,
          /^SP_(SVID_|SPIFFE_ID)/,
        )
      }),
      { numRuns: 800 },
    )
    for (let cut = 0; cut < raw.length; cut += 7) {
      const short = raw.subarray(0, cut)
      assert.equal(refusal(() => verifySvid([short], bundles, { now })).code, 'SP_SVID_MALFORMED')
    }
    const long = Buffer.concat([raw, Buffer.from([0])])
    assert.equal(refusal(() => verifySvid([long], bundles, { now })).code, 'SP_SVID_MALFORMED')
    assert.equal(good.id.trustDomain, 'bank.test')
  })

  it('survives hostile bytes with a code of its own', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        const error = refusal(() => verifySvid([Buffer.from(bytes)], bundles, { now }))
        assert.equal(error.code, 'SP_SVID_MALFORMED')
      }),
    )
  })
})

describe('TrustBundle', () => {
  it('reads roots and refuses all else', () => {
    assert.equal(TrustBundle.fromPem('bank.test', root.pem + forgeRoot().pem).authorities.length, 2)
    const code = (pem: string, domain = 'bank.test') =>
      refusal(() => TrustBundle.fromPem(domain, pem)).code
    assert.equal(code(''), 'SP_BUNDLE_INVALID')
    assert.equal(code('nonsense'), 'SP_BUNDLE_INVALID')
    assert.equal(code(root.keyPem), 'SP_BUNDLE_INVALID')
    assert.equal(code(root.pem + root.keyPem), 'SP_BUNDLE_INVALID')
    assert.equal(code(`${root.pem}trailing`), 'SP_BUNDLE_INVALID')
    assert.equal(code(forge({ signer: root }).pem), 'SP_SVID_PROFILE')
    assert.equal(code(root.pem, 'evil.test'), 'SP_SVID_PROFILE')
    assert.equal(code(root.pem, 'Bank.test'), 'SP_SPIFFE_ID')
  })

  it('gives back the very certificates', () => {
    assert.deepEqual(certificatesFromPem(root.pem), [root.raw])
  })
})
