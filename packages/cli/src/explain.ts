import type { JsonValue } from '@sallyport/base'
import { utc } from './output.ts'
import { list, members, numberOf, textOf } from './shape.ts'

/** Of permits that miss, the nearest come first; those behind these are about something else. */
const NEAREST = 5

/** A decision with its why, as an operator reads it on a terminal: all that took part, and the permits that it missed by least. */
export function explainText(value: JsonValue): string {
  const root = members(value)
  const record = members(root.record)
  const explanation = members(root.explanation)
  const lines = [
    `decision   ${textOf(record.id)}  ${utc(numberOf(record.at))}`,
    `call       ${textOf(record.instance)} → ${textOf(record.system)}.${textOf(record.operation)}`,
    `outcome    ${textOf(record.decision)} (${textOf(record.code)})`,
    `session    labels ${list(record.labels).map(textOf).join(', ') || 'none'}; risk ${textOf(record.risk)}`,
  ]
  const { result, status, durationMs } = members(root.outcome)
  if (result !== undefined) {
    lines.push(`ended      ${textOf(result)}, ${textOf(status)}, after ${textOf(durationMs)} ms`)
  }
  if (explanation.summary !== undefined) lines.push('', textOf(explanation.summary))
  let missed = 0
  for (const policy of list(members(explanation.cedar).policies).map(members)) {
    if (policy.outcome === 'unsatisfied' && ++missed > NEAREST) continue
    lines.push(
      '',
      `${textOf(policy.effect)} \`${textOf(policy.policyId)}\`: ${textOf(policy.outcome)}`,
    )
    for (const clause of [...list(policy.scope), ...list(policy.conditions)].map(members)) {
      const mark = clause.result === 'true' ? '✓' : clause.result === 'false' ? '✗' : '!'
      const values = Object.entries(members(clause.values)).map(([k, v]) => `${k} = ${textOf(v)}`)
      lines.push(
        `  ${mark} ${textOf(clause.text)}${values.length ? `   (${values.join(', ')})` : ''}`,
      )
      if (clause.error !== undefined) lines.push(`      ${textOf(clause.error)}`)
    }
  }
  if (missed > NEAREST) lines.push('', `and ${missed - NEAREST} that are further off: --json`)
  const remedies = list(explanation.remedies).map(textOf)
  if (remedies.length > 0) lines.push('', 'to allow it:', ...remedies.map((r) => `  - ${r}`))
  return lines.join('\n')
}
