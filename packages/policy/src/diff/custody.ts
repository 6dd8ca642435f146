import { secretRuleFor } from '@sallyport/network'
import type { Network, SecretRule } from '@sallyport/network'
import { shown } from './limits.ts'
import type { LimitChange } from './types.ts'

/**
 * What agents may hold apart from calls: accounts in databases, secrets, and keys. No policy decides about these, so what is declared is
 * all there is. Each fact that is new widens; where a bound or a place differs, that counts as widened too.
 */
export function custodyChanges(before: Network, after: Network): LimitChange[] {
  // An entry that goes leaves its path to a wider one, which may give more.
  const paths = [before, after].flatMap(({ secrets = [] }) => secrets.map(({ path }) => path))
  const [a, b] = [factsOf(before, paths), factsOf(after, paths)]
  const changes: LimitChange[] = []
  for (const what of [...new Set([...a.keys(), ...b.keys()])].toSorted()) {
    const [old = [], next = []] = [a.get(what), b.get(what)]
    if (shown(old) === shown(next)) continue
    const direction = next.some((fact) => !old.includes(fact)) ? 'widened' : 'narrowed'
    changes.push({ direction, what, before: shown(old), after: shown(next) })
  }
  return changes
}

type Facts = Map<string, readonly string[]>

function factsOf(network: Network, paths: readonly string[]): Facts {
  const { databases = [], transit = [] } = network
  const facts: Facts = new Map()
  for (const { name, accounts, host, port, database, tls, admin, login } of databases) {
    facts.set(`database ${name}`, [shown({ host, port, database, tls, admin, login })])
    for (const { agent, grants, ...bounds } of accounts) {
      const rights = grants.flatMap(({ schema, table, columns, actions, rows }) =>
        actions.flatMap((action) =>
          // Deleting concerns rows, not columns.
          (action === 'delete' ? ['*'] : columns).map((column) =>
            shown([action, schema, table, column, rows ?? 'all rows']),
          ),
        ),
      )
      facts.set(`database ${name}: account of ${agent}`, [...rights.toSorted(), shown(bounds)])
    }
  }
  for (const path of paths) {
    const rule = secretRuleFor(network, path)
    if (rule) facts.set(`secret ${path}`, readersOf(rule))
  }
  for (const { name, type, users } of transit) {
    const acts = Object.entries(users).flatMap(([user, all]) => all.map((act) => `${user} ${act}`))
    facts.set(`key ${name}`, [type, ...acts.toSorted()])
  }
  return facts
}

function readersOf({ agents, services, operators, local, rotation }: SecretRule): string[] {
  return [
    ...agents.map((name) => `agent ${name}`),
    ...services.map((name) => `service ${name}`),
    ...operators.map((name) => `operator ${name}`),
    ...(local ? ['the administrator of the machine'] : []),
    // Whoever is asked for new keys could give one of his own.
    ...(rotation ? [shown(rotation)] : []),
  ].toSorted()
}
