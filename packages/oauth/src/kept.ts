import { errors } from 'oidc-provider'
import type { Adapter } from 'oidc-provider'
import { ArtefactAdapter, artefactHash, grantHash } from './artefacts.ts'
import { BACKCHANNEL_KIND, checkPoll, NOTIFICATION_TOKEN } from './backchannel.ts'
import type { Peer } from './call.ts'
import type { AuthorisationServerDeps } from './deps.ts'

/** Seconds that a request is known after its end, so that its client is told why. */
const TOLD = 600

type Deps = Pick<AuthorisationServerDeps, 'artefacts' | 'clock' | 'grants' | 'questions'>

/** Where oidc-provider keeps a kind of artefact, with what is asked besides of those that hang on a person's consent. */
export function keptArtefacts(kind: string, deps: Deps): Adapter {
  const { artefacts, clock, grants, questions } = deps
  const adapter: Adapter = new ArtefactAdapter(kind, artefacts, clock)
  const find = adapter.find.bind(adapter)
  if (kind === 'Grant') {
    const destroy = adapter.destroy.bind(adapter)
    // Whatever is redeemed comes by here: codes, requests out of band, refresh tokens.
    adapter.find = async (id) => ((await grants.holds(grantHash(id))) ? find(id) : undefined)
    adapter.destroy = async (id) => {
      // Only what was presented twice makes oidc-provider destroy one.
      await grants.end(grantHash(id), 'reused')
      await destroy(id)
    }
  }
  const consume = adapter.consume.bind(adapter)
  adapter.consume = async (id) => {
    try {
      await consume(id)
    } catch (error) {
      // Two at once are two holders: the one that lost the race is no less a second use, of whatever comes of a grant.
      const kept = error instanceof errors.InvalidGrant ? await find(id) : undefined
      const grantId = kept?.['grantId']
      if (typeof grantId === 'string') await grants.end(grantHash(grantId), 'reused')
      throw error
    }
  }
  if (kind === BACKCHANNEL_KIND) {
    const upsert = adapter.upsert.bind(adapter)
    adapter.upsert = (id, payload, seconds = 0) => upsert(id, withoutToken(payload), seconds + TOLD)
    adapter.find = async (id) => {
      const kept = await find(id)
      if (kept) await checkPoll(artefactHash(kind, id), kept, questions, clock.now())
      return kept
    }
  }
  return adapter
}

/** What a client is told with is a secret of its own: nothing that is kept here reads it. */
function withoutToken(payload: Readonly<Record<string, unknown>>): Record<string, unknown> {
  // Of a request, written by oidc-provider.
  const params = (payload['params'] ?? {}) as Readonly<Record<string, unknown>>
  const { [NOTIFICATION_TOKEN]: _secret, ...rest } = params
  return { ...payload, params: rest }
}

/** Ends the grant of a refresh token for the client that has it (RFC 7009, section 2.1); of every other text nothing comes. */
export async function endRefresh(
  token: string,
  peer: Peer | undefined,
  { artefacts, grants }: Pick<Deps, 'artefacts' | 'grants'>,
): Promise<void> {
  const found = await artefacts.find({ hash: artefactHash('RefreshToken', token) })
  if (!found) return
  // Written by oidc-provider, through the adapter.
  const { clientId, grantId } = JSON.parse(found.payload) as Readonly<Record<string, unknown>>
  if (peer === undefined || clientId !== peer.id || typeof grantId !== 'string') return
  await grants.end(grantHash(grantId), 'revoked')
}
