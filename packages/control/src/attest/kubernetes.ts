import { request } from 'node:https'
import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { Attestors, Network } from '@sallyport/network'
import { readJwkSet, readJws } from '@sallyport/spiffe'
import type { Evidence } from './x509pop.ts'
import { refuse } from './refuse.ts'

type Cluster = NonNullable<Attestors['kubernetes']>

/** Whose token it is. */
interface Account {
  readonly namespace: string
  readonly serviceAccount: string
  /** Of the pod, where the token is bound to one. */
  readonly pod?: string
}

const MAX_TOKEN = 8192
const MAX_ANSWER = 262_144
const TIMEOUT_MS = 5000
const MAX_REVIEWS = 8
const SKEW_MS = 60_000
/** No projected token lives longer than a day; what does is one of another kind. */
const MAX_LIFE_MS = 24 * 3_600_000 + SKEW_MS
const SUBJECT = /^system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})$/

export interface KubernetesDeps {
  /** The bearer token with which the API server is asked. @throws where there is none */
  readonly reviewerToken: () => Promise<string>
}

/**
 * Whose projected service account token this is: judged by the cluster's keys, by its API server, or by both, whatever of
 * them is declared.
 *
 * @throws SallyportError `SP_ATTESTATION_REFUSED`, `SP_ATTESTATION_UNAVAILABLE`
 */
export function kubernetesAttestor(
  deps: KubernetesDeps,
): (token: string, network: Network, now: number) => Promise<Evidence> {
  let reviews = 0
  return async (token, network, now) => {
    const { kubernetes: cluster } = network.attestors ?? {}
    if (!cluster) throw refuse('no `attestors.kubernetes` is declared')
    if (token.length > MAX_TOKEN) throw refuse('the token is too long')
    const accounts: Account[] = []
    if (cluster.keys !== undefined) accounts.push(judgeOffline(token, cluster, now))
    if (cluster.api) {
      if (reviews >= MAX_REVIEWS) throw unavailable('too many tokens are being reviewed')
      reviews++
      try {
        accounts.push(await review(token, cluster, await deps.reviewerToken()))
      } finally {
        reviews--
      }
    }
    const [account, second] = accounts
    if (!account) throw refuse('neither keys nor an API server are declared')
    if (second && !same(account, second)) throw refuse('keys and API server disagree')
    const { namespace, serviceAccount, pod } = account
    const matching = network.agents.filter(
      ({ attest }) =>
        attest?.kubernetes?.namespace === namespace &&
        attest.kubernetes.serviceAccount === serviceAccount,
    )
    const [agent, ...others] = matching
    if (!agent || others.length > 0) {
      throw refuse(`no one agent is declared for ${namespace}/${serviceAccount}`)
    }
    return {
      agent: agent.name,
      by: `kubernetes:${namespace}/${serviceAccount}${pod === undefined ? '' : `/${pod}`}`,
    }
  }
}

const same = (a: Account, b: Account): boolean =>
  a.namespace === b.namespace && a.serviceAccount === b.serviceAccount && a.pod === b.pod

/** By the cluster's own keys (JWKS). What it cannot see: a pod or an account that is deleted meanwhile. */
function judgeOffline(token: string, cluster: Cluster, now: number): Account {
  let claims: JsonValue
  try {
    const jws = readJws(token)
    const { kid } = jws.header
    const key = typeof kid === 'string' ? readJwkSet(cluster.keys ?? '').get(kid) : undefined
    if (!key) throw refuse('the token is signed with no key of the cluster')
    jws.verify(key)
    claims = parseJson(jws.payload, { maxBytes: MAX_TOKEN })
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'SP_ATTESTATION_REFUSED') throw error
    throw refuse(error instanceof SallyportError ? (error.detail ?? error.message) : '', error)
  }
  const { iss, aud, exp, iat, nbf, sub, 'kubernetes.io': bound } = members(claims)
  if (iss !== cluster.issuer) throw refuse('the token has another issuer')
  const audiences: readonly JsonValue[] = Array.isArray(aud) ? aud : [aud ?? null]
  if (!audiences.includes(cluster.audience)) throw refuse('the token is for another audience')
  if (typeof exp !== 'number' || !(now < exp * 1000)) throw refuse('the token has expired')
  if (typeof iat !== 'number' || (exp - iat) * 1000 > MAX_LIFE_MS) {
    throw refuse('the token is none that was projected for a short while')
  }
  for (const start of [iat, nbf]) {
    if (start === undefined) continue
    if (typeof start !== 'number' || start * 1000 > now + SKEW_MS) {
      throw refuse('the token is not yet valid')
    }
  }
  const { namespace, serviceaccount, pod } = members(bound)
  const account = accountOf(sub, members(pod)['uid'])
  const named = members(serviceaccount)['name']
  if (namespace !== account.namespace || named !== account.serviceAccount) {
    throw refuse('the token does not agree with itself')
  }
  return account
}

/** By the API server (TokenReview, authentication.k8s.io/v1), which also knows what was deleted. */
async function review(token: string, cluster: Cluster, reviewer: string): Promise<Account> {
  const answer = members(
    await post(cluster, reviewer, {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      spec: { token, audiences: [cluster.audience] },
    }),
  )
  if (answer['kind'] !== 'TokenReview') throw unavailable('the API server gave another answer')
  const { authenticated, user, audiences } = members(answer['status'])
  if (authenticated !== true) throw refuse('the API server does not know the token')
  // A server that does not know audiences leaves them out, and has judged the token for its own.
  if (!Array.isArray(audiences) || !audiences.includes(cluster.audience)) {
    throw refuse('the API server judged the token for another audience')
  }
  const { username, extra } = members(user)
  const uids = members(extra)['authentication.kubernetes.io/pod-uid']
  return accountOf(username, Array.isArray(uids) ? uids[0] : undefined)
}

function accountOf(subject: JsonValue | undefined, pod: JsonValue | undefined): Account {
  const match = typeof subject === 'string' ? SUBJECT.exec(subject) : null
  if (!match) throw refuse('the token is not of a service account')
  const [, namespace = '', serviceAccount = ''] = match
  if (pod === undefined) return { namespace, serviceAccount }
  if (typeof pod !== 'string' || !/^[A-Za-z0-9-]{1,64}$/.test(pod)) {
    throw refuse('the token names its pod in a way that none has')
  }
  return { namespace, serviceAccount, pod }
}

function post(cluster: Cluster, reviewer: string, body: object): Promise<JsonValue> {
  const { url = '', ca = '' } = cluster.api ?? {}
  const text = Buffer.from(JSON.stringify(body))
  return new Promise((resolve, reject) => {
    const asked = request(
      `${url.replace(/\/$/, '')}/apis/authentication.k8s.io/v1/tokenreviews`,
      {
        method: 'POST',
        ca,
        minVersion: 'TLSv1.2',
        // Made for this one question: no connection of another one is used again.
        agent: false,
        headers: {
          authorization: `Bearer ${reviewer}`,
          'content-type': 'application/json',
          'content-length': text.length,
          accept: 'application/json',
        },
        signal: AbortSignal.timeout(TIMEOUT_MS),
      },
      (answer) => {
        const chunks: Buffer[] = []
        let size = 0
        answer.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > MAX_ANSWER) answer.destroy(new Error('its answer is too large'))
          else chunks.push(chunk)
        })
        answer.on('error', (cause) => {
          reject(unavailable(cause.message))
        })
        answer.on('end', () => {
          // Redirections are not followed: they would carry the token elsewhere.
          if (answer.statusCode !== 201 && answer.statusCode !== 200) {
            reject(unavailable(`the API server answered with status ${answer.statusCode}`))
            return
          }
          try {
            resolve(parseJson(Buffer.concat(chunks)))
          } catch {
            reject(unavailable('the API server gave no JSON'))
          }
        })
      },
    )
    asked.on('error', (cause) => {
      reject(unavailable(cause.message))
    })
    asked.end(text)
  })
}

type Members = Readonly<Record<string, JsonValue>>

function members(value: JsonValue | undefined): Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? // Narrowed to a JSON object.
      (value as Members)
    : {}
}

function unavailable(detail: string): SallyportError {
  return new SallyportError('SP_ATTESTATION_UNAVAILABLE', 'the attestation cannot be checked now', {
    detail,
    fix: 'see whether the API server of the cluster answers, and the token that it is asked with',
  })
}
