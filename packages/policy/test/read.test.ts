import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { readTests, TestProblems, testsJsonSchema } from '../src/index.ts'

const ROW = '{ agent: a, call: s.op, code: SP_ALLOWED }'

/** Code, line and column of everything found wrong. */
function refused(text: string): string[] {
  try {
    readTests(text, 't.yaml')
  } catch (error) {
    assert.ok(error instanceof TestProblems)
    return error.problems.map(({ code, span }) => `${code} ${span.line}:${span.column}`)
  }
  return []
}

it('publishes the JSON Schema that it enforces', () => {
  const file = new URL('../schema/tests.schema.json', import.meta.url)
  assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), testsJsonSchema)
})

describe('rows', () => {
  it('start from defaults, then from what they use, then say their own', () => {
    const { rows, network } = readTests(
      `network: n.yaml
defaults: { risk: 5, source: 10.0.0.1, labels: [pii] }
named:
  pay: { agent: a, call: s.pay, input: { amount: 1, memo: m }, risk: 6 }
  night: { time: '2026-03-02T23:30:00+01:00' }
rows:
  - { name: at night, use: [pay, night], input: { amount: 2 }, labels: [], code: SP_ALLOWED, why: p }
  - { use: pay, input: { memo: null }, decision: deny, why: [p, q], needs: 2, approvals: [x] }
`,
      't.yaml',
    )
    assert.equal(network, 'n.yaml')
    const [first, second] = rows
    assert.deepEqual(first, {
      name: 'at night',
      span: { file: 't.yaml', line: 7, column: 5, endLine: 7, endColumn: 102 },
      agent: 'a',
      instance: 'test',
      system: 's',
      operation: 'pay',
      input: { amount: 2, memo: 'm' },
      labels: [],
      risk: 6,
      approvals: [],
      time: Date.UTC(2026, 2, 2, 22, 30),
      source: '10.0.0.1',
      first: [],
      tags: [],
      expect: { code: 'SP_ALLOWED', why: ['p'] },
    })
    assert.deepEqual(second?.input, { amount: 1 })
    assert.equal(second?.name, 'a calls s.pay')
    assert.equal(second?.time, Date.UTC(2026, 0, 5, 12))
    assert.deepEqual(second?.expect, { decision: 'deny', needs: 2, why: ['p', 'q'] })
  })

  it('come from tables too, one a line', () => {
    const { rows } = readTests(
      `tables:
  - name: by amount
    agent: a
    call: s.pay
    input: { currency: EUR }
    columns: [input.amount, approvals, code, why]
    rows:
      - [1, null, SP_ALLOWED, p]
      - [2, [x, y], SP_DENIED_FORBIDDEN, [p, q]]
`,
      't.yaml',
    )
    assert.deepEqual(
      rows.map(({ input, approvals, expect, span }) => [input, approvals, expect, span.line]),
      [
        [{ currency: 'EUR', amount: 1 }, [], { code: 'SP_ALLOWED', why: ['p'] }, 8],
        [
          { currency: 'EUR', amount: 2 },
          ['x', 'y'],
          { code: 'SP_DENIED_FORBIDDEN', why: ['p', 'q'] },
          9,
        ],
      ],
    )
  })
})

describe('what is refused, where it stands', () => {
  it('a complete row is not', () => assert.deepEqual(refused(`rows: [${ROW}]`), []))

  for (const [what, text, ...expected] of [
    ['no rows', 'rows: []', 'SP_POLICY_TEST_ROW 1:1'],
    ['no YAML', 'rows: [', 'SP_NETWORK_YAML 1:8'],
    ['an unknown key', `rows: [${ROW}]\nrowz: []`, 'SP_NETWORK_UNKNOWN_KEY 2:1'],
    ['an unknown member', 'rows:\n  - { agnt: a }', 'SP_NETWORK_UNKNOWN_KEY 2:7'],
    ['a key said twice', `rows: [${ROW}]\nrows: [${ROW}]`, 'SP_NETWORK_DUPLICATE_KEY 2:1'],
    [
      'an unknown code',
      'rows: [{ agent: a, call: s.op, code: SP_ALOWED }]',
      'SP_NETWORK_SHAPE 1:38',
    ],
    ['nobody', 'rows: [{ call: s.op, code: SP_ALLOWED }]', 'SP_POLICY_TEST_ROW 1:8'],
    ['nothing called', 'rows: [{ agent: a, code: SP_ALLOWED }]', 'SP_POLICY_TEST_ROW 1:8'],
    ['nothing expected', 'rows: [{ agent: a, call: s.op }]', 'SP_POLICY_TEST_ROW 1:8'],
    [
      'an unknown part',
      'rows: [{ use: x, agent: a, call: s.op, code: SP_ALLOWED }]',
      'SP_POLICY_TEST_REFERENCE 1:8',
    ],
    [
      'a time without an offset',
      `rows: [{ agent: a, call: s.op, code: SP_ALLOWED, time: '2026-03-02T09:30:00' }]`,
      'SP_POLICY_TEST_ROW 1:8',
    ],
    [
      'a day that does not exist',
      `rows: [{ agent: a, call: s.op, code: SP_ALLOWED, time: '2026-02-30T09:30:00Z' }]`,
      'SP_POLICY_TEST_ROW 1:8',
    ],
    [
      'no address',
      'rows: [{ agent: a, call: s.op, code: SP_ALLOWED, source: 10.0.0.256 }]',
      'SP_POLICY_TEST_ROW 1:8',
    ],
    [
      'a cell too few',
      'tables:\n  - { agent: a, call: s.op, columns: [code, why], rows: [[SP_ALLOWED]] }',
      'SP_POLICY_TEST_ROW 2:58',
    ],
    [
      'a cell of another type',
      'tables:\n  - { agent: a, call: s.op, columns: [code, risk], rows: [[SP_ALLOWED, high]] }',
      'SP_NETWORK_SHAPE 2:59',
    ],
    [
      'an unknown column',
      'tables:\n  - { agent: a, call: s.op, columns: [code, rsik], rows: [[SP_ALLOWED, 1]] }',
      'SP_NETWORK_SHAPE 2:45',
    ],
  ] as const) {
    it(what, () => assert.deepEqual(refused(text), expected))
  }

  it('everything at once, and the nearest name', () => {
    assert.throws(
      () => readTests('named: { pay: { risk: 1 } }\nrows: [{ use: pai, risk: 101 }]', 't.yaml'),
      /SP_POLICY_TEST_INVALID|the tests have 1 problem/,
    )
    assert.deepEqual(refused('rows:\n  - { use: pai }\n  - { agent: a }').length, 6)
  })
})
