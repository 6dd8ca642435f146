import type { SourceSpan } from '@sallyport/base'
import { escapePointer } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'
import type { Report } from './check.ts'
import type { Attributes, AttributeValue, Network } from './types.ts'

type Kind = 'agents' | 'systems'
type CedarType = 'String' | 'Long' | 'Bool' | 'Set<String>'

/** Of which kinds some declare attributes. Where none does, the Cedar model has no such member. */
export function attributedKinds(network: Network): Readonly<Record<Kind, boolean>> {
  return { agents: declared(network.agents), systems: declared(network.systems) }
}

type Bearer = { readonly name: string; readonly attributes?: Attributes }

const declared = (bearers: readonly Bearer[]): boolean =>
  bearers.some(({ attributes }) => attributes !== undefined)

/**
 * The attributes of agents or systems as a member of a Cedar record type: one that all of them have is required, so
 * that policies need not ask for it. Empty where none has any.
 */
export function attributesType(bearers: readonly Bearer[]): string {
  if (!declared(bearers)) return ''
  const types = new Map<string, CedarType>()
  for (const { attributes = {} } of bearers) {
    for (const [name, value] of Object.entries(attributes)) types.set(name, cedarType(value))
  }
  const members = [...types].map(([name, type]) => {
    const always = bearers.every(({ attributes = {} }) => Object.hasOwn(attributes, name))
    return `"${name}"${always ? '' : '?'}: ${type}`
  })
  return `, attributes: { ${members.join(', ')} }`
}

/** An attribute has one type wherever it stands: policies are type-checked against it. */
export function checkAttributes(network: Network, located: Located, report: Report): void {
  for (const kind of ['agents', 'systems'] as const) {
    const seen = new Map<string, { readonly type: CedarType; readonly by: string }>()
    for (const { name: by, attributes = {} } of network[kind]) {
      for (const [name, value] of Object.entries(attributes)) {
        const type = cedarType(value)
        const other = seen.get(name)
        if (other === undefined) seen.set(name, { type, by })
        else if (other.type !== type) {
          const place: SourceSpan = located.at(
            `/${kind}/${escapePointer(by)}/attributes/${escapePointer(name)}`,
          )
          report(
            'SP_NETWORK_RULE',
            place,
            `the attribute \`${name}\` is a \`${type}\` here and a \`${other.type}\` of \`${other.by}\``,
            'a policy that reads it could not be checked',
            'give it the same type everywhere',
          )
        }
      }
    }
  }
}

function cedarType(value: AttributeValue): CedarType {
  switch (typeof value) {
    case 'string':
      return 'String'
    case 'number':
      return 'Long'
    case 'boolean':
      return 'Bool'
    default:
      return 'Set<String>'
  }
}
