import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { hash, randomBytes, X509Certificate } from 'node:crypto'
import { createIssuer, permitsAuthorities, signAuthority } from '@sallyport/spiffe'
import type { CertificateSigner, Issuer } from '@sallyport/spiffe'
import { serially } from '../domain/serially.ts'
import {
  damaged,
  due,
  inState,
  NONE,
  readGenerations,
  withActivated,
  withoutExpired,
  without,
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
  /** False where the root signs SVIDs itself, because it permits nothing below it: roots from before there were signing certificates. */
  readonly belowRoot: boolean
  readonly generations: readonly GenerationView[]
}

/**
 * The signing authority of the trust domain: certificates below the active root, each for a day, with successors. What it issues
 * carries its certificate along, signed by the root, so that no peer has to learn of a successor first.
 */
export interface Authority extends Issuer {
  /** SHA-256 (hex) of the root (DER) that what is issued now ends at. */
  readonly root: string
  view(): AuthorityView
  /** Does whatever is due before something is issued. Free where nothing is. @throws where nothing could be issued after all */
  ready(): Promise<void>
  /** @throws SallyportError `SP_CA_PREPARED` where there is a successor already, `SP_CA_ROOT_SIGNS` */
  prepare(): Promise<AuthorityView>
  /** @throws SallyportError `SP_CA_NOT_PREPARED`, `SP_CA_ROOT_SIGNS` */
  activate(): Promise<AuthorityView>
  /** Issues below another root from now on, by a new signing certificate. */
  useRoot(root: RootOfAuthority): Promise<void>
  /** Does whatever is due. */
  tick(): Promise<void>
}

export interface AuthorityOptions {
  /** Holds `state.json`. */
  readonly folder: string
  readonly keys: AuthorityKeys
  readonly root: RootOfAuthority
  readonly clock: Clock
  /** Seconds that a signing certificate lives (default a day). */
  readonly lifeSeconds?: number
  /** Told of a step that failed while the certificate before it still serves. */
  readonly onError?: (error: unknown) => void
}

export interface RootOfAuthority {
  /** One certificate. */
  readonly certificatePem: string
  readonly signer: CertificateSigner
}

const STATE = 'state.json'
const DAY = 86_400
/** Longer than any run of steps that can be due at once. */
const MAX_STEPS = 8

/**
 * Opens the signing authority, making the first one where there is none. After a crash at any step it goes on from the state
 * before or after that step: a key is durable before the state names it, and destroyed only once the state does not.
 *
 * @throws SallyportError `SP_CA_STATE`, `SP_ISSUE_REFUSED`, and what the provider of keys says
 */
export async function openAuthority(options: AuthorityOptions): Promise<Authority> {
  const authority = new SigningAuthority(options)
  await authority.open()
  return authority
}

class SigningAuthority implements Authority {
  readonly trustDomain: string
  readonly #options: AuthorityOptions
  readonly #turn = serially()
  #root: RootOfAuthority
  #fingerprint: string
  /** Its own signer where the root permits none below it. */
  #direct: Issuer | undefined
  #all: Generations
  /** What `#own` came to, for as long as it holds. */
  #judged:
    | { readonly root: RootOfAuthority; readonly all: Generations; readonly own: Generations }
    | undefined
  #current: Issuer | undefined

  constructor(options: AuthorityOptions) {
    this.#options = options
    this.#root = options.root
    this.#fingerprint = fingerprintOf(options.root)
    const issuer = createIssuer(options.root)
    this.#direct = permitsAuthorities(options.root.certificatePem) ? undefined : issuer
    this.trustDomain = issuer.trustDomain
    const text = readIfThere(options.folder, STATE)
    this.#all = text === undefined ? NONE : readGenerations(text)
  }

  get root(): string {
    return this.#fingerprint
  }

  async open(): Promise<void> {
    await this.#sweep()
    if (this.#direct) return
    const active = inState(this.#all, 'active')
    if (active && this.#isBelow(active)) this.#current = await this.#use(active)
    else if (active) await this.#replace()
    await this.#steps()
  }

  issue: Issuer['issue'] = (request) => {
    const issuer = this.#direct ?? this.#current
    if (!issuer) throw damaged('nothing is active')
    return issuer.issue({ ...request, now: request.now ?? this.#options.clock.now() })
  }

  view(): AuthorityView {
    return {
      rootNotAfter: endOf(this.#root),
      belowRoot: this.#direct === undefined,
      generations: this.#direct
        ? []
        : this.#all.generations.map(({ certificate: _given, ...rest }) => rest),
    }
  }

  async ready(): Promise<void> {
    // A clock that jumped, or a process that slept: before anything is signed, not half a minute later.
    if (this.#direct || due(this.#own(), this.#options.clock.now()) === undefined) return
    try {
      await this.tick()
    } catch (error) {
      const active = inState(this.#all, 'active')
      const now = this.#options.clock.now()
      if (!active || now < active.notBefore || now > active.notAfter) throw error
      this.#options.onError?.(error)
    }
  }

  tick(): Promise<void> {
    return this.#turn(() => this.#steps())
  }

  prepare(): Promise<AuthorityView> {
    return this.#turn(async () => {
      this.#demandBelow()
      await this.#steps()
      if (inState(this.#own(), 'prepared')) {
        throw new SallyportError('SP_CA_PREPARED', 'a successor is prepared already', {
          fix: 'activate it first',
        })
      }
      await this.#prepare()
      return this.view()
    })
  }

  activate(): Promise<AuthorityView> {
    return this.#turn(async () => {
      this.#demandBelow()
      await this.#steps()
      await this.#activate()
      return this.view()
    })
  }

  useRoot(root: RootOfAuthority): Promise<void> {
    return this.#turn(async () => {
      const fingerprint = fingerprintOf(root)
      if (fingerprint === this.#fingerprint) return
      const issuer = createIssuer(root)
      const [before, direct] = [this.#root, this.#direct]
      this.#root = root
      this.#direct = permitsAuthorities(root.certificatePem) ? undefined : issuer
      try {
        if (!this.#direct) await this.#replace()
      } catch (error) {
        // What signed before goes on signing.
        this.#root = before
        this.#direct = direct
        throw error
      }
      this.#fingerprint = fingerprint
    })
  }

  /** A signing certificate below the present root, prepared by an attempt that was cut short or made now, comes in use. */
  async #replace(): Promise<void> {
    if (!inState(this.#own(), 'prepared')) await this.#prepare()
    await this.#activate()
  }

  /** Without a successor below another root, which a change of the root that was cut short, or one that began before it, has left. */
  #own(): Generations {
    const { root, all } = this.#judged ?? {}
    if (root !== this.#root || all !== this.#all) {
      const prepared = inState(this.#all, 'prepared')
      const own = !prepared || this.#isBelow(prepared)
      this.#judged = {
        root: this.#root,
        all: this.#all,
        own: own ? this.#all : without(this.#all, prepared),
      }
    }
    return this.#judged?.own ?? this.#all
  }

  #isBelow({ certificate }: Generation): boolean {
    const root = new X509Certificate(this.#root.certificatePem)
    const read = new X509Certificate(certificate)
    return read.checkIssued(root) && read.verify(root.publicKey)
  }

  async #steps(): Promise<void> {
    if (this.#direct) return
    for (let step = 0; step < MAX_STEPS; step++) {
      const now = this.#options.clock.now()
      const what = due(this.#own(), now)
      if (what === undefined) return
      if (what === 'prepare') await this.#prepare()
      else if (what === 'activate') await this.#activate()
      else await this.#commit(withoutExpired(this.#all, now))
    }
    throw damaged('it does not come to rest')
  }

  async #prepare(): Promise<void> {
    const { keys, clock } = this.#options
    const ttlSeconds = this.#options.lifeSeconds ?? DAY
    const now = clock.now()
    const id = randomBytes(8).toString('hex')
    const { publicKey } = await keys.create(id)
    const certificate = signAuthority(this.#root, { publicKey, ttlSeconds, now })
    const { validFromDate, validToDate } = new X509Certificate(certificate)
    const [notBefore, notAfter] = [validFromDate.getTime(), validToDate.getTime()]
    const entry = {
      id,
      state: 'prepared',
      notBefore,
      notAfter,
      preparedAt: now,
      certificate,
    } as const
    await this.#commit(withPrepared(this.#all, entry))
  }

  async #activate(): Promise<void> {
    const prepared = inState(this.#own(), 'prepared')
    if (!prepared) throw notPrepared()
    // Whatever fails, fails before the state says so.
    const next = await this.#use(prepared)
    await this.#commit(withActivated(this.#all, this.#options.clock.now()))
    this.#current = next
  }

  async #commit(next: Generations): Promise<void> {
    writeDurably(this.#options.folder, STATE, JSON.stringify(next))
    this.#all = next
    await this.#sweep()
  }

  /** Keys that no generation will sign with again, be they left by a crash or retired. */
  async #sweep(): Promise<void> {
    const { keys } = this.#options
    const signing = this.#all.generations.filter(({ state }) => state !== 'retired')
    const used = new Set(signing.map(({ id }) => id))
    for (const name of await keys.names()) if (!used.has(name)) await keys.destroy(name)
  }

  async #use({ id, certificate }: Generation): Promise<Issuer> {
    let signer: CertificateSigner
    try {
      signer = await this.#options.keys.open(id)
    } catch (cause) {
      throw damaged(`the key \`${id}\` cannot be opened`, cause)
    }
    return createIssuer({ certificatePem: certificate, signer })
  }

  #demandBelow(): void {
    if (this.#direct) {
      throw new SallyportError('SP_CA_ROOT_SIGNS', 'the root of this network signs SVIDs itself')
    }
  }
}

const endOf = ({ certificatePem }: RootOfAuthority): number =>
  new X509Certificate(certificatePem).validToDate.getTime()

const fingerprintOf = ({ certificatePem }: RootOfAuthority): string =>
  hash('sha256', new X509Certificate(certificatePem).raw, 'hex')

function notPrepared(): SallyportError {
  return new SallyportError('SP_CA_NOT_PREPARED', 'no successor is prepared', {
    fix: 'prepare one first',
  })
}
