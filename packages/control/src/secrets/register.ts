import { X509Certificate } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import type { Clock } from '@sallyport/base'
import type { Network } from '@sallyport/network'
import { secretRuleFor } from '@sallyport/network'
import type { Barrier } from '@sallyport/seal'
import type { AuthorityView } from '../authority/authority.ts'
import type { Publisher } from '../domain/publisher.ts'
import type { Store } from '../store/store.ts'
import { certificatesFromPem } from '@sallyport/spiffe'
import type { Trust } from '../trust.ts'
import type { Transit } from './transit.ts'
import type { Vault } from './vault.ts'

/** One key or certificate (Commission Delegated Regulation (EU) 2024/1774, article 7). Times are milliseconds since the epoch. */
export interface RegisterEntry {
  readonly kind: 'certificate' | 'key' | 'secret'
  readonly name: string
  readonly owner: string
  readonly use: string
  /** `unknown` for what others have made. */
  readonly algorithm: string
  readonly createdAt: number | null
  readonly ageDays: number | null
  readonly expiresAt: number | null
  /** When it should be replaced by. */
  readonly rotateBy: number | null
  readonly state: 'good' | 'due' | 'expired'
  readonly heldBy: string
  /** Whether whoever holds it can copy it. `unknown` for keys of other workloads. */
  readonly exportable: boolean | 'unknown'
}

export interface RegisterDeps {
  readonly store: Store
  readonly clock: Clock
  readonly trust: Trust
  readonly publisher: Publisher
  readonly barrier: () => Barrier
  readonly vault: Vault
  readonly transit: Transit
  readonly databaseClients: () => Promise<string>
  /** The signing certificates below the root. */
  readonly authority: () => AuthorityView
}

type Fact = Omit<RegisterEntry, 'ageDays' | 'state' | 'rotateBy' | 'expiresAt' | 'createdAt'> & {
  readonly createdAt?: number | null
  readonly expiresAt?: number
  readonly rotateBy?: number
}

const DAY_MS = 86_400_000
const CONTROL = 'control plane'

/** Every key and certificate that the control plane knows of, with its age, owner, use and whether it can be copied. */
export async function keyRegister(deps: RegisterDeps): Promise<readonly RegisterEntry[]> {
  const now = deps.clock.now()
  const { network } = deps.publisher.index()
  const facts = [
    ...(await trustFacts(deps.trust)),
    certificateFact(
      'authority of database clients',
      await deps.databaseClients(),
      'signs certificates of accounts in databases',
    ),
    ...authorityFacts(deps.authority()),
    ...(await jwtFacts(deps.store, now)),
    ...barrierFacts(deps.barrier()),
    ...passkeyFacts(deps.publisher),
    ...(await secretFacts(deps.vault, network)),
    ...(await transitFacts(deps.transit)),
    ...(await svidFacts(deps.store, network, now)),
  ]
  return facts.map((fact) => entryOf(fact, now))
}

function entryOf({ createdAt, expiresAt, rotateBy, ...rest }: Fact, now: number): RegisterEntry {
  const expired = expiresAt !== undefined && expiresAt <= now
  const due = rotateBy !== undefined && rotateBy <= now
  return {
    ...rest,
    createdAt: createdAt ?? null,
    ageDays:
      createdAt === undefined || createdAt === null
        ? null
        : Math.max(0, Math.floor((now - createdAt) / DAY_MS)),
    expiresAt: expiresAt ?? null,
    rotateBy: rotateBy ?? null,
    state: expired ? 'expired' : due ? 'due' : 'good',
  }
}

const KEY_USES: Readonly<Record<string, string>> = {
  ca: 'signs identities',
  bundle: 'signs what gateways enforce',
  log: "signs checkpoints of the control plane's log",
  genesis: 'signs the first set of operators; deleted then',
  unseal: 'unseals the barrier',
}

async function trustFacts(trust: Trust): Promise<Fact[]> {
  const keys = await trust.keys()
  return [
    ...certificatesFromPem(trust.rootsPem).map((root) =>
      certificateFact('root of the trust domain', root, 'signs identities'),
    ),
    ...keys.map(({ name, algorithm, createdAt, provider, exportable }): Fact => {
      const use = KEY_USES[name] ?? usedAs(name)
      const heldBy = provider === 'pkcs11' ? 'PKCS#11 token' : CONTROL
      return {
        ...{ kind: 'key', name: `${name} key`, owner: CONTROL, use, algorithm },
        ...(createdAt === undefined ? {} : { createdAt }),
        ...{ heldBy, exportable },
      }
    }),
  ]
}

/** Keys that are made one after the other. */
function usedAs(name: string): string {
  if (name.startsWith('root-')) return 'signs identities: a successor of the first root'
  return name.startsWith('signing-') ? 'signs identities' : 'unknown'
}

const GENERATION_USES = {
  prepared: 'signs identities next',
  active: 'signs identities',
  retired: 'signed identities that are still in use',
} as const

function authorityFacts({ generations }: AuthorityView): Fact[] {
  return generations.map(({ id, state, notBefore, notAfter }) => ({
    kind: 'certificate',
    name: `signing certificate ${id}`,
    owner: CONTROL,
    use: GENERATION_USES[state],
    algorithm: 'ec prime256v1',
    createdAt: notBefore,
    expiresAt: notAfter,
    heldBy: CONTROL,
    exportable: 'unknown',
  }))
}

async function jwtFacts(store: Store, now: number): Promise<Fact[]> {
  const rows = await store.run((db) =>
    db
      .selectFrom('jwt_svid_keys')
      .select(['kid', 'not_after'])
      .where('not_after', '>', now)
      .orderBy('kid')
      .execute(),
  )
  return rows.map(({ kid, not_after }) => ({
    ...{ kind: 'key', name: `key ${kid} of JWT-SVIDs`, owner: CONTROL, use: 'signs JWT-SVIDs' },
    algorithm: 'ec prime256v1',
    expiresAt: not_after,
    heldBy: CONTROL,
    exportable: false,
  }))
}

function certificateFact(name: string, encoded: string | Buffer, use: string): Fact {
  const certificate = new X509Certificate(encoded)
  return {
    ...{ kind: 'certificate', name, owner: CONTROL, use },
    algorithm: algorithmOf(certificate.publicKey),
    createdAt: certificate.validFromDate.getTime(),
    expiresAt: certificate.validToDate.getTime(),
    heldBy: CONTROL,
    exportable: true,
  }
}

function algorithmOf(key: KeyObject): string {
  const { namedCurve, modulusLength } = key.asymmetricKeyDetails ?? {}
  const more = namedCurve ?? (modulusLength === undefined ? '' : String(modulusLength))
  return `${key.asymmetricKeyType ?? 'unknown'} ${more}`.trim()
}

function barrierFacts(barrier: Barrier): Fact[] {
  if (barrier.status().state !== 'unsealed') return []
  return barrier.terms().map(({ term, createdAt, active }) => ({
    kind: 'key',
    name: `data key ${term} of the barrier`,
    owner: CONTROL,
    use: active ? 'encrypts secrets' : 'opens older secrets',
    algorithm: 'aes256-gcm',
    createdAt,
    heldBy: CONTROL,
    exportable: false,
  }))
}

function passkeyFacts(publisher: Publisher): Fact[] {
  const keys = publisher.current().bundle.operators?.set.keys ?? []
  return keys.map(({ operator, credentialId }) => ({
    kind: 'key',
    name: `passkey ${credentialId.slice(0, 12)} of ${operator}`,
    owner: operator,
    use: 'signs in, approves, signs declarations',
    algorithm: 'passkey',
    heldBy: 'authenticator',
    exportable: 'unknown',
  }))
}

async function secretFacts(vault: Vault, network: Network): Promise<Fact[]> {
  const all = await vault.all()
  return all.map(({ path, owner, use, writtenAt, readers }): Fact => {
    const every = secretRuleFor(network, path)?.rotation?.everySeconds
    return {
      ...{ kind: 'secret', name: path, owner, use, algorithm: 'unknown' },
      createdAt: writtenAt,
      ...(every === undefined || writtenAt === null ? {} : { rotateBy: writtenAt + every * 1000 }),
      heldBy: 'barrier',
      exportable: readers > 0,
    }
  })
}

async function transitFacts(transit: Transit): Promise<Fact[]> {
  return (await transit.list()).map(({ name, owner, use, type, createdAt, newest }) => ({
    ...{ kind: 'key', name: `transit ${name}, version ${newest}`, owner, use, algorithm: type },
    createdAt,
    heldBy: 'barrier',
    exportable: false,
  }))
}

async function svidFacts(store: Store, network: Network, now: number): Promise<Fact[]> {
  const rows = await store.run((db) =>
    db
      .selectFrom('instances as i')
      .innerJoin('certificates as c', 'c.serial', 'i.serial')
      .select(['i.spiffe_id', 'i.kind', 'i.name', 'c.issued_at', 'c.not_after'])
      .where('c.not_after', '>', now)
      .orderBy('i.spiffe_id')
      .execute(),
  )
  return rows.map((row) => ({
    kind: 'certificate',
    name: row.spiffe_id,
    owner:
      (row.kind === 'agent'
        ? network.agents.find(({ name }) => name === row.name)?.owner
        : network.services.find(({ name }) => name === row.name)?.owner) ?? CONTROL,
    use: `identity of ${row.kind} ${row.name}`,
    algorithm: 'ec prime256v1',
    createdAt: row.issued_at,
    expiresAt: row.not_after,
    heldBy: row.kind,
    exportable: 'unknown',
  }))
}
