import type { Report } from './check.ts'
import { didYouMean } from './problem.ts'
import { escapePointer } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'
import type { RawNetwork, RawTableGrant } from './raw.ts'
import type { Database, DatabaseAccount, SecretRule } from './secrets-types.ts'
import type { TableGrant, TransitKey } from './secrets-types.ts'
import type { Network } from './types.ts'

/** Reads a PEM file that the declaration names; reports where it cannot, or holds no certificate. */
type ReadPem = (file: string, pointer: string) => string

/** The parts that stand apart from calls: databases, secrets, keys for others. Absent where nothing is declared. */
export function resolveSecrets(
  raw: RawNetwork,
  readPem: ReadPem,
): Pick<Network, 'databases' | 'secrets' | 'transit'> {
  return {
    ...(raw.databases && {
      databases: Object.entries(raw.databases).map(([name, given]): Database => {
        const { tls, accounts, description = '', port = 5432, login = 'certificate' } = given
        const { owner, host, database, admin } = given
        const pointer = `/databases/${escapePointer(name)}/tls/caFile`
        return {
          ...{ name, description, owner, host, port, database, admin, login },
          ...(tls && {
            tls: { ca: readPem(tls.caFile, pointer), serverName: tls.serverName ?? host },
          }),
          accounts: Object.entries(accounts).map(([agent, account]): DatabaseAccount => ({
            agent,
            ttlSeconds: account.ttlSeconds ?? 900,
            maxTtlSeconds: account.maxTtlSeconds ?? 3600,
            maxConnections: account.maxConnections ?? 2,
            statementTimeoutMs: account.statementTimeoutMs ?? 5000,
            grants: account.grants.map(grantOf),
          })),
        }
      }),
    }),
    ...(raw.secrets && {
      secrets: Object.entries(raw.secrets).map(([path, given]): SecretRule => {
        const { rotation } = given
        const pointer = `/secrets/${escapePointer(path)}/rotation/caFile`
        return {
          path,
          owner: given.owner,
          use: given.use,
          agents: given.agents ?? [],
          services: given.services ?? [],
          operators: given.operators ?? [],
          local: given.local ?? false,
          maxVersions: given.maxVersions ?? 10,
          ...(rotation && { rotation: rotationOf(rotation, readPem, pointer) }),
        }
      }),
    }),
    ...(raw.transit && {
      transit: Object.entries(raw.transit).map(([name, given]): TransitKey => ({
        name,
        owner: given.owner,
        use: given.use,
        type: given.type,
        users: given.users ?? {},
      })),
    }),
  }
}

function grantOf({ schema, rows, ...rest }: RawTableGrant): TableGrant {
  return { schema: schema ?? 'public', ...rest, ...(rows && { rows }) }
}

function rotationOf(
  raw: NonNullable<NonNullable<RawNetwork['secrets']>[string]['rotation']>,
  readPem: ReadPem,
  pointer: string,
): NonNullable<SecretRule['rotation']> {
  const { caFile, graceSeconds = 300, parameters = {}, ...rest } = raw
  const ca = caFile === undefined ? {} : { ca: readPem(caFile, pointer) }
  return { ...rest, graceSeconds, parameters, ...ca }
}

/** What the JSON Schema cannot say of them. */
export function checkSecrets(network: Network, located: Located, report: Report): void {
  const agents = network.agents.map(({ name }) => name)
  const services = network.services.map(({ name }) => name)
  const operators = network.operators.map(({ name }) => name)
  const known = (kind: string, name: string, all: readonly string[], pointer: string): void => {
    if (all.includes(name)) return
    report(
      'SP_NETWORK_REFERENCE',
      located.at(pointer),
      `there is no ${kind} \`${name}\`${didYouMean(name, all)}`,
      'a reference to nothing would silently protect or permit nothing',
      `declare the ${kind} or correct the name`,
    )
  }
  for (const database of network.databases ?? []) checkDatabase(database, agents, located, report)
  const brokered = keysOfOthers(network)
  for (const rule of network.secrets ?? []) {
    const at = `/secrets/${escapePointer(rule.path)}`
    const key = brokered.find((path) => secretRuleFor(network, path) === rule)
    if (key !== undefined && rule.agents.length > 0) {
      const why =
        'agents never hold keys of upstreams or of administrators: these are used for them'
      checkRule(report, located, `${at}/agents`, `agents would read \`${key}\``, why)
    }
    if (rule.path === 'sallyport' || rule.path.startsWith('sallyport/')) {
      const why = 'the control plane keeps its own keys there, which nobody reads'
      checkRule(report, located, at, 'the path is reserved', why)
    }
    for (const [i, name] of rule.agents.entries()) known('agent', name, agents, `${at}/agents/${i}`)
    for (const [i, name] of rule.services.entries()) {
      known('service', name, services, `${at}/services/${i}`)
    }
    for (const [i, name] of rule.operators.entries()) {
      known('operator', name, operators, `${at}/operators/${i}`)
    }
    checkRotation(rule, at, located, report)
  }
  for (const key of network.transit ?? []) {
    for (const [user, acts] of Object.entries(key.users)) {
      const at = `/transit/${key.name}/users/${user}`
      known('agent or service', user, [...agents, ...services], at)
      if (agents.includes(user) && services.includes(user)) {
        checkRule(
          report,
          located,
          at,
          `\`${user}\` is an agent and a service`,
          'both would have the key',
        )
      }
      const fitting = key.type === 'ed25519' ? ['sign', 'verify'] : ['encrypt', 'decrypt', 'rewrap']
      const odd = acts.find((act) => !fitting.includes(act))
      if (odd === undefined) continue
      const why = 'a key that encrypts must not sign, and the other way round'
      checkRule(report, located, at, `a key of type \`${key.type}\` cannot \`${odd}\``, why)
    }
  }
}

/** What gateways and the control plane use on behalf of others. */
function keysOfOthers({ systems, databases = [], secrets = [] }: Network): string[] {
  return [
    ...systems.flatMap(({ upstream }) =>
      upstream.kind === 'external' && upstream.credential ? [upstream.credential.secret] : [],
    ),
    ...databases.map(({ admin }) => admin.secret),
    ...secrets.flatMap(({ rotation }) => rotation?.admin ?? []),
  ]
}

function checkDatabase(
  { name, host, tls, accounts }: Database,
  agents: readonly string[],
  located: Located,
  report: Report,
): void {
  const at = `/databases/${escapePointer(name)}`
  const here = host.startsWith('/') || ['localhost', '127.0.0.1', '::1'].includes(host)
  if (!tls && !here) {
    const why = 'whoever stands between would read the rows and take the place of the server'
    checkRule(
      report,
      located,
      `${at}/host`,
      `\`${host}\` is another machine, and there is no \`tls\``,
      why,
    )
  }
  for (const account of accounts) {
    const place = `${at}/accounts/${account.agent}`
    if (!agents.includes(account.agent)) {
      report(
        'SP_NETWORK_REFERENCE',
        located.keyAt(place),
        `there is no agent \`${account.agent}\`${didYouMean(account.agent, agents)}`,
        'a reference to nothing would silently protect or permit nothing',
        'declare the agent or correct the name',
      )
    }
    if (account.ttlSeconds > account.maxTtlSeconds) {
      const message = `it lives ${account.ttlSeconds} s, and ${account.maxTtlSeconds} s at most`
      checkRule(report, located, place, message, 'one of the two is not meant')
    }
    const seen = new Set<string>()
    for (const [i, grant] of account.grants.entries()) {
      const names = [grant.schema, grant.table, ...grant.columns, ...Object.keys(grant.rows ?? {})]
      const long = names.find((one) => Buffer.byteLength(one) > 63)
      if (long !== undefined) {
        const why = 'PostgreSQL would cut it, and the grant could concern another table'
        checkRule(
          report,
          located,
          `${place}/grants/${i}`,
          `\`${long}\` is longer than 63 bytes`,
          why,
        )
      }
      const table = JSON.stringify([grant.schema, grant.table])
      if (seen.has(table)) {
        const why = 'two row filters of one table would contend'
        checkRule(report, located, `${place}/grants/${i}`, 'the table is granted twice', why)
      }
      seen.add(table)
    }
  }
}

const HTTP_PARTS = ['create', 'secretAt', 'idAt', 'verify', 'revoke'] as const

function checkRotation(
  { path, rotation }: SecretRule,
  at: string,
  located: Located,
  report: Report,
): void {
  if (!rotation) return
  const place = `${at}/rotation`
  if (path.endsWith('/*')) {
    checkRule(report, located, place, 'it stands at more than one path', 'a rotation makes one key')
  }
  const url = URL.canParse(rotation.url) ? new URL(rotation.url) : undefined
  const loopback = ['localhost', '127.0.0.1', '[::1]'].includes(url?.hostname ?? '')
  if (!url || (url.protocol !== 'https:' && !loopback)) {
    const why = 'the new key would cross the network in the clear'
    checkRule(report, located, `${place}/url`, 'plain http is for loopback only', why)
  }
  const missing = HTTP_PARTS.find((part) => rotation[part] === undefined)
  if (rotation.kind === 'http' && missing !== undefined) {
    checkRule(
      report,
      located,
      place,
      `\`${missing}\` is missing`,
      'the calls of this API are not known',
    )
  }
  if (rotation.admin === undefined && rotation.kind !== 'airtable') {
    checkRule(report, located, place, '`admin` is missing', 'nobody could make the new key')
  }
}

function checkRule(
  report: Report,
  located: Located,
  pointer: string,
  message: string,
  why: string,
): void {
  report('SP_NETWORK_RULE', located.at(pointer), message, why, 'correct the declaration')
}

/**
 * The one rule for a path: its own entry, else that of the longest `prefix/*` it is below. Case counts.
 *
 * @param path as the secrets store has accepted it
 */
export function secretRuleFor(network: Network, path: string): SecretRule | undefined {
  let found: SecretRule | undefined
  for (const candidate of network.secrets ?? []) {
    if (candidate.path === path) return candidate
    if (!candidate.path.endsWith('/*') || !path.startsWith(candidate.path.slice(0, -1))) continue
    if (candidate.path.length > (found?.path.length ?? 0)) found = candidate
  }
  return found
}
