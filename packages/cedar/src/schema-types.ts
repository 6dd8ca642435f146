import { SallyportError } from '@sallyport/base'
import type { EntityUid } from './types.ts'

/** A Cedar type with every name resolved. */
export type CedarType =
  | {
      readonly kind: 'bool' | 'long' | 'string' | 'ipaddr' | 'decimal' | 'datetime' | 'duration'
    }
  /** An entity of type `type`; an action's type is `…::Action`. */
  | { readonly kind: 'entity'; readonly type: string }
  | { readonly kind: 'set'; readonly element: CedarType }
  | RecordType

export interface RecordType {
  readonly kind: 'record'
  readonly attributes: ReadonlyMap<string, AttributeType>
}

export interface AttributeType {
  readonly type: CedarType
  /** Otherwise it may be absent. */
  readonly required: boolean
}

export interface EntityTypeModel {
  readonly name: string
  readonly attributes: ReadonlyMap<string, AttributeType>
  /** The type of every tag; undefined where entities of the type have none. */
  readonly tags: CedarType | undefined
  /** Entity types that its parents may have. */
  readonly parents: readonly string[]
  /** The only ids that there are, of an enumerated type. */
  readonly ids: readonly string[] | undefined
}

export interface ActionModel {
  readonly uid: EntityUid
  /** Entity types; empty for an action that is only a group of others. */
  readonly principals: readonly string[]
  readonly resources: readonly string[]
  readonly context: RecordType
  /** The groups that it is a direct member of. */
  readonly parents: readonly EntityUid[]
}

/** What a schema says of types, for analysis. */
export interface SchemaTypes {
  readonly entityTypes: ReadonlyMap<string, EntityTypeModel>
  readonly actions: readonly ActionModel[]
  action(uid: EntityUid): ActionModel | undefined
}

/** A type of Cedar's JSON schema format, names resolved. */
export interface TypeJson {
  readonly type: string
  readonly name?: string
  readonly element?: TypeJson
  readonly attributes?: Readonly<Record<string, TypeJson & { readonly required?: boolean }>>
}

export interface NamespaceJson {
  readonly commonTypes?: Readonly<Record<string, TypeJson>>
  readonly entityTypes: Readonly<
    Record<
      string,
      {
        readonly shape?: TypeJson
        readonly tags?: TypeJson
        readonly memberOfTypes?: readonly string[]
        readonly enum?: readonly string[]
      }
    >
  >
  readonly actions: Readonly<
    Record<
      string,
      {
        readonly memberOf?: readonly { readonly id: string; readonly type?: string }[]
        readonly appliesTo?: {
          readonly principalTypes?: readonly string[]
          readonly resourceTypes?: readonly string[]
          readonly context?: TypeJson
        }
      }
    >
  >
}

export const qualified = (namespace: string, name: string): string =>
  namespace === '' ? name : `${namespace}::${name}`

const SCALARS: ReadonlyMap<string, CedarType> = new Map<string, CedarType>([
  ['Bool', { kind: 'bool' }],
  ['Boolean', { kind: 'bool' }],
  ['Long', { kind: 'long' }],
  ['String', { kind: 'string' }],
  ['ipaddr', { kind: 'ipaddr' }],
  ['decimal', { kind: 'decimal' }],
  ['datetime', { kind: 'datetime' }],
  ['duration', { kind: 'duration' }],
])

const NO_ATTRIBUTES: RecordType = { kind: 'record', attributes: new Map() }

/** @throws SallyportError `SP_CEDAR_UNSUPPORTED` for a type that Cedar 4.5 does not have */
export function schemaTypes(namespaces: Readonly<Record<string, NamespaceJson>>): SchemaTypes {
  const bodies = Object.entries(namespaces)
  const common = new Map(
    bodies.flatMap(([namespace, { commonTypes }]) =>
      Object.entries(commonTypes ?? {}).map(
        ([name, type]) => [qualified(namespace, name), type] as const,
      ),
    ),
  )
  const resolver = new Resolver(common, namesOf(bodies))
  const entityTypes = bodies.flatMap(([namespace, body]) =>
    Object.entries(body.entityTypes).map(([short, entity]): EntityTypeModel => ({
      name: qualified(namespace, short),
      attributes: resolver.record(entity.shape).attributes,
      tags: entity.tags && resolver.type(entity.tags),
      parents: entity.memberOfTypes ?? [],
      ids: entity.enum,
    })),
  )
  const actions = bodies.flatMap(([namespace, body]) => {
    const type = qualified(namespace, 'Action')
    return Object.entries(body.actions).map(([id, action]): ActionModel => ({
      uid: { type, id },
      principals: action.appliesTo?.principalTypes ?? [],
      resources: action.appliesTo?.resourceTypes ?? [],
      context: resolver.record(action.appliesTo?.context),
      parents: (action.memberOf ?? []).map((parent) => ({
        type: parent.type ?? type,
        id: parent.id,
      })),
    }))
  })
  const byUid = new Map(actions.map((action) => [key(action.uid), action]))
  return {
    entityTypes: new Map(entityTypes.map((model) => [model.name, model])),
    actions,
    action: (uid) => byUid.get(key(uid)),
  }
}

const key = ({ type, id }: EntityUid): string => JSON.stringify([type, id])

function namesOf(bodies: readonly (readonly [string, NamespaceJson])[]): ReadonlySet<string> {
  return new Set(
    bodies.flatMap(([namespace, { entityTypes }]) =>
      Object.keys(entityTypes).map((name) => qualified(namespace, name)),
    ),
  )
}

class Resolver {
  readonly #common: ReadonlyMap<string, TypeJson>
  readonly #entities: ReadonlySet<string>

  constructor(common: ReadonlyMap<string, TypeJson>, entities: ReadonlySet<string>) {
    this.#common = common
    this.#entities = entities
  }

  record(json: TypeJson | undefined): RecordType {
    if (json === undefined) return NO_ATTRIBUTES
    const type = this.type(json)
    if (type.kind !== 'record') throw unknown(json.type)
    return type
  }

  type(json: TypeJson): CedarType {
    switch (json.type) {
      case 'Record': {
        const attributes = Object.entries(json.attributes ?? {}).map(
          ([name, member]): [string, AttributeType] => [
            name,
            { type: this.type(member), required: member.required ?? true },
          ],
        )
        return { kind: 'record', attributes: new Map(attributes) }
      }
      case 'Set':
        if (json.element === undefined) throw unknown(json.type)
        return { kind: 'set', element: this.type(json.element) }
      case 'Entity':
        return { kind: 'entity', type: json.name ?? '' }
      case 'Extension':
      case 'EntityOrCommon':
        return this.#named(json.name ?? '')
      default:
        return this.#named(json.type)
    }
  }

  #named(name: string): CedarType {
    const common = this.#common.get(name)
    // Common types cannot be cyclic: the parser refuses that.
    if (common !== undefined) return this.type(common)
    const scalar = SCALARS.get(name.replace(/^__cedar::/, ''))
    if (scalar !== undefined) return scalar
    if (this.#entities.has(name)) return { kind: 'entity', type: name }
    throw unknown(name)
  }
}

function unknown(name: string): SallyportError {
  return new SallyportError('SP_CEDAR_UNSUPPORTED', `the schema uses \`${name.slice(0, 60)}\``)
}
