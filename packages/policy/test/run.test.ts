import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { closeCedar } from '@sallyport/cedar'
import { loadDeclaration } from '@sallyport/network'
import type { Declaration } from '@sallyport/network'
import { readTests, runTests, TestProblems } from '../src/index.ts'

const STARTER = join(import.meta.dirname, '../../cli/templates/starter/network.yaml')
const PAY = `named:
  pay: { agent: assistant, call: invoices.payInvoice, input: { invoiceId: I1, amount: 20000, currency: EUR } }
  read: { agent: assistant, call: invoices.getInvoice, input: { invoiceId: I1 } }
`

after(closeCedar)

let declaration: Declaration
before(async () => {
  declaration = await loadDeclaration({ networkFile: STARTER })
})

const run = (rows: string) => runTests([readTests(`${PAY}rows:\n${rows}`, 't.yaml')], declaration)

/** The rows' mismatches, as `what: expected ≠ actual`. */
async function mismatches(rows: string): Promise<string[]> {
  const { results } = await run(rows)
  return results.flatMap(({ mismatches }) =>
    mismatches.map(({ what, expected, actual }) => `${what}: ${expected} ≠ ${actual}`),
  )
}

describe('rows', () => {
  it('pass as they stand', async () => {
    const { results } = await run(`
  - { use: pay, code: SP_ALLOWED, why: assistant.pays-small-invoices, limits: [payments] }
  - { use: pay, input: { amount: 20001 }, code: SP_NEEDS_APPROVAL, needs: 1, why: assistant.pays-with-approval }
  - { use: pay, input: { amount: 20001 }, approvals: [first], decision: allow }
  - { use: read, code: SP_ALLOWED, limits: [], projection: { invoices.amount: whole, invoices.payeeIban: mask } }
  - { use: read, input: { invoiceId: null }, code: SP_INPUT_MISSING }
  - { use: read, input: { extra: 1 }, code: SP_INPUT_UNKNOWN }
  - { use: pay, first: [{ call: invoices.getInvoice, input: { invoiceId: I1 } }], labels: [untrusted, money, pii], code: SP_ALLOWED }`)
    assert.deepEqual(
      results.map(({ passed, mismatches }) => [passed, mismatches]),
      results.map(() => [true, []]),
    )
  })

  it('fail by whatever is not as they expect', async () => {
    assert.deepEqual(
      await mismatches(`
  - { use: pay, code: SP_NO_FLOW }
  - { use: pay, decision: needs }
  - { use: pay, decision: allow, needs: 1 }
  - { use: pay, decision: allow, why: assistant.pays-with-approval }
  - { use: pay, input: { amount: 20001 }, decision: needs, why: assistant.reads }
  - { use: pay, decision: allow, limits: [] }
  - { use: read, decision: allow, limits: [payments] }
  - { use: read, decision: allow, projection: { invoices.note: drop, invoices.payeeIban: whole } }
  - { use: pay, decision: needs, input: { amount: 20001 }, projection: { invoices.note: whole } }
  - { use: pay, decision: allow, first: [{ call: invoices.payInvoice, input: { invoiceId: I1, amount: 20001, currency: EUR } }] }
  - { use: pay, decision: allow, labels: [pii], first: [{ call: invoices.getInvoice, input: { invoiceId: I1 } }] }`),
      [
        'code: SP_NO_FLOW ≠ SP_ALLOWED',
        'decision: needs ≠ allow',
        'approvals needed: 1 ≠ 0',
        'why: assistant.pays-with-approval ≠ assistant.pays-small-invoices',
        'why: assistant.reads ≠ assistant.pays-small-invoices, assistant.pays-with-approval',
        'limits: none ≠ payments',
        'limits: payments ≠ none',
        'invoices.note: drop ≠ whole',
        'invoices.payeeIban: whole ≠ mask',
        'invoices.note: whole ≠ drop',
        'the call before, invoices.payInvoice: SP_ALLOWED ≠ SP_NEEDS_APPROVAL',
        'labels: pii ≠ money, pii, untrusted',
      ],
    )
  })

  it('say what decided them and what would have to change', async () => {
    const [result] = (await run('  - { use: pay, input: { amount: 20001 }, code: SP_ALLOWED }'))
      .results
    assert.equal(result?.passed, false)
    assert.match(
      result?.summary ?? '',
      /`assistant` calling `invoices.payInvoice` needs an approval/,
    )
    assert.deepEqual(result?.remedies, ['obtain an approval of exactly this call'])
  })

  it('are refused where they name what is not declared, each where it stands', async () => {
    await assert.rejects(
      run(`
  - { use: pay, agent: asistant, code: SP_NO_FLOW }
  - { use: pay, call: invoices.payinvoice, code: SP_NO_FLOW }
  - { use: pay, approvals: [nobody], code: SP_ALLOWED }
  - { use: pay, why: assistant.pay, code: SP_ALLOWED }
  - { use: pay, limits: [payment], code: SP_ALLOWED }
  - { use: pay, projection: { invoices.iban: drop }, code: SP_ALLOWED }`),
      (error) => {
        assert.ok(error instanceof TestProblems)
        assert.deepEqual(
          error.problems.map(({ code, span }) => [code, span.line]),
          [6, 7, 8, 9, 10, 11].map((line) => ['SP_POLICY_TEST_REFERENCE', line]),
        )
        assert.match(error.detail ?? '', /no agent `asistant`; did you mean `assistant`\?/)
        return true
      },
    )
  })
})

describe('coverage', () => {
  const unseen = async (rows: string): Promise<string[]> =>
    (await run(rows)).coverage.policies.flatMap(({ policyId, unseen }) =>
      unseen.map(({ never, text }) => `${policyId} ${never}${text === '' ? '' : ` ${text}`}`),
    )

  it('is complete when every policy and every part of it was seen both ways', async () => {
    const rows = `
  - { use: read, code: SP_ALLOWED }
  - { use: pay, code: SP_ALLOWED }
  - { use: pay, input: { amount: 20001 }, approvals: [first], code: SP_ALLOWED }`
    assert.deepEqual(await unseen(rows), [])
    const { coverage } = await run(rows)
    assert.deepEqual([coverage.seen, coverage.total, coverage.percent], [16, 16, 100])
  })

  it('names what was never seen, field policies included, and never rounds up', async () => {
    const rows = '  - { use: pay, code: SP_ALLOWED }'
    assert.deepEqual(await unseen(rows), [
      'assistant.reads satisfied',
      'assistant.pays-small-invoices false context.input.amount <= 20000',
      'assistant.pays-with-approval satisfied',
      'assistant.pays-with-approval true context.evidence.approvals >= 1',
    ])
    assert.equal((await run(rows)).coverage.percent, 75)
  })

  it('counts no approval that a call did not have, though needs are found by assuming some', async () => {
    const rows = '  - { use: pay, input: { amount: 20001 }, code: SP_NEEDS_APPROVAL }'
    // 7 of 16: cut, it would be 43.75.
    assert.equal((await run(rows)).coverage.percent, 43.7)
    const found = await unseen(rows)
    assert.ok(found.includes('assistant.pays-with-approval satisfied'), found.join('\n'))
    assert.ok(!found.includes('assistant.pays-with-approval not satisfied'))
  })

  it('of a call that never reaches a policy is nothing', async () => {
    const { coverage } = await run('  - { use: read, input: { extra: 1 }, code: SP_INPUT_UNKNOWN }')
    assert.equal(coverage.seen, 0)
  })
})
