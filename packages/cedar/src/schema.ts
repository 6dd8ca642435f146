import { SallyportError } from '@sallyport/base'
import { boundSchema } from './lex.ts'
import { parseSchema } from './parser.ts'
import { Slicer } from './slicer.ts'
import { qualified, schemaTypes } from './schema-types.ts'
import type { NamespaceJson, SchemaTypes, TypeJson } from './schema-types.ts'
import type { EntityJson, EntityUid } from './types.ts'

/** Reads data as a schema types it. */
export interface CedarSchema {
  /**
   * Entities whose attributes may leave their type unsaid (`{type, id}` for an entity, a text for an `ipaddr`), made
   * explicit; the schema's own actions are added.
   */
  entities(entities: readonly EntityJson[]): EntityJson[]
  /** The context of a request, made explicit in the same way. */
  context(action: EntityUid, context: Readonly<Record<string, unknown>>): EntityJson['attrs']
  /** Its entity types and actions, for analysis. @throws SallyportError `SP_CEDAR_UNSUPPORTED` */
  types(): SchemaTypes
}

/** @throws SallyportError `SP_CEDAR_INVALID` for a schema that is not one, `SP_CEDAR_LIMIT`, `SP_CEDAR_PARSER` */
export async function loadSchema(text: string): Promise<CedarSchema> {
  await boundSchema(text, new Slicer())
  const answer = await parseSchema(text)
  if (answer.type === 'failure') {
    throw new SallyportError('SP_CEDAR_INVALID', `the schema: ${answer.errors[0]?.message ?? ''}`)
  }
  return new Schema(answer.json)
}

/** Extension type → the constructor that a bare text stands for. */
const CONSTRUCTORS: ReadonlyMap<string, string> = new Map([
  ['ipaddr', 'ip'],
  ['decimal', 'decimal'],
  ['datetime', 'datetime'],
  ['duration', 'duration'],
])

class Schema implements CedarSchema {
  readonly #common = new Map<string, TypeJson>()
  readonly #shapes = new Map<string, { shape?: TypeJson; tags?: TypeJson }>()
  readonly #contexts = new Map<string, TypeJson | undefined>()
  readonly #actions: EntityJson[] = []
  readonly #namespaces: Readonly<Record<string, NamespaceJson>>
  #types: SchemaTypes | undefined

  constructor(namespaces: Readonly<Record<string, NamespaceJson>>) {
    this.#namespaces = namespaces
    for (const [namespace, body] of Object.entries(namespaces)) {
      for (const [name, type] of Object.entries(body.commonTypes ?? {})) {
        this.#common.set(qualified(namespace, name), type)
      }
      for (const [name, entity] of Object.entries(body.entityTypes)) {
        this.#shapes.set(qualified(namespace, name), entity)
      }
      const type = qualified(namespace, 'Action')
      for (const [id, action] of Object.entries(body.actions)) {
        const parents = (action.memberOf ?? []).map((parent) => ({
          type: parent.type ?? type,
          id: parent.id,
        }))
        this.#actions.push({ uid: { type, id }, attrs: {}, parents })
        this.#contexts.set(key({ type, id }), action.appliesTo?.context)
      }
    }
  }

  types(): SchemaTypes {
    return (this.#types ??= schemaTypes(this.#namespaces))
  }

  entities(entities: readonly EntityJson[]): EntityJson[] {
    const given = new Set(entities.map(({ uid }) => key(uid)))
    const actions = this.#actions.filter(({ uid }) => !given.has(key(uid)))
    return [
      ...actions,
      ...entities.map((entity): EntityJson => {
        const { shape, tags } = this.#shapes.get(entity.uid.type) ?? {}
        return {
          uid: entity.uid,
          parents: entity.parents,
          attrs: this.#record(entity.attrs, shape),
          ...(entity.tags ? { tags: this.#each(entity.tags, () => tags) } : {}),
        }
      }),
    ]
  }

  context(action: EntityUid, context: Readonly<Record<string, unknown>>): EntityJson['attrs'] {
    return this.#record(context, this.#contexts.get(key(action)))
  }

  #record(
    value: Readonly<Record<string, unknown>>,
    type: TypeJson | undefined,
  ): EntityJson['attrs'] {
    const attributes = this.#resolve(type)?.attributes
    return this.#each(value, (name) =>
      attributes && Object.hasOwn(attributes, name) ? attributes[name] : undefined,
    )
  }

  #each(
    value: Readonly<Record<string, unknown>>,
    typeOf: (name: string) => TypeJson | undefined,
  ): EntityJson['attrs'] {
    const members = Object.entries(value).map(([name, inner]) => [
      name,
      this.#value(inner, typeOf(name)),
    ])
    // Values stay unknown here; `EntityStore.from` and `decide` refuse what is no Cedar value.
    return Object.fromEntries(members) as EntityJson['attrs']
  }

  #value(value: unknown, declared: TypeJson | undefined): unknown {
    const type = this.#resolve(declared)
    if (type === undefined) return value
    if (typeof value === 'string') {
      const name = type.type === 'Extension' ? (type.name ?? '') : type.type
      const fn = CONSTRUCTORS.get(name.replace(/^__cedar::/, ''))
      return fn === undefined ? value : { __extn: { fn, arg: value } }
    }
    if (typeof value !== 'object' || value === null) return value
    if (Array.isArray(value)) return value.map((item: unknown) => this.#value(item, type.element))
    if (type.type === 'Entity') return '__entity' in value ? value : { __entity: value }
    return type.attributes ? this.#record(value as Record<string, unknown>, type) : value
  }

  #resolve(type: TypeJson | undefined): TypeJson | undefined {
    if (type === undefined) return undefined
    const name = type.type === 'EntityOrCommon' ? (type.name ?? '') : type.type
    const common = this.#common.get(name)
    // Common types cannot be cyclic: the parser refuses that.
    return common ? this.#resolve(common) : type
  }
}

const key = ({ type, id }: EntityUid): string => JSON.stringify([type, id])
