import type { Report } from './check.ts'
import { didYouMean } from './problem.ts'
import { escapePointer } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'
import type { Network, OperatorRole } from './types.ts'

const RANK: Readonly<Record<OperatorRole, number>> = {
  viewer: 1,
  responder: 2,
  approver: 3,
  admin: 4,
}

/** What sign-ins refer to, and whether anyone could be taken for somebody else. */
export function checkPeople(network: Network, located: Located, report: Report): void {
  const providers = network.identityProviders ?? []
  const issuers = new Map<string, string>()
  for (const { name, issuer, groups, maxRole } of providers) {
    const pointer = `/identityProviders/${name}`
    const other = issuers.get(issuer)
    if (other !== undefined) {
      report(
        'SP_NETWORK_DUPLICATE',
        located.at(`${pointer}/issuer`),
        `the identity providers \`${other}\` and \`${name}\` have one issuer`,
        'a person could have the roles of one through the other',
        'declare it once',
      )
    }
    issuers.set(issuer, name)
    if (!URL.canParse(issuer) || new URL(issuer).username !== '') {
      report(
        'SP_NETWORK_SHAPE',
        located.at(`${pointer}/issuer`),
        'the issuer is not a plain https URL',
        'two readers could take it for different hosts',
        'write `https://host[:port][/path]`, exactly as its tokens have it',
      )
    }
    for (const [group, roles] of Object.entries(groups.map)) {
      const above = roles.find((role) => RANK[role] > RANK[maxRole])
      if (above === undefined) continue
      report(
        'SP_NETWORK_RULE',
        located.at(`${pointer}/groups/map/${escapePointer(group)}`),
        `\`${above}\` is above \`${maxRole}\`, the most that this identity provider gives`,
        'a reader would believe in a role that nobody gets',
        'raise `maxRole`, or give the group a lower role',
      )
    }
  }
  const linked = new Map<string, string>()
  for (const { name, identities = [] } of network.operators) {
    for (const [i, { provider, subject }] of identities.entries()) {
      const pointer = `/operators/${name}/identities/${i}`
      const known = providers.map((one) => one.name)
      if (!known.includes(provider)) {
        report(
          'SP_NETWORK_REFERENCE',
          located.at(`${pointer}/provider`),
          `there is no identity provider \`${provider}\`${didYouMean(provider, known)}`,
          'nobody could ever sign in as this',
          'declare the identity provider or correct the name',
        )
      }
      const key = `${provider} ${subject}`
      const other = linked.get(key)
      if (other !== undefined) {
        report(
          'SP_NETWORK_DUPLICATE',
          located.at(pointer),
          `\`${other}\` and \`${name}\` are the same account of \`${provider}\``,
          'one person could sign as two',
          'leave the account with one of them',
        )
      }
      linked.set(key, name)
    }
  }
}
