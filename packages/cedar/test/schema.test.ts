import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { closeCedar, loadSchema } from '../src/index.ts'
import type { EntityJson } from '../src/index.ts'
import { schemaTypes } from '../src/schema-types.ts'
import type { TypeJson } from '../src/schema-types.ts'

after(closeCedar)

const SCHEMA = `
type Place = { lat: decimal, at: Address };
type Address = ipaddr;
entity Team;
entity User in [Team] {
  boss: User, ip: ipaddr, ips: Set<ipaddr>, since: datetime, wait: duration, place: Place,
  peers: Set<User>, name: String, age: Long,
} tags ipaddr;
namespace N {
  type Count = { n: Long, by: User };
  entity User { owner: User, count: Count };
  entity Plain;
  action all;
  action read in [all] appliesTo { principal: User, resource: Plain, context: { from: ipaddr, who: User } };
  action odd in [Action::"all"] appliesTo { principal: User, resource: Plain };
}
action go appliesTo { principal: User, resource: User, context: { place: Place } };
`
const uid = (type: string, id: string) => ({ type, id })
const extension = (fn: string, arg: string) => ({ __extn: { fn, arg } })
// What the schema lets go unsaid is no value yet.
const loose = (attrs: object, type = 'User', tags?: object): EntityJson =>
  ({
    uid: uid(type, 'a'),
    attrs,
    parents: [uid('Team', 't')],
    ...(tags ? { tags } : {}),
  }) as EntityJson

describe('data as a schema types it', async () => {
  const schema = await loadSchema(SCHEMA)
  const typed = (attrs: object, type = 'User') =>
    schema.entities([loose(attrs, type)]).find((entity) => entity.uid.type === type)?.attrs

  it('makes entities and extension values explicit, in sets, records and common types', () => {
    assert.deepEqual(
      typed({
        boss: uid('User', 'b'),
        ip: '10.0.0.1',
        ips: ['10.0.0.1', '::1'],
        since: '2024-01-01',
        wait: '1d',
        place: { lat: '1.5', at: '::1' },
        peers: [uid('User', 'b'), { __entity: uid('User', 'c') }],
        name: '10.0.0.1',
        age: 5,
      }),
      {
        boss: { __entity: uid('User', 'b') },
        ip: extension('ip', '10.0.0.1'),
        ips: [extension('ip', '10.0.0.1'), extension('ip', '::1')],
        since: extension('datetime', '2024-01-01'),
        wait: extension('duration', '1d'),
        place: { lat: extension('decimal', '1.5'), at: extension('ip', '::1') },
        peers: [{ __entity: uid('User', 'b') }, { __entity: uid('User', 'c') }],
        name: '10.0.0.1',
        age: 5,
      },
    )
    assert.deepEqual(
      typed({ owner: uid('N::User', 'b'), count: { n: 1, by: uid('N::User', 'c') } }, 'N::User'),
      {
        owner: { __entity: uid('N::User', 'b') },
        count: { n: 1, by: { __entity: uid('N::User', 'c') } },
      },
    )
  })

  it('leaves alone what is explicit, undeclared, or of another shape', () => {
    const odd = {
      boss: { __entity: uid('User', 'b') },
      ip: extension('ip', '10.0.0.1'),
      ips: 'text',
      place: 5,
      peers: null,
      toString: '10.0.0.1',
      other: '10.0.0.1',
      age: { n: '1' },
    }
    assert.deepEqual(typed(odd), odd)
    assert.deepEqual(typed({ ip: '10.0.0.1' }, 'Unknown'), { ip: '10.0.0.1' })
    assert.deepEqual(typed({ ip: '10.0.0.1' }, 'N::Plain'), { ip: '10.0.0.1' })
  })

  it('types tags, and keeps uid and parents', () => {
    const [given] = schema.entities([loose({}, 'User', { x: '::1' })]).slice(-1)
    assert.deepEqual(given, {
      uid: uid('User', 'a'),
      attrs: {},
      parents: [uid('Team', 't')],
      tags: { x: extension('ip', '::1') },
    })
    const [plain] = schema.entities([loose({}, 'Team', { x: '::1' })]).slice(-1)
    assert.deepEqual(plain?.tags, { x: '::1' })
    assert.ok(!('tags' in (schema.entities([loose({})]).at(-1) ?? { tags: 0 })))
  })

  it('adds its own actions with their groups, but for those given', () => {
    const all = [
      { uid: uid('Action', 'go'), attrs: {}, parents: [] },
      { uid: uid('N::Action', 'all'), attrs: {}, parents: [] },
      { uid: uid('N::Action', 'odd'), attrs: {}, parents: [uid('N::Action', 'all')] },
      { uid: uid('N::Action', 'read'), attrs: {}, parents: [uid('N::Action', 'all')] },
    ]
    const sorted = (entities: readonly EntityJson[]) =>
      entities.toSorted((a, b) => JSON.stringify(a.uid).localeCompare(JSON.stringify(b.uid)))
    assert.deepEqual(sorted(schema.entities([])), all)
    const own = { uid: uid('N::Action', 'read'), attrs: {}, parents: [] }
    assert.deepEqual(sorted(schema.entities([own])), [...all.slice(0, 3), own])
  })

  it('types the context of an action', () => {
    const context = { from: '::1', who: uid('N::User', 'b'), other: '::1' }
    assert.deepEqual(schema.context(uid('N::Action', 'read'), context), {
      from: extension('ip', '::1'),
      who: { __entity: uid('N::User', 'b') },
      other: '::1',
    })
    assert.deepEqual(schema.context(uid('Action', 'go'), { place: { at: '::1' } }), {
      place: { at: extension('ip', '::1') },
    })
    assert.deepEqual(schema.context(uid('Action', 'read'), context), context)
    assert.deepEqual(schema.context(uid('N::Action', 'odd'), context), context)
  })

  it('refuses a schema that is none, or too much of one', async () => {
    await assert.rejects(loadSchema('entity'), {
      code: 'SP_CEDAR_INVALID',
      message: /^the schema: ./,
    })
    await assert.rejects(loadSchema('('.repeat(41)), { code: 'SP_CEDAR_LIMIT' })
  })
})

describe('the types of a schema in JSON form', () => {
  const shaped = (shape: TypeJson) =>
    schemaTypes({ '': { entityTypes: { U: { shape } }, actions: {} } }).entityTypes.get('U')
      ?.attributes
  const attribute = (type: TypeJson) =>
    shaped({ type: 'Record', attributes: { x: type } })?.get('x')?.type

  it('are resolved under each of their names', () => {
    const taken: [TypeJson, object][] = [
      [{ type: 'Bool' }, { kind: 'bool' }],
      [{ type: 'Boolean' }, { kind: 'bool' }],
      [{ type: 'Long' }, { kind: 'long' }],
      [{ type: 'String' }, { kind: 'string' }],
      [{ type: '__cedar::String' }, { kind: 'string' }],
      [{ type: 'EntityOrCommon', name: '__cedar::Long' }, { kind: 'long' }],
      [
        { type: 'EntityOrCommon', name: 'U' },
        { kind: 'entity', type: 'U' },
      ],
      [{ type: 'U' }, { kind: 'entity', type: 'U' }],
      [
        { type: 'Entity', name: 'V' },
        { kind: 'entity', type: 'V' },
      ],
      [
        { type: 'Set', element: { type: 'Long' } },
        { kind: 'set', element: { kind: 'long' } },
      ],
      [{ type: 'Record' }, { kind: 'record', attributes: new Map() }],
      ...['ipaddr', 'decimal', 'datetime', 'duration'].map((name): [TypeJson, object] => [
        { type: 'Extension', name },
        { kind: name },
      ]),
    ]
    for (const [json, type] of taken) assert.deepEqual(attribute(json), type, JSON.stringify(json))
  })

  it('refuse what Cedar does not have', () => {
    const refused = (json: TypeJson, message: string): void =>
      assert.throws(() => attribute(json), { code: 'SP_CEDAR_UNSUPPORTED', message })
    refused({ type: 'Float' }, 'the schema uses `Float`')
    refused({ type: 'x'.repeat(100) }, `the schema uses \`${'x'.repeat(60)}\``)
    refused({ type: 'Set' }, 'the schema uses `Set`')
    refused({ type: 'Extension', name: 'regex' }, 'the schema uses `regex`')
    refused({ type: 'EntityOrCommon' }, 'the schema uses ``')
    refused({ type: 'EntityOrCommon', name: 'x__cedar::Long' }, 'the schema uses `x__cedar::Long`')
    assert.throws(() => shaped({ type: 'Long' }), { message: 'the schema uses `Long`' })
  })

  it('may leave out what an action applies to, and what an entity has', () => {
    const types = schemaTypes({
      N: {
        entityTypes: { U: {} },
        actions: {
          all: {},
          read: { memberOf: [{ id: 'all' }, { id: 'x', type: 'Action' }], appliesTo: {} },
        },
      },
    })
    assert.deepEqual(types.entityTypes.get('N::U'), {
      name: 'N::U',
      attributes: new Map(),
      tags: undefined,
      parents: [],
      ids: undefined,
    })
    const context = { kind: 'record', attributes: new Map() }
    const bare = { principals: [], resources: [], context }
    assert.deepEqual(types.actions, [
      { uid: uid('N::Action', 'all'), ...bare, parents: [] },
      {
        uid: uid('N::Action', 'read'),
        ...bare,
        parents: [uid('N::Action', 'all'), uid('Action', 'x')],
      },
    ])
    assert.equal(types.action(uid('N::Action', 'read')), types.actions[1])
    assert.equal(types.action(uid('Action', 'read')), undefined)
  })
})
