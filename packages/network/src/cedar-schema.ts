import { attributesType } from './attributes.ts'
import { foreignAgentsOf } from './federation.ts'
import type { InputType, Network } from './types.ts'

/**
 * The Cedar schema of a network, in Cedar's human-readable syntax: the model of ARCHITECTURE.md, with one action for
 * each operation whose context types exactly that operation's input. Policies are validated against it, so a policy
 * that reads an input which does not exist is an error and not a silent never.
 *
 * @param principal who calls: our own instances, or those of declared agents of other trust domains, whose calls are decided
 *   by policies of their own
 */
export function deriveSchema(
  network: Network,
  principal: 'Instance' | 'ForeignInstance' = 'Instance',
): string {
  const operations = network.systems.flatMap((system) =>
    system.operations.map((operation) => ({ system, operation })),
  )
  return [
    entityTypes(network),
    ...network.systems.map((system) => `action ${quote(`${system.name}.*`)} in ["call"];`),
    '',
    ...operations.map(
      ({ system, operation }) =>
        `action ${quote(`${system.name}.${operation.name}`)} in [${quote(`${system.name}.*`)}, ${quote(operation.kind)}] appliesTo {
  principal: [${principal}],
  resource: [System],
  context: { input: ${typeOf(operation.input)}, ${BASE_CONTEXT} }
};`,
    ),
    ...['read', 'mask', 'tokenise'].map(
      (treatment) => `action "field.${treatment}" appliesTo {
  principal: [${principal}],
  resource: [Field],
  context: { operation: String, ${BASE_CONTEXT} }
};`,
    ),
    '',
  ].join('\n')
}

const entityTypes = (network: Network): string => `entity Segment;
entity Role;
entity Agent in [Segment, Role] { name: String, owner: String, segment: String, criticality: String${attributesType(network.agents)} };
entity Instance in [Agent] { agent: Agent };
${foreignTypes(network)}entity System in [Segment] { name: String, owner: String, criticality: String${attributesType(network.systems)} };
entity DataSet;
entity Field in [DataSet] { name: String, class: Long, className: String, tags: Set<String> };

${timeType(network)}
type Session = { labels: Set<String> };
type Evidence = { approvals: Long, approvers: Set<String> };
type OnBehalfOf = { subject: String, actors: Set<String> };
type Payment = { amount: Long, currency: String, creditor: String, by: String };
type Mandate = { id: String, delegator: String, depth: Long, task: String };

action "call";
action "read", "write" in ["call"];`

const foreignTypes = (network: Network): string =>
  foreignAgentsOf(network).length === 0
    ? ''
    : `entity ForeignDomain;
entity ForeignAgent in [ForeignDomain] { name: String, trustDomain: String, owner: String };
entity ForeignInstance in [ForeignAgent] { foreign: ForeignAgent };
`

/** The local time is there where a time zone is declared. */
function timeType({ settings }: Network): string {
  const clock = 'hour: Long, minute: Long, weekday: Long, date: String'
  return settings.timeZone === undefined
    ? `type Time = { epoch: Long, ${clock} };`
    : `type LocalTime = { ${clock} };\ntype Time = { epoch: Long, ${clock}, local: LocalTime };`
}

/** What every call's context has, as members of a Cedar record type. */
export const BASE_CONTEXT =
  'time: Time, source?: ipaddr, session: Session, risk: Long, purpose: String, evidence: Evidence, onBehalfOf?: OnBehalfOf, payment?: Payment, mandate?: Mandate'

function typeOf(type: InputType): string {
  switch (type.type) {
    case 'string':
      return 'String'
    case 'long':
      return 'Long'
    case 'decimal':
      return 'decimal'
    case 'boolean':
      return 'Bool'
    case 'set':
      return `Set<${typeOf(type.items)}>`
    default:
      return `{ ${Object.entries(type.members)
        .map(
          ([name, { schema, required }]) =>
            `${quote(name)}${required ? '' : '?'}: ${typeOf(schema)}`,
        )
        .join(', ')} }`
  }
}

/** A Cedar string. The names that reach it are printable ASCII without quotes; escaping is the second line. */
function quote(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
}
