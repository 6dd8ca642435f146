import type { EntityJson, EntityUid } from '@sallyport/cedar'
import { SallyportError } from '@sallyport/base'
import { kindOf, parseSpiffeId } from '@sallyport/spiffe'
import { classRank } from './types.ts'
import { attributedKinds } from './attributes.ts'
import { foreignAgentsOf, isOfForeignAgent } from './federation.ts'
import type { Attributes, Network } from './types.ts'

type Facts = { readonly attributes?: Attributes }

const uid = (type: string, id: string): EntityUid => ({ type, id })

/** The resident entities of a network, actions included: everything but the live instances. */
export function deriveEntities(network: Network): EntityJson[] {
  const bare = (type: string, id: string, parents: readonly EntityUid[] = []): EntityJson => ({
    uid: uid(type, id),
    attrs: {},
    parents,
  })
  const call = uid('Action', 'call')
  const attributed = attributedKinds(network)
  const facts = (kind: 'agents' | 'systems', attributes: Attributes = {}): Facts =>
    attributed[kind] ? { attributes } : {}
  const roles = new Set(network.agents.flatMap((agent) => agent.roles))
  return [
    ...network.segments.map((segment) => bare('Segment', segment.name)),
    ...[...roles].map((role) => bare('Role', role)),
    ...network.agents.map((agent): EntityJson => ({
      uid: uid('Agent', agent.name),
      attrs: {
        name: agent.name,
        owner: agent.owner,
        segment: agent.segment,
        criticality: agent.criticality,
        ...facts('agents', agent.attributes),
      },
      parents: [uid('Segment', agent.segment), ...agent.roles.map((role) => uid('Role', role))],
    })),
    ...network.systems.map((system): EntityJson => ({
      uid: uid('System', system.name),
      attrs: {
        name: system.name,
        owner: system.owner,
        criticality: system.criticality,
        ...facts('systems', system.attributes),
      },
      parents: [uid('Segment', system.segment)],
    })),
    ...network.datasets.flatMap((dataset) => [
      bare('DataSet', dataset.name),
      ...dataset.fields.map((field): EntityJson => ({
        uid: uid('Field', `${dataset.name}.${field.name}`),
        attrs: {
          name: field.name,
          class: classRank(field.class),
          className: field.class,
          tags: field.tags,
        },
        parents: [uid('DataSet', dataset.name)],
      })),
    ]),
    bare('Action', 'call'),
    bare('Action', 'read', [call]),
    bare('Action', 'write', [call]),
    ...['read', 'mask', 'tokenise'].map((treatment) => bare('Action', `field.${treatment}`)),
    ...network.systems.flatMap((system) => [
      bare('Action', `${system.name}.*`, [call]),
      ...system.operations.map((operation) =>
        bare('Action', `${system.name}.${operation.name}`, [
          uid('Action', `${system.name}.*`),
          uid('Action', operation.kind),
        ]),
      ),
    ]),
    ...foreignEntities(network),
  ]
}

/** Callers of other trust domains: of types of their own, so that nothing said of our agents is said of them. */
function foreignEntities(network: Network): EntityJson[] {
  const agents = foreignAgentsOf(network)
  const domains = new Set(agents.map(({ trustDomain }) => trustDomain))
  return [
    ...[...domains].map((name) => ({ uid: uid('ForeignDomain', name), attrs: {}, parents: [] })),
    ...agents.map(({ name, trustDomain, owner }) => ({
      uid: uid('ForeignAgent', name),
      attrs: { name, trustDomain, owner },
      parents: [uid('ForeignDomain', trustDomain)],
    })),
  ]
}

/**
 * The entity of one live instance of an agent, or of a foreign agent.
 *
 * @param spiffeId the verified id, `spiffe://TD/agent/NAME/INSTANCE` of an agent
 * @throws SallyportError `SP_NETWORK_NO_AGENT` when the network declares no such agent, `SP_SPIFFE_ID` when it is no id
 */
export function instanceEntity(network: Network, agentName: string, spiffeId: string): EntityJson {
  const id = parseSpiffeId(spiffeId)
  const foreign = foreignAgentsOf(network).find(({ name }) => name === agentName)
  if (foreign && isOfForeignAgent(foreign, id)) {
    return {
      uid: uid('ForeignInstance', spiffeId),
      attrs: { foreign: { __entity: uid('ForeignAgent', agentName) } },
      parents: [uid('ForeignAgent', agentName)],
    }
  }
  const kind = kindOf(id)
  if (
    !network.agents.some((agent) => agent.name === agentName) ||
    id.trustDomain !== network.trustDomain ||
    kind?.kind !== 'agent' ||
    kind.name !== agentName
  ) {
    throw new SallyportError('SP_NETWORK_NO_AGENT', 'the network declares no such agent', {
      detail: `\`${spiffeId}\` as \`${agentName}\``,
      fix: 'declare the agent in network.yaml, or enrol the instance under a declared one',
    })
  }
  return {
    uid: uid('Instance', spiffeId),
    attrs: { agent: { __entity: uid('Agent', agentName) } },
    parents: [uid('Agent', agentName)],
  }
}
