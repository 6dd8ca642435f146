import { createHash, randomBytes } from 'node:crypto'
import type {
  AuthorityView,
  Generation,
  RegisterEntry,
  RootStatement,
  RootView,
} from '../../src/api/key-types.ts'
import type { Ask, Result, Signing } from './world.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

/** What the fixture knows of keys: a register with one of each state, and signing certificates with successors. */
export class KeyWorld {
  register: RegisterEntry[]
  authority: AuthorityView
  /** Every call fails so, where it is set. */
  failing = false
  /** Put into every root statement that is offered for signing: a control plane that lies. */
  tamper: Partial<RootStatement> = {}
  readonly #trustDomain: string
  /** Of the prepared root: any bytes will do. */
  readonly #certificate: Buffer = randomBytes(300)

  constructor(trustDomain: string) {
    this.#trustDomain = trustDomain
    const now = Date.now()
    const entry = (name: string, over: Partial<RegisterEntry>): RegisterEntry => {
      const createdAt = over.createdAt === undefined ? now - 40 * DAY : over.createdAt
      return {
        ...{ kind: 'key', name, owner: 'control plane', use: 'signs what gateways enforce' },
        ...{ algorithm: 'ed25519', createdAt, expiresAt: null, rotateBy: null, state: 'good' },
        ageDays: createdAt === null ? null : Math.floor((now - createdAt) / DAY),
        ...{ heldBy: 'control plane', exportable: true },
        ...over,
      }
    }
    const certificate = { kind: 'certificate', algorithm: 'ec prime256v1' } as const
    this.register = [
      entry('root of the trust domain', {
        ...certificate,
        use: 'signs identities',
        expiresAt: now + 3000 * DAY,
      }),
      entry('bundle key', {}),
      entry('data key 2 of the barrier', { use: 'encrypts secrets', exportable: false }),
      entry('passkey a1b2c3d4e5f6 of olivia', {
        ...{ owner: 'olivia', use: 'signs in, approves, signs declarations', algorithm: 'passkey' },
        ...{ createdAt: null, heldBy: 'authenticator', exportable: 'unknown' },
      }),
      entry('banking/api-key', {
        ...{ kind: 'secret', owner: 'payments', use: 'key of the card processor' },
        ...{ algorithm: 'unknown', rotateBy: now - 10 * DAY, state: 'due', heldBy: 'barrier' },
      }),
      entry('authority of database clients', {
        ...certificate,
        ...{ use: 'signs certificates of accounts in databases', createdAt: now - 400 * DAY },
        ...{ expiresAt: now - 35 * DAY, state: 'expired' },
      }),
      entry(`spiffe://${trustDomain}/agent/account-flagger/acc-1`, {
        ...certificate,
        ...{ owner: 'financial-crime', use: 'identity of agent account-flagger', heldBy: 'agent' },
        ...{ createdAt: now - 3 * 60_000, expiresAt: now + 12 * 60_000, exportable: 'unknown' },
      }),
    ]
    const generation = (id: string, over: Partial<Generation>): Generation => ({
      ...{ id, state: 'retired', notBefore: now - 30 * HOUR, notAfter: now - 6 * HOUR },
      ...{ preparedAt: now - 30 * HOUR },
      ...over,
    })
    this.authority = {
      rootNotAfter: now + 3000 * DAY,
      belowRoot: true,
      generations: [
        generation('5f0c9a2e41d7', {
          ...{ notAfter: now + 2 * HOUR, activatedAt: now - 22 * HOUR, retiredAt: now - 4 * HOUR },
        }),
        generation('b81e77d0c3aa', {
          ...{ state: 'active', notBefore: now - 10 * HOUR, notAfter: now + 14 * HOUR },
          ...{ preparedAt: now - 10 * HOUR, activatedAt: now - 4 * HOUR },
        }),
      ],
      roots: [
        {
          ...{ fingerprint: 'c4'.repeat(32), notAfter: now + 3000 * DAY, state: 'active' },
          ...{ preparedAt: now - 600 * DAY, preparedBy: 'init' },
        },
        {
          ...{ fingerprint: '9e'.repeat(32), notAfter: now + 90 * DAY, state: 'outgoing' },
          ...{ preparedAt: now - 3000 * DAY, preparedBy: 'init', waitsUntil: now + 11 * 60_000 },
        },
      ],
    }
  }

  answer(
    ask: Ask,
    [kind, act, step, options]: readonly string[],
    signing: Signing,
  ): Result | undefined {
    if (this.failing) {
      const detail = 'the database does not answer'
      return { status: 503, body: { code: 'SP_STORE_UNAVAILABLE', detail } }
    }
    if (kind === 'register') return { status: 200, body: this.register }
    const now = Date.now()
    const { generations } = this.authority
    if (act === 'root') return this.#root(ask, `${step}${options ?? ''}`, signing)
    if (act === 'prepare') {
      const next = { preparedAt: now, notBefore: now, notAfter: now + DAY } as const
      this.#set([...generations, { id: '0d93be5512f4', state: 'prepared', ...next }])
    }
    if (act === 'activate') {
      if (generations.every(({ state }) => state !== 'prepared')) {
        const detail = 'there is no prepared signing certificate'
        return { status: 409, body: { code: 'SP_CA_NOT_PREPARED', detail } }
      }
      this.#set(
        generations.map((one): Generation => {
          if (one.state === 'active') return { ...one, state: 'retired', retiredAt: now }
          if (one.state === 'prepared') return { ...one, state: 'active', activatedAt: now }
          return one
        }),
      )
    }
    return { status: 200, body: this.authority }
  }

  #set(generations: readonly Generation[]): void {
    this.authority = { ...this.authority, generations }
  }

  #root(ask: Ask, step: string, signing: Signing): Result {
    const now = Date.now()
    const { roots } = this.authority
    const fingerprint = createHash('sha256').update(this.#certificate).digest('hex')
    const change = (over: Partial<RootView>): void => {
      const next = roots.map((one) => (one.fingerprint === fingerprint ? { ...one, ...over } : one))
      this.authority = { ...this.authority, roots: next }
    }
    const statement: RootStatement = {
      ...{ kind: 'root', trustDomain: this.#trustDomain, operators: 1 },
      certificate: this.#certificate.toString('base64url'),
      ...this.tamper,
    }
    if (step === 'prepare') {
      const made = { preparedAt: now, preparedBy: ask.operator, notAfter: now + 3650 * DAY }
      const next = { fingerprint, ...made, state: 'prepared', signed: [], quorum: 1 } as const
      this.authority = { ...this.authority, roots: [...roots, next] }
    }
    if (step === 'signoptions') {
      return { status: 200, body: { statement, options: signing.options(statement) } }
    }
    if (step === 'sign') {
      const given: unknown = Reflect.get(Object(ask.body), 'statement')
      if (signing.signer(Reflect.get(Object(ask.body), 'response'), given) !== ask.operator) {
        const detail = 'the signature does not cover this statement'
        return { status: 403, body: { code: 'SP_SIGNATURE_INVALID', detail } }
      }
      change({ state: 'trusted', trustedAt: now })
    }
    if (step === 'activate') change({ state: 'active', activatedAt: now })
    if (step === 'cancel') {
      const left = roots.filter((one) => one.fingerprint !== fingerprint)
      this.authority = { ...this.authority, roots: left }
    }
    return { status: 200, body: { roots: this.authority.roots } }
  }
}
