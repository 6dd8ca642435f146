import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { EnforcementAbility, Operation } from '@sallyport/network'
import { incapable, unobserved } from '../src/abilities.ts'
import type { FieldTreatment, Outcome } from '../src/types.ts'

const ALL: readonly EnforcementAbility[] = ['body', 'project', 'label']
const can = (...abilities: EnforcementAbility[]): ReadonlySet<EnforcementAbility> =>
  new Set(abilities)

function operation(over: Partial<Operation> = {}): Operation {
  return {
    name: 'one',
    description: 'one',
    kind: 'read',
    binding: { kind: 'http', method: 'GET', path: '/one', parameters: { id: 'path' } },
    input: { type: 'record', members: { id: { schema: { type: 'boolean' }, required: true } } },
    returns: { $: 'account' },
    ...over,
  }
}
function outcome(treatment: FieldTreatment = 'whole', over: Partial<Outcome> = {}): Outcome {
  return {
    ...{ decision: 'allow', code: 'SP_ALLOWED', reasons: [], errors: [], needs: [] },
    projection: { account: { id: 'whole', name: treatment } },
    ...{ limits: [], labels: [], maxClass: 'internal' },
    ...over,
  }
}
const DONE = { limits: false, labels: [] }

test('an enforcement point enforces all of an allow, or none of it', () => {
  const limit = { name: 'few', agents: [], operations: [], windowSeconds: 1, maxCalls: 1 }
  // The shape that a decision gives a limit; only that there is one counts here.
  const limited = outcome('whole', { limits: [limit] as unknown as Outcome['limits'] })
  const inBody = operation({
    binding: { kind: 'http', method: 'POST', path: '/one', parameters: { id: 'body' } },
  })
  const inBytes = operation({
    binding: {
      ...{ kind: 'http', method: 'GET', path: '/one', parameters: { id: 'query' } },
      bytes: { types: ['application/pdf'], maxBytes: 9 },
    },
  })
  const tool = operation({ binding: { kind: 'mcp', tool: 'one', inputSchema: {} } })
  const input: Operation['input'] = { type: 'record', members: {} }
  const rows: readonly [string, string | undefined, Parameters<typeof incapable>][] = [
    ['nothing is asked', undefined, [can(), operation(), outcome(), DONE]],
    ['a limit', 'limit', [can(...ALL), operation(), limited, DONE]],
    ['one reserved elsewhere', undefined, [can(), operation(), limited, { ...DONE, limits: true }]],
    ['bytes', 'bytes', [can(...ALL), inBytes, outcome(), DONE]],
    ['a body', 'body', [can('project', 'label'), inBody, outcome(), DONE]],
    ['a body that is seen', undefined, [can('body'), inBody, outcome(), DONE]],
    ['arguments of a tool', 'body', [can(), tool, outcome(), DONE]],
    ['a tool without arguments', undefined, [can(), { ...tool, input }, outcome(), DONE]],
    ['no field may return', 'nothing', [can(), operation({ returns: {} }), outcome(), DONE]],
    ['that it can do', undefined, [can('project'), operation({ returns: {} }), outcome(), DONE]],
    ...(['mask', 'tokenise', 'drop'] as const).flatMap(
      (how): [string, string | undefined, Parameters<typeof incapable>][] => [
        [how, 'fields', [can('body', 'label'), operation(), outcome(how), DONE]],
        [`${how} that it can do`, undefined, [can('project'), operation(), outcome(how), DONE]],
      ],
    ),
    [
      'labels',
      'labels',
      [can('body', 'project'), operation(), outcome(), { ...DONE, labels: ['a'] }],
    ],
    [
      'labels it puts',
      undefined,
      [can('label'), operation(), outcome(), { ...DONE, labels: ['a'] }],
    ],
  ]
  for (const [name, said, asked] of rows) {
    const answer = incapable(...asked)
    if (said === undefined) assert.equal(answer, undefined, name)
    else assert.match(answer ?? '', new RegExp(`\\b${said}\\b`), name)
  }
})

test('what a point cannot do, nobody saw of its calls', () => {
  for (const ability of ALL) assert.ok(unobserved(can()).includes(ability))
  assert.ok(!unobserved(can('body')).includes('body'))
  assert.ok(unobserved(can('body')).includes('project'))
})
