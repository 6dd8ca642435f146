import { createHmac, randomBytes } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { errorCode, SallyportError } from '@sallyport/base'
import type { IdentityProvider } from '@sallyport/network'
import * as client from 'openid-client'
import type { Configuration } from 'openid-client'
import type { ControlContext } from '../domain/context.ts'
import type { SignIn } from '../domain/sessions.ts'

const ANSWER_MS = 5000
const MAX_ANSWER_BYTES = 262_144
const MAX_SECRET_BYTES = 4096
const KNOWN_MS = 10 * 60_000
const TOLERANCE_SECONDS = 30
const MAX_GROUPS = 500
/** What an account is called in records: printable, no spaces. */
const SUBJECT = /^[\x21-\x7e]{1,255}$/

type Federated = Extract<SignIn, { method: 'oidc' }>

/**
 * Signing in at declared identity providers (OpenID Connect Core 1.0, authorization code flow): PKCE with S256 (RFC 7636), `nonce`, `state`
 * bound to the browser, `iss` (RFC 9207), one exact redirect URI. Only what the signed ID token says counts.
 */
export class IdentityProviders {
  readonly #context: ControlContext
  readonly #redirectUri: string
  readonly #onError: (error: unknown) => void
  readonly #known = new Map<
    string,
    { readonly until: number; readonly metadata: client.ServerMetadata }
  >()

  /** @param origin of the console; people come back to `ORIGIN/signed-in` */
  constructor(context: ControlContext, origin: string, onError: (error: unknown) => void) {
    this.#context = context
    this.#redirectUri = `${origin}/signed-in`
    this.#onError = onError
  }

  list(): readonly { readonly name: string }[] {
    return this.#declared()
      .filter(({ disabled }) => !disabled)
      .map(({ name }) => ({ name }))
  }

  /**
   * @returns where to send the browser, and `key`, which the page keeps and shows when the browser is back: without it nobody can use the
   *   answer, nor have somebody else use theirs
   * @throws SallyportError `SP_IDP_UNKNOWN`, `SP_IDP_UNREACHABLE`
   */
  async begin(name: string): Promise<{ readonly url: string; readonly key: string }> {
    const provider = this.#find(name)
    const config = await this.#configOf(provider)
    const key = randomBytes(32).toString('base64url')
    const state = derived(key, 'state')
    await this.#context.operators.keepChallenge(state, purposeOf(name))
    const url = client.buildAuthorizationUrl(config, {
      redirect_uri: this.#redirectUri,
      response_type: 'code',
      scope: 'openid profile',
      state,
      nonce: derived(key, 'nonce'),
      code_challenge: await client.calculatePKCECodeChallenge(derived(key, 'verifier')),
      code_challenge_method: 'S256',
    })
    return { url: url.href, key }
  }

  /**
   * @param search the query with which the browser came back
   * @throws SallyportError `SP_IDP_UNKNOWN`, `SP_IDP_UNREACHABLE`, `SP_IDP_REFUSED`
   */
  async finish(name: string, key: string, search: string): Promise<Federated> {
    const provider = this.#find(name)
    const config = await this.#configOf(provider)
    const state = derived(key, 'state')
    // Spent whatever comes of it: an answer is tried once.
    if (!(await this.#context.operators.takeChallenge(state, purposeOf(name)))) {
      throw refused('this sign-in was not begun here, is over, or took too long')
    }
    const given = new URLSearchParams(search)
    for (const member of ['code', 'state', 'iss', 'error']) {
      if (given.getAll(member).length > 1) throw refused(`\`${member}\` came twice`)
    }
    const answer = new URL(this.#redirectUri)
    answer.search = given.toString()
    let tokens: Awaited<ReturnType<typeof client.authorizationCodeGrant>>
    try {
      tokens = await client.authorizationCodeGrant(config, answer, {
        expectedState: state,
        expectedNonce: derived(key, 'nonce'),
        pkceCodeVerifier: derived(key, 'verifier'),
        idTokenExpected: true,
      })
    } catch (cause) {
      throw this.#failed(provider, cause)
    }
    try {
      return accountOf(provider, tokens.claims())
    } catch (error) {
      this.#onError(error)
      throw error
    }
  }

  #declared(): readonly IdentityProvider[] {
    return this.#context.bundles.index().network.identityProviders ?? []
  }

  #find(name: string): IdentityProvider {
    const provider = this.#declared().find((one) => one.name === name && !one.disabled)
    if (provider) return provider
    throw new SallyportError('SP_IDP_UNKNOWN', 'there is no such identity provider')
  }

  async #configOf(provider: IdentityProvider): Promise<Configuration> {
    try {
      const metadata = await this.#metadataOf(provider)
      return await this.#configured(provider, metadata)
    } catch (cause) {
      throw this.#failed(provider, cause)
    }
  }

  async #metadataOf(provider: IdentityProvider): Promise<client.ServerMetadata> {
    const { issuer: declared, clientId } = provider
    const now = this.#context.clock.monotonic()
    const known = this.#known.get(declared)
    if (known && now < known.until) return known.metadata
    const issuer = new URL(declared)
    const found = await client.discovery(issuer, clientId, undefined, client.None(), {
      [client.customFetch]: boundedFetch(issuer),
      timeout: ANSWER_MS / 1000,
      execute: isPlain(issuer) ? [client.allowInsecureRequests] : [],
    })
    const metadata = found.serverMetadata()
    // The library compares addresses; tokens are judged letter by letter.
    if (metadata.issuer !== declared) throw new Error('the issuer is another one')
    this.#known.set(declared, { until: now + KNOWN_MS, metadata })
    return metadata
  }

  async #configured(
    { issuer: declared, clientId, clientSecretFile }: IdentityProvider,
    metadata: client.ServerMetadata,
  ): Promise<Configuration> {
    const issuer = new URL(declared)
    const methods = metadata.token_endpoint_auth_methods_supported
    // Read each time, so that a secret can be replaced.
    const secret = clientSecretFile === undefined ? undefined : await this.#secret(clientSecretFile)
    const basic = methods === undefined || methods.includes('client_secret_basic')
    const confidential = basic ? client.ClientSecretBasic : client.ClientSecretPost
    const times = {
      [client.clockTolerance]: TOLERANCE_SECONDS,
      // The library judges times by the machine's clock; ours may be another.
      [client.clockSkew]: Math.round((this.#context.clock.now() - Date.now()) / 1000),
    }
    const authentication = secret === undefined ? client.None() : confidential(secret)
    const config = new client.Configuration(metadata, clientId, times, authentication)
    config.timeout = ANSWER_MS / 1000
    config[client.customFetch] = boundedFetch(issuer)
    if (isPlain(issuer)) client.allowInsecureRequests(config)
    // TLS to the token endpoint is not enough here: the signature is what counts.
    client.enableNonRepudiationChecks(config)
    return config
  }

  async #secret(file: string): Promise<string> {
    const path = resolve(this.#context.dataDir, file)
    const { mode, size } = await stat(path)
    if ((mode & 0o077) !== 0 || size > MAX_SECRET_BYTES) {
      throw new SallyportError(
        'SP_IDP_SECRET',
        'the client secret of an identity provider is open',
        {
          detail: path,
          fix: 'find out who could read it, replace it, then `chmod 600` the file',
        },
      )
    }
    return (await readFile(path, 'utf8')).trim()
  }

  /** Strangers learn that it failed; why is told to whoever runs the control plane. */
  #failed({ name }: IdentityProvider, cause: unknown): SallyportError {
    const detail = `${name}: ${reasonOf(cause)}`
    const away = isAway(cause)
    const error = away
      ? new SallyportError('SP_IDP_UNREACHABLE', 'the identity provider does not answer', {
          detail,
          cause,
          fix: 'Sign in with your passkey meanwhile.',
        })
      : refused(detail, cause)
    this.#onError(error)
    return error
  }
}

/** @throws SallyportError `SP_IDP_REFUSED` */
function accountOf(provider: IdentityProvider, claims: client.IDToken | undefined): Federated {
  if (!claims) throw refused('there is no ID token')
  if (!SUBJECT.test(claims.sub)) throw refused('`sub` is no plain name')
  const { claim, map } = provider.groups
  const groups = Object.hasOwn(claims, claim) ? claims[claim] : undefined
  // A text would be searched letter by letter somewhere; a list is what was declared.
  if (!Array.isArray(groups) || groups.length > MAX_GROUPS) {
    throw refused(`\`${claim}\` of the ID token is no list of groups`)
  }
  const named = groups.filter((group): group is string => typeof group === 'string')
  if (named.length < groups.length) throw refused(`\`${claim}\` of the ID token names no groups`)
  const own = named.filter((group) => Object.hasOwn(map, group))
  if (own.length === 0) throw refused('the account is in no group that has a role here')
  const name = claims['name']
  const displayName = typeof name === 'string' ? name.slice(0, 128) : claims.sub
  return { method: 'oidc', provider: provider.name, subject: claims.sub, displayName, groups: own }
}

/** Nothing of a sign-in is kept but the hash of its state: the page's key gives the rest. */
function derived(key: string, what: 'state' | 'nonce' | 'verifier'): string {
  return createHmac('sha256', key).update(`sallyport oidc ${what}`).digest('base64url')
}

/** Only for an issuer on this very machine; the declaration admits no other. */
const isPlain = (issuer: URL): boolean => issuer.protocol === 'http:'

const purposeOf = (provider: string): string => `oidc:${provider}`

/**
 * Goes to https addresses only; where the declared issuer is plain http on this machine, to exactly that. Follows no redirects, waits for no
 * endless answers.
 */
function boundedFetch(issuer: URL): client.CustomFetch {
  return async (address, options) => {
    const url = new URL(address)
    if (url.protocol !== 'https:' && url.origin !== issuer.origin) {
      throw new SallyportError('SP_IDP_REFUSED', 'an address of the identity provider is not https')
    }
    const { signal, body, ...rest } = options
    const within = AbortSignal.any([AbortSignal.timeout(ANSWER_MS), ...(signal ? [signal] : [])])
    const answer = await fetch(url, {
      ...rest,
      ...(body === undefined ? {} : { body }),
      redirect: 'manual',
      signal: within,
    })
    const chunks: Uint8Array[] = []
    let size = 0
    for await (const chunk of answer.body ?? []) {
      size += chunk.byteLength
      if (size > MAX_ANSWER_BYTES) throw new Error('the answer is too long')
      chunks.push(chunk)
    }
    const { status, headers } = answer
    const empty = status === 204 || status === 304
    return new Response(empty ? null : Buffer.concat(chunks), { status, headers })
  }
}

function isAway(cause: unknown): boolean {
  if (!(cause instanceof Error)) return false
  if (cause.name === 'TimeoutError' || cause.name === 'AbortError') return true
  if ('code' in cause && cause.code === 'OAUTH_TIMEOUT') return true
  return cause instanceof TypeError && cause.message === 'fetch failed'
}

function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause)
  const code = errorCode(cause)
  const under = cause.cause instanceof Error ? `: ${cause.cause.message}` : ''
  return `${code === 'SP_INTERNAL' ? '' : `${code} `}${cause.message}${under}`
}

function refused(detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_IDP_REFUSED', 'the sign-in was not accepted', {
    detail,
    cause,
    fix: 'Begin anew at the sign-in page. If it fails again, ask whoever runs the control plane: it has the reason.',
  })
}
