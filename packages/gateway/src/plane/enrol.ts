import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { errorCode, SallyportError } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import { certificatesFromPem, csrFor, gatewayId, TrustBundle, verifySvid } from '@sallyport/spiffe'
import { IdentityHolder } from '@sallyport/transport'
import type { IdentityMaterial } from '@sallyport/transport'
import type { TrustPins } from '@sallyport/wire'
import { readJsonFile, writeDurably } from '../state/files.ts'
import { isObject } from '../adapters/jsonrpc.ts'
import { PlaneClient } from './client.ts'
import type { PlaneTarget } from './client.ts'

export interface EnrolOptions {
  readonly id: string
  readonly dataDir: string
  readonly control: PlaneTarget
  readonly pins: TrustPins
  /** PEM of the roots that are trusted now. */
  readonly roots: () => string
  /** PEM of the roots by which the control plane is reached to enrol: those, and what was given by hand for this start. */
  readonly enrolRoots: string
  readonly joinToken: string | undefined
  readonly clock: Clock
  readonly timeoutMs: number
}

const FILE = 'identity.json'
const UNUSABLE: ReadonlySet<string> = new Set(['SP_SVID_EXPIRED', 'SP_SVID_UNTRUSTED'])

/**
 * The gateway's identity: enrolled with the join token where one is given, else the one kept from before. A token that
 * was spent by an earlier start is no failure while the kept identity lasts.
 *
 * @throws SallyportError `SP_GATEWAY_IDENTITY` where there is neither, and what enrolment threw
 */
export async function establishIdentity(options: EnrolOptions): Promise<IdentityHolder> {
  const kept = await loadIdentity(options)
  if (options.joinToken === undefined) {
    if (kept) return new IdentityHolder(kept)
    throw new SallyportError('SP_GATEWAY_IDENTITY', 'the gateway has no valid identity', {
      fix: 'start it with a fresh join token: `sallyport agent enroll ID --kind gateway > FILE`, then `--token-file FILE`',
    })
  }
  try {
    return new IdentityHolder(await enrol(options, options.joinToken))
  } catch (error) {
    if (kept && errorCode(error) === 'SP_CONTROL_REFUSED') return new IdentityHolder(kept)
    throw error
  }
}

/** Persists an identity before anything uses it: the one before it is superseded the moment control issued this. */
export async function keepIdentity(dataDir: string, material: IdentityMaterial): Promise<void> {
  await writeDurably(join(dataDir, FILE), JSON.stringify(material))
}

async function loadIdentity(options: EnrolOptions): Promise<IdentityMaterial | undefined> {
  const kept = await readJsonFile(join(options.dataDir, FILE))
  if (kept === undefined) return undefined
  try {
    return checked(kept, text(kept, 'keyPem'), options)
  } catch (error) {
    // Under a root that was retired meanwhile it is as good as expired.
    if (UNUSABLE.has(errorCode(error))) return undefined
    throw error
  }
}

async function enrol(options: EnrolOptions, token: string): Promise<IdentityMaterial> {
  const { trustDomain } = options.pins
  const client = new PlaneClient({
    target: options.control,
    identity: { trustDomain, rootsPem: options.enrolRoots },
    clock: options.clock,
    timeoutMs: options.timeoutMs,
  })
  try {
    const { keyPem, csr } = newKey()
    const { body } = await client.request({
      method: 'POST',
      path: '/v1/enroll',
      body: { token, csr },
    })
    const terms = { ...options, roots: () => options.enrolRoots }
    const material = checked({ ...body, chainPem: text(body, 'chain') }, keyPem, terms)
    await keepIdentity(options.dataDir, material)
    return material
  } finally {
    await client.close()
  }
}

/** A fresh P-256 key and a request for it. */
export function newKey(): { readonly keyPem: string; readonly csr: string } {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const keyPem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  return { keyPem, csr: csrFor(privateKey) }
}

/**
 * What the control plane answered, verified against the trusted roots: it must be this gateway's own SVID. Roots come from
 * the pins and the bundles that were taken, whatever the answer says of them.
 */
export function checked(
  answer: JsonValue,
  keyPem: string,
  options: Pick<EnrolOptions, 'id' | 'pins' | 'roots' | 'clock'>,
): IdentityMaterial {
  const { trustDomain } = options.pins
  const roots = options.roots()
  const chainPem = text(answer, 'chainPem')
  const bundle = TrustBundle.fromPem(trustDomain, roots)
  const svid = verifySvid(certificatesFromPem(chainPem), new Map([[trustDomain, bundle]]), {
    now: options.clock.now(),
  })
  if (svid.id.uri !== gatewayId(trustDomain, options.id)) {
    throw new SallyportError('SP_GATEWAY_IDENTITY', 'the certificate is not this gateway’s', {
      detail: `it is ${svid.id.uri}`,
      fix: 'ask for a join token of kind `gateway` with this gateway’s id',
    })
  }
  return { chainPem, keyPem, rootsPem: roots, trustDomain, notAfter: svid.notAfter }
}

function text(from: JsonValue, name: string): string {
  const value = isObject(from) ? from[name] : undefined
  if (typeof value === 'string') return value
  throw new SallyportError('SP_GATEWAY_IDENTITY', 'the identity cannot be read', {
    detail: `\`${name}\` is not a text`,
    fix: 'start the gateway with a fresh join token',
  })
}
