import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { X509Certificate, randomBytes } from 'node:crypto'
import { createIssuer, permitsAuthorities, signAuthority } from '@sallyport/spiffe'
import type { CertificateSigner, Issuer } from '@sallyport/spiffe'
import {
  damaged,
  due,
  inState,
  NONE,
  readGenerations,
  withActivated,
  withoutExpired,
  withPrepared,
} from './generations.ts'
import type { Generation, Generations } from './generations.ts'
import { readIfThere, writeDurably } from './keys.ts'
import type { AuthorityKeys } from './keys.ts'

/** What operators see of one signing authority. */
interface GenerationView {
  readonly id: string
  readonly state: Generation['state']
  readonly notBefore: number
  readonly notAfter: number
  readonly preparedAt: number
  readonly activatedAt?: number
  readonly retiredAt?: number
}

export interface AuthorityView {
  readonly rootNotAfter: number
  /** False where the root signs SVIDs itself: it permits nothing below it, or its keys are not kept in files. */
  readonly belowRoot: boolean
  readonly generations: readonly GenerationView[]
}

/**
 * The signing authority of the trust domain: certificates below the pinned root, each for a day, with successors. What it issues
 * carries its certificate along, signed by the root, so that no peer has to learn of a successor first.
 */
export interface Authority extends Issuer {
  view(): AuthorityView
  /** @throws SallyportError `SP_CA_PREPARED` where there is a successor already, `SP_CA_ROOT_SIGNS` */
  prepare(): AuthorityView
  /** @throws SallyportError `SP_CA_NOT_PREPARED`, `SP_CA_ROOT_SIGNS` */
  activate(): AuthorityView
  /** Does whatever is due. */
  tick(): void
}

export interface AuthorityOptions {
  /** Holds `state.json`. */
  readonly folder: string
  readonly keys: AuthorityKeys
  readonly root: RootOfAuthority
  readonly clock: Clock
  /** Seconds that a signing certificate lives (default a day). */
  readonly lifeSeconds?: number
}

interface RootOfAuthority {
  readonly certificatePem: string
  readonly signer: CertificateSigner
}

const STATE = 'state.json'
const DAY = 86_400
/** Longer than any run of steps that can be due at once. */
const MAX_STEPS = 8

/** A root that signs SVIDs itself, as all did before there were signing certificates. */
export function rootAuthority(root: RootOfAuthority): Authority {
  const refuse = (): never => {
    throw new SallyportError('SP_CA_ROOT_SIGNS', 'the root of this network signs SVIDs itself')
  }
  return {
    ...createIssuer(root),
    view: () => ({ rootNotAfter: endOf(root), belowRoot: false, generations: [] }),
    prepare: refuse,
    activate: refuse,
    tick: () => undefined,
  }
}

const endOf = ({ certificatePem }: RootOfAuthority): number =>
  new X509Certificate(certificatePem).validToDate.getTime()

/**
 * Opens the signing authority, making the first one where there is none. After a crash at any step it goes on from the state
 * before or after that step: a key is durable before the state names it, and destroyed only once the state does not.
 *
 * @throws SallyportError `SP_CA_STATE`, `SP_ISSUE_REFUSED`
 */
export function openAuthority(options: AuthorityOptions): Authority {
  const { folder, keys, root, clock } = options
  const lifeSeconds = options.lifeSeconds ?? DAY
  if (!permitsAuthorities(root.certificatePem)) return rootAuthority(root)
  const { trustDomain } = createIssuer(root)
  const text = readIfThere(folder, STATE)
  let all = text === undefined ? NONE : readGenerations(text)
  let current: Issuer

  const commit = (next: Generations): void => {
    writeDurably(folder, STATE, JSON.stringify(next))
    all = next
    sweep()
  }
  /** Keys that no generation will sign with again, be they left by a crash or retired. */
  const sweep = (): void => {
    const signing = all.generations.filter(({ state }) => state !== 'retired')
    const used = new Set(signing.map(({ id }) => id))
    for (const name of keys.names()) if (!used.has(name)) keys.destroy(name)
  }
  const use = ({ id, certificate }: Generation): Issuer =>
    createIssuer({ certificatePem: certificate, signer: openKey(keys, id) })
  const prepare = (): void => {
    const now = clock.now()
    const id = randomBytes(8).toString('hex')
    const { publicKey } = keys.create(id)
    const certificate = signAuthority(root, { publicKey, ttlSeconds: lifeSeconds, now })
    const { validFromDate, validToDate } = new X509Certificate(certificate)
    const [notBefore, notAfter] = [validFromDate.getTime(), validToDate.getTime()]
    commit(
      withPrepared(all, {
        id,
        state: 'prepared',
        notBefore,
        notAfter,
        preparedAt: now,
        certificate,
      }),
    )
  }
  const activate = (): void => {
    const prepared = inState(all, 'prepared')
    if (!prepared) throw notPrepared()
    // Whatever fails, fails before the state says so.
    const next = use(prepared)
    commit(withActivated(all, clock.now()))
    current = next
  }
  const tick = (): void => {
    for (let step = 0; step < MAX_STEPS; step++) {
      const what = due(all, clock.now())
      if (what === undefined) return
      if (what === 'prepare') prepare()
      else if (what === 'activate') activate()
      else commit(withoutExpired(all, clock.now()))
    }
    throw damaged('it does not come to rest')
  }
  const view = (): AuthorityView => ({
    rootNotAfter: endOf(root),
    belowRoot: true,
    generations: all.generations.map(({ certificate: _given, ...rest }) => rest),
  })

  sweep()
  const active = inState(all, 'active')
  if (active) current = use(active)
  tick()

  return {
    trustDomain,
    issue(request) {
      // A clock that jumped, or a process that slept: before anything is signed, not half a minute later.
      if (due(all, clock.now()) !== undefined) tick()
      return current.issue({ ...request, now: request.now ?? clock.now() })
    },
    view,
    tick,
    prepare() {
      tick()
      if (inState(all, 'prepared')) {
        throw new SallyportError('SP_CA_PREPARED', 'a successor is prepared already', {
          fix: 'activate it first',
        })
      }
      prepare()
      return view()
    },
    activate() {
      tick()
      activate()
      return view()
    },
  }
}

function openKey(keys: AuthorityKeys, name: string): CertificateSigner {
  try {
    return keys.open(name)
  } catch (cause) {
    throw damaged(`the key \`${name}\` cannot be opened`, cause)
  }
}

function notPrepared(): SallyportError {
  return new SallyportError('SP_CA_NOT_PREPARED', 'no successor is prepared', {
    fix: 'prepare one first',
  })
}
