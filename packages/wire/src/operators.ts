import { canonicalJson, SallyportError } from '@sallyport/base'
import { genesisSigned } from './bundle.ts'
import { readCoseKey } from './cose.ts'
import { verifyQuorum } from './quorum.ts'
import type { Bundle, OperatorKey, OperatorLink, OperatorSet, TrustPins } from './types.ts'

/**
 * Follows the chain of operator sets from the one last seen to the one that the bundle carries: version 1 by the genesis
 * key, version k+1 by a quorum of version k (of all its admins, where the set has fewer than its quorum: how the second
 * operator joins the first).
 *
 * @param seen the set of the last accepted bundle
 * @returns each set from the one seen last on, oldest first; none before the first operator
 * @throws SallyportError `SP_BUNDLE_OPERATORS`
 */
export function operatorChain(
  seen: OperatorSet | undefined,
  carried: Bundle['operators'],
  pins: Pick<TrustPins, 'genesisKey'>,
): readonly OperatorSet[] {
  if (!carried) {
    if (seen) throw broken('it drops the operator set')
    return []
  }
  const { history = [], ...last } = carried
  const links = [...history, last]
  if (seen && last.set.version < seen.version)
    throw broken('its operator set is older than one seen')
  const chain = seen ? [seen] : []
  for (const link of links) {
    const current = chain.at(-1)
    if (current && link.set.version < current.version) continue
    if (current && link.set.version === current.version) {
      if (canonicalJson(link.set) !== canonicalJson(current))
        throw broken('two sets of one version')
      continue
    }
    chain.push(nextSet(current, link, pins))
  }
  return chain
}

function nextSet(
  current: OperatorSet | undefined,
  link: OperatorLink,
  pins: Pick<TrustPins, 'genesisKey'>,
): OperatorSet {
  const { set, genesisSignature, signatures } = link
  if (set.version !== (current?.version ?? 0) + 1) throw broken('a version is missing in the chain')
  checkSet(set)
  if (!current) {
    if (genesisSignature === undefined || !genesisSigned(set, genesisSignature, pins)) {
      throw broken('version 1 is not signed with the genesis key')
    }
    return set
  }
  const admins = new Set(
    current.keys.filter((k) => k.roles.includes('admin')).map((k) => k.operator),
  )
  const quorum = Math.max(1, Math.min(current.quorum, admins.size))
  try {
    verifyQuorum({ kind: 'operators', set }, signatures, current, { quorum, roles: ['admin'] })
  } catch (cause) {
    throw broken(`version ${set.version} lacks a quorum of the version before`, cause)
  }
  return set
}

function checkSet(set: OperatorSet): void {
  if (set.keys.length === 0 || !areDistinct(set.keys)) {
    throw broken('a set has no key, or the same key twice')
  }
}

/**
 * Whether no two of these keys are one, however they are spelt: a COSE key has many spellings, and what one passkey signs must
 * not count for two operators. No set with such a pair is accepted by gateways.
 */
export function areDistinct(keys: readonly OperatorKey[]): boolean {
  const ids = new Set(keys.map(({ credentialId }) => credentialId))
  const points = new Set(keys.map(({ publicKey }) => spelt(publicKey)))
  return ids.size === keys.length && points.size === keys.length
}

/** One text for each key. One that cannot be read verifies nothing, and is only itself. */
function spelt(publicKey: string): string {
  try {
    const { key } = readCoseKey(Buffer.from(publicKey, 'base64url'))
    return key.export({ format: 'der', type: 'spki' }).toString('base64url')
  } catch {
    return `unread ${publicKey}`
  }
}

function broken(detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_BUNDLE_OPERATORS', 'the bundle breaks the chain of operator sets', {
    detail,
    cause,
  })
}
