import { parseJson, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { createClientAuthority } from '@sallyport/spiffe'
import type { ClientAuthority } from '@sallyport/spiffe'
import type { SecretStore } from './kv.ts'

/** Where its key is sealed. The first segment is no path that `secret put` takes: nothing is declared for it. */
const PATH = 'sallyport/database-clients'
const TTL_SECONDS = 10 * 365 * 86_400

/**
 * The authority that signs certificates for roles in databases, and nothing else: made on first use, sealed under the barrier, apart
 * from the trust root.
 */
export function databaseAuthority(deps: {
  readonly secrets: SecretStore
  readonly clock: Clock
  readonly trustDomain: string
}): () => Promise<ClientAuthority> {
  let known: ClientAuthority | undefined
  const read = async (): Promise<ClientAuthority> => {
    const { value } = await deps.secrets.get(PATH)
    return authorityFrom(value)
  }
  return async () => {
    if (known) return known
    try {
      known = await read()
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code !== 'SP_SECRET_UNKNOWN') throw error
      const name = `${deps.trustDomain.slice(0, 40)} database clients`.replaceAll(/[^\w.-]/g, '-')
      const now = deps.clock.now()
      const made = createClientAuthority({ name, ttlSeconds: TTL_SECONDS, now })
      const value = Buffer.from(JSON.stringify(made))
      try {
        await deps.secrets.put({ path: PATH, value, by: 'control', cas: 0, keep: 1 })
        known = made
      } catch (conflict) {
        // Another control plane was first: its authority is everybody's.
        if (!(conflict instanceof SallyportError) || conflict.code !== 'SP_SECRET_CONFLICT') {
          throw conflict
        }
        known = await read()
      }
    }
    return known
  }
}

function authorityFrom(value: Buffer): ClientAuthority {
  const parsed = parseJson(value)
  if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) {
    // Narrowed to a JSON object; both members are checked.
    const { certificatePem, privateKeyPem } = parsed as Partial<Record<string, unknown>>
    if (typeof certificatePem === 'string' && typeof privateKeyPem === 'string') {
      return { certificatePem, privateKeyPem }
    }
  }
  throw new SallyportError('SP_INTERNAL', 'the authority of database clients cannot be read')
}
