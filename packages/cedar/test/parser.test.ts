import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { closeCedar } from '../src/index.ts'
import type { PolicyEst } from '../src/est.ts'
import { parsePolicies, parseSchema, validatePolicies } from '../src/parser.ts'
import { perform } from '../src/task.ts'

after(closeCedar)

const POLICY = 'permit(principal, action, resource);'
const TEMPLATE = 'permit(principal == ?principal, action, resource);'
const SCHEMA = 'entity U; action a appliesTo { principal: U, resource: U };'
const CASE = {
  schema: SCHEMA,
  policies: [
    ['good', POLICY],
    ['bad', 'permit(principal, action, resource) when { context.x == 1 };'],
  ] as const,
  templates: [['t', TEMPLATE]] as const,
  links: [{ templateId: 't', newId: 'l', values: { '?principal': { type: 'X', id: 'a' } } }],
}
/** Policies that the checker does not pass, by id. */
const faulty = (answer: Awaited<ReturnType<typeof validatePolicies>>): string[] =>
  answer.type === 'success' ? answer.validationErrors.map(({ policyId }) => policyId).sort() : []

describe('what a worker does', () => {
  it('parses policies, or templates, in order', () => {
    const parsed = perform({ kind: 'parse', sources: [POLICY, TEMPLATE, 'x'] })
    assert.equal(parsed.kind, 'parse')
    assert.deepEqual(
      parsed.answers.map(({ type }) => type),
      ['success', 'failure', 'failure'],
    )
    const templates = perform({ kind: 'parse-templates', sources: [TEMPLATE, POLICY] })
    assert.equal(templates.kind, 'parse')
    assert.deepEqual(
      templates.answers.map(({ type }) => type),
      ['success', 'failure'],
    )
  })

  it('checks policies, templates and links against a schema', () => {
    const checked = perform({ kind: 'validate', ...CASE })
    assert.ok(checked.kind === 'validate')
    assert.deepEqual(faulty(checked.answer), ['bad', 'l'])
    const none = perform({ kind: 'validate', ...CASE, schema: 'entity' })
    assert.ok(none.kind === 'validate' && none.answer.type === 'failure')
  })

  it('reads a schema', () => {
    const read = perform({ kind: 'schema', schema: SCHEMA })
    assert.ok(read.kind === 'schema' && read.answer.type === 'success')
    const wrong = perform({ kind: 'schema', schema: 'entity' })
    assert.ok(wrong.kind === 'schema' && wrong.answer.type === 'failure')
  })
})

describe('the parser', () => {
  it('answers the same out of its worker', async () => {
    const types = async (...args: Parameters<typeof parsePolicies>) =>
      (await parsePolicies(...args)).map(({ type }) => type)
    assert.deepEqual(await types([POLICY, 'x', TEMPLATE]), ['success', 'failure', 'failure'])
    assert.deepEqual(await types([TEMPLATE, POLICY], true), ['success', 'failure'])
    assert.deepEqual(faulty(await validatePolicies(CASE)), ['bad', 'l'])
    assert.equal((await parseSchema(SCHEMA)).type, 'success')
  })

  it('asks no worker for nothing', async () => {
    await closeCedar()
    assert.deepEqual(await parsePolicies([]), [])
  })

  it('answers each of many at once with its own', async () => {
    const asked = Array.from({ length: 20 }, (_, i) => `@id("${i}") ${POLICY}`)
    const answers = await Promise.all(asked.map((source) => parsePolicies([source])))
    for (const [i, [answer]] of answers.entries()) {
      assert.ok(answer?.type === 'success')
      const { annotations } = JSON.parse(answer.json) as PolicyEst
      assert.deepEqual(annotations, { id: String(i) })
    }
  })

  it('says how it failed where it crashes, and works on: the next has another worker', async () => {
    const bomb = `permit(principal, action, resource) when { ${'['.repeat(3000)}${']'.repeat(3000)} == 1 };`
    const [crash, next] = await Promise.allSettled([parsePolicies([bomb]), parsePolicies([POLICY])])
    assert.ok(crash.status === 'rejected')
    const { code, message, detail, fix, cause } = crash.reason as Record<string, unknown>
    assert.equal(code, 'SP_CEDAR_PARSER')
    assert.equal(message, 'the Cedar parser could not process the policies')
    assert.match(String(detail), /^the parser crashed: ./)
    assert.equal(fix, 'make the policy smaller or less nested')
    assert.ok(cause instanceof Error)
    assert.ok(next.status === 'fulfilled')
    assert.equal(next.value[0]?.type, 'success')
  })

  it('starts again after it was closed, also while it works', async () => {
    await closeCedar()
    await closeCedar()
    const [answer] = await Promise.all([parsePolicies([POLICY]), closeCedar()])
    assert.equal(answer[0]?.type, 'success')
    assert.equal((await parsePolicies([POLICY]))[0]?.type, 'success')
  })
})
