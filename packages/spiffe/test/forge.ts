/** Makes certificates that no honest issuer would make; for tests of spiffe and of transport. */
import { generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

import {
  bits,
  boolean,
  der,
  namedBits,
  octets,
  oid,
  pem,
  sequence,
  set,
  time,
  unsigned,
} from '../src/der-write.ts'

export interface Forged {
  readonly raw: Buffer
  readonly pem: string
  readonly keyPem: string
  readonly key: KeyObject
  readonly subject: Buffer
}

export interface Recipe {
  readonly signer?: Forged
  /** Instead of a fresh P-256 key. */
  readonly keys?: { readonly privateKey: KeyObject; readonly publicKey: KeyObject }
  /** Common name; empty for an empty subject. */
  readonly name?: string
  readonly uris?: readonly string[]
  readonly dns?: readonly string[]
  readonly sanCritical?: boolean
  /** `null` leaves the extension out. */
  readonly ca?: boolean | null
  readonly caCritical?: boolean
  readonly pathLength?: number
  /** Bit numbers; `null` leaves the extension out. */
  readonly usage?: readonly number[] | null
  readonly usageCritical?: boolean
  readonly extended?: readonly string[] | null
  readonly permitted?: readonly string[]
  readonly excluded?: readonly string[]
  readonly extra?: readonly Buffer[]
  /** DER of a certificate that the leaf encloses as its signer's. */
  readonly encloses?: Buffer
  readonly notBefore?: number
  readonly notAfter?: number
  /** X.509 version field: 2 is version 3. */
  readonly version?: number
  /** Breaks the signature. */
  readonly tamper?: boolean
}

const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
const HOUR = 3_600_000

const uri = (text: string): Buffer => der(0x86, Buffer.from(text, 'latin1'))

export function extension(id: string, critical: boolean, value: Buffer): Buffer {
  return sequence(oid(id), ...(critical ? [boolean(true)] : []), octets(value))
}

/** A good leaf by default, with each part to be spoiled by name. */
export function forge(recipe: Recipe = {}): Forged {
  const { privateKey: key, publicKey } =
    recipe.keys ?? generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const name = recipe.name ?? 'forged'
  const subject =
    name === '' ? sequence() : sequence(set(sequence(oid('2.5.4.3'), der(0x0c, Buffer.from(name)))))
  const signerKey = recipe.signer?.key ?? key
  const now = Date.now()
  const ca = recipe.ca === undefined ? false : recipe.ca
  const extensions: Buffer[] = []
  if (ca !== null) {
    const length = recipe.pathLength
    extensions.push(
      extension(
        '2.5.29.19',
        recipe.caCritical ?? true,
        sequence(
          ...(ca ? [boolean(true)] : []),
          ...(length === undefined ? [] : [unsigned(Buffer.from([length]))]),
        ),
      ),
    )
  }
  const usage = recipe.usage === undefined ? (ca ? [5, 6] : [0]) : recipe.usage
  if (usage !== null) {
    extensions.push(extension('2.5.29.15', recipe.usageCritical ?? true, namedBits(...usage)))
  }
  const extended =
    recipe.extended === undefined ? (ca ? null : [SERVER_AUTH, CLIENT_AUTH]) : recipe.extended
  if (extended !== null) {
    extensions.push(extension('2.5.29.37', false, sequence(...extended.map((id) => oid(id)))))
  }
  const names = [
    ...(recipe.uris ?? ['spiffe://bank.test/agent/monitor/1']).map(uri),
    ...(recipe.dns ?? []).map((text) => der(0x82, Buffer.from(text))),
  ]
  if (names.length > 0) {
    extensions.push(extension('2.5.29.17', recipe.sanCritical ?? true, sequence(...names)))
  }
  if (recipe.permitted || recipe.excluded) {
    const trees = (tag: number, list: readonly string[] | undefined): Buffer[] =>
      list ? [der(tag, ...list.map((base) => sequence(uri(base))))] : []
    extensions.push(
      extension(
        '2.5.29.30',
        true,
        sequence(...trees(0xa0, recipe.permitted), ...trees(0xa1, recipe.excluded)),
      ),
    )
  }
  extensions.push(...(recipe.extra ?? []))
  if (recipe.encloses) {
    const location = uri(`data:application/pkix-cert;base64,${recipe.encloses.toString('base64')}`)
    extensions.push(
      extension(
        '1.3.6.1.5.5.7.1.1',
        false,
        sequence(sequence(oid('1.3.6.1.5.5.7.48.2'), location)),
      ),
    )
  }
  const algorithm = sequence(oid('1.2.840.10045.4.3.2'))
  const serial = randomBytes(16)
  serial[0] = 0x41
  const tbs = sequence(
    der(0xa0, unsigned(Buffer.from([recipe.version ?? 2]))),
    unsigned(serial),
    algorithm,
    recipe.signer?.subject ?? subject,
    sequence(time(recipe.notBefore ?? now - HOUR), time(recipe.notAfter ?? now + HOUR)),
    subject,
    publicKey.export({ format: 'der', type: 'spki' }),
    der(0xa3, sequence(...extensions)),
  )
  const signature = sign('sha256', tbs, signerKey)
  if (recipe.tamper) signature[signature.length - 1] = (signature.at(-1) ?? 0) ^ 1
  const raw = sequence(tbs, algorithm, bits(signature))
  return {
    raw,
    pem: pem('CERTIFICATE', raw),
    keyPem: key.export({ format: 'pem', type: 'pkcs8' }).toString(),
    key,
    subject,
  }
}

export function forgeRoot(trustDomain = 'bank.test', recipe: Recipe = {}): Forged {
  return forge({
    name: `root of ${trustDomain}`,
    ca: true,
    uris: [`spiffe://${trustDomain}`],
    sanCritical: false,
    ...recipe,
  })
}

/** A signing certificate below a root, good by default. */
export function forgeSigner(root: Forged, recipe: Recipe = {}): Forged {
  const uris = ['spiffe://bank.test']
  return forge({ signer: root, name: 'mid', ca: true, uris, sanCritical: false, ...recipe })
}

/** A leaf that encloses its signer's certificate. */
function below(signer: Forged, encloses: Buffer = signer.raw): Forged {
  return forge({ signer, encloses })
}

/** Leaves that must never authenticate, and the rule that each breaks; every one is well signed by `root`. */
export function badLeaves(
  root: Forged,
): { name: string; leaf: Forged; code: string; detail?: RegExp }[] {
  const leaf = (recipe: Recipe): Forged => forge({ signer: root, ...recipe })
  const now = Date.now()
  const profile = (name: string, recipe: Recipe, detail: RegExp) => ({
    name,
    leaf: leaf(recipe),
    code: 'SP_SVID_PROFILE',
    detail,
  })
  return [
    profile(
      'two URI names',
      { uris: ['spiffe://bank.test/agent/monitor/1', 'spiffe://bank.test/agent/flagger/1'] },
      /more than one URI/,
    ),
    profile(
      'a second URI that is not SPIFFE',
      { uris: ['spiffe://bank.test/agent/monitor/1', 'https://bank.test/'] },
      /more than one URI/,
    ),
    profile(
      'CA:TRUE',
      { ca: true, usage: [0], extended: [SERVER_AUTH, CLIENT_AUTH] },
      /CA certificate/,
    ),
    profile('keyCertSign', { usage: [0, 5] }, /keyCertSign/),
    profile('cRLSign', { usage: [0, 6] }, /cRLSign/),
    profile('no key usage', { usage: null }, /key usage is absent/),
    profile('key usage not critical', { usageCritical: false }, /key usage is not critical/),
    profile('no digitalSignature', { usage: [4] }, /digitalSignature/),
    profile('no extended key usage', { extended: null }, /extended key usage is absent/),
    profile('no clientAuth', { extended: [SERVER_AUTH] }, /clientAuth/),
    profile('no serverAuth', { extended: [CLIENT_AUTH] }, /serverAuth/),
    profile('no SPIFFE path', { uris: ['spiffe://bank.test'] }, /no path/),
    profile('no URI at all', { uris: [], dns: ['bank.test'] }, /no URI/),
    profile(
      'unknown critical extension',
      { extra: [extension('1.3.6.1.4.1.99999.1', true, octets(Buffer.from([1])))] },
      /critical extension/,
    ),
    profile('name constraints', { permitted: ['bank.test'] }, /name constraints on a leaf/),
    profile(
      'empty subject without critical names',
      { name: '', sanCritical: false },
      /not critical though/,
    ),
    {
      name: 'an https URI',
      leaf: leaf({ uris: ['https://bank.test/agent/monitor/1'] }),
      code: 'SP_SPIFFE_ID',
    },
    {
      name: '/../ in the path',
      leaf: leaf({ uris: ['spiffe://bank.test/agent/../gateway/1'] }),
      code: 'SP_SPIFFE_ID',
    },
    {
      name: 'a NUL inside the URI',
      leaf: leaf({ uris: ['spiffe://bank.test/agent/monitor\0/1'] }),
      code: 'SP_SPIFFE_ID',
    },
    {
      name: 'a foreign trust domain',
      leaf: leaf({ uris: ['spiffe://evil.test/agent/monitor/1'] }),
      code: 'SP_SVID_FOREIGN',
    },
    {
      name: 'expired',
      leaf: leaf({ notBefore: now - 2 * HOUR, notAfter: now - 5000 }),
      code: 'SP_SVID_EXPIRED',
    },
    {
      name: 'not yet valid',
      leaf: leaf({ notBefore: now + HOUR, notAfter: now + 2 * HOUR }),
      code: 'SP_SVID_NOT_YET_VALID',
    },
    { name: 'a broken signature', leaf: leaf({ tamper: true }), code: 'SP_SVID_UNTRUSTED' },
    { name: 'self-signed', leaf: forge({}), code: 'SP_SVID_UNTRUSTED' },
    {
      name: 'signed by the root, but naming another issuer',
      leaf: leaf({ signer: { ...root, subject: forge({ name: 'other' }).subject } }),
      code: 'SP_SVID_UNTRUSTED',
    },
    {
      name: 'forged under the same root name',
      leaf: forge({ signer: forgeRoot() }),
      code: 'SP_SVID_UNTRUSTED',
    },
    {
      name: 'an enclosed signer without cA',
      leaf: below(forgeSigner(root, { ca: false, usage: [5] })),
      code: 'SP_SVID_PROFILE',
      detail: /without cA/,
    },
    {
      name: 'an enclosed signer that has expired',
      leaf: below(forgeSigner(root, { notBefore: now - 2 * HOUR, notAfter: now - 5000 })),
      code: 'SP_SVID_EXPIRED',
    },
    {
      name: 'an enclosed signer of another root',
      leaf: below(forgeSigner(forgeRoot())),
      code: 'SP_SVID_UNTRUSTED',
    },
    {
      name: 'an enclosed signer that did not sign',
      leaf: below(forgeSigner(root), forgeSigner(root).raw),
      code: 'SP_SVID_UNTRUSTED',
    },
    {
      name: 'an enclosed signer that encloses one more',
      leaf: below(forgeSigner(forgeSigner(root), { encloses: root.raw })),
      code: 'SP_SVID_UNTRUSTED',
    },
    {
      name: 'an enclosed signer that is no certificate',
      leaf: below(forgeSigner(root), Buffer.from('nonsense')),
      code: 'SP_SVID_MALFORMED',
    },
    { name: 'version 1 field', leaf: leaf({ version: 0 }), code: 'SP_SVID_MALFORMED' },
    {
      name: 'an extension twice',
      leaf: leaf({
        extra: [extension('2.5.29.37', false, sequence(oid(SERVER_AUTH), oid(CLIENT_AUTH)))],
      }),
      code: 'SP_SVID_MALFORMED',
    },
  ]
}
