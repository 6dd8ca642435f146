import { didYouMean } from '@sallyport/network'
import type { Declaration, NetworkIndex } from '@sallyport/network'
import type { TestProblem } from './problem.ts'
import type { TestRow } from './row.ts'

const APPROVING: ReadonlySet<string> = new Set(['approver', 'admin'])

/** What rows name and the declaration has not: a misspelt agent would be refused, and its row prove nothing. */
export function checkReferences(
  rows: readonly TestRow[],
  { network, policies }: Declaration,
  index: NetworkIndex,
): TestProblem[] {
  const known = {
    agent: new Set(network.agents.map(({ name }) => name)),
    policy: new Set(policies.map(({ id }) => id)),
    limit: new Set(network.limits.map(({ id }) => id)),
    approver: new Set(
      network.operators
        .filter(({ roles }) => roles.some((role) => APPROVING.has(role)))
        .map(({ name }) => name),
    ),
    operation: new Set(
      network.systems.flatMap(({ name, operations }) =>
        operations.map((operation) => `${name}.${operation.name}`),
      ),
    ),
    field: new Set(
      network.datasets.flatMap(({ name, fields }) =>
        fields.map((field) => `${name}.${field.name}`),
      ),
    ),
  }
  const problems: TestProblem[] = []
  for (const row of rows) {
    const must = (kind: keyof typeof known, name: string): void => {
      if (known[kind].has(name)) return
      problems.push({
        code: 'SP_POLICY_TEST_REFERENCE',
        message: `the declaration has no ${kind} \`${name.slice(0, 120)}\`${didYouMean(name, known[kind])}`,
        why: 'a test about something that does not exist would prove nothing',
        fix: `correct the name, or declare the ${kind}`,
        span: row.span,
      })
    }
    const { expect } = row
    must('agent', row.agent)
    for (const { system, operation } of [row, ...row.first])
      must('operation', `${system}.${operation}`)
    for (const name of row.approvals) must('approver', name)
    for (const id of expect.why ?? []) must('policy', id)
    for (const id of expect.limits ?? []) must('limit', id)
    for (const field of Object.keys(expect.projection ?? {})) must('field', field)
    if (expect.projection !== undefined) problems.push(...unreturned(row, index))
  }
  return problems
}

/** Fields that the call cannot return at all are dropped whatever policies say. */
function unreturned(row: TestRow, index: NetworkIndex): TestProblem[] {
  const reached = new Set<string>()
  const waiting = Object.values(index.findOperation(row.system, row.operation)?.returns ?? {})
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    if (reached.has(name)) continue
    reached.add(name)
    for (const { dataset } of index.findDataset(name)?.fields ?? []) {
      if (dataset !== undefined) waiting.push(dataset)
    }
  }
  return Object.keys(row.expect.projection ?? {})
    .filter((field) => !reached.has(field.slice(0, field.indexOf('.'))))
    .map((field) => ({
      code: 'SP_POLICY_TEST_REFERENCE',
      message: `\`${row.system}.${row.operation}\` does not return \`${field}\``,
      why: 'what a call does not return is dropped whatever policies say',
      fix: 'name a field of a data set under `returns`',
      span: row.span,
    }))
}
