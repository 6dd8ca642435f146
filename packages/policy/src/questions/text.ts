import type { FieldAnswer, Judgement, CallAnswer, OperationAnswer } from './types.ts'
import type { WhatIf } from './what-if.ts'

const list = (ids: readonly string[]): string => ids.map((id) => `\`${id}\``).join(', ')

/** Who can call an operation, as lines. */
export function whoCanText(answers: readonly CallAnswer[]): string {
  const ranks = ['always', 'if', 'approval', 'never']
  const sorted = answers.toSorted((a, b) => ranks.indexOf(a.answer) - ranks.indexOf(b.answer))
  const [noFlow, others] = [
    sorted.filter(({ plain }) => plain.why?.kind === 'no-flow'),
    sorted.filter(({ plain }) => plain.why?.kind !== 'no-flow'),
  ]
  return [
    ...others.flatMap((answer) => callText(answer.agent, answer)),
    ...(noFlow.length === 0
      ? []
      : [`NEVER     ${noFlow.map(({ agent }) => agent).join(', ')}: no declared flow`]),
  ].join('\n')
}

/** What an agent can do, as lines. */
export function whatCanText(answers: readonly OperationAnswer[]): string {
  return answers
    .map((answer) => [...callText(answer.operation, answer), ...fieldsText(answer)].join('\n'))
    .join('\n')
}

function callText(title: string, answer: CallAnswer): string[] {
  const { plain, approved, approvals } = answer
  switch (answer.answer) {
    case 'always':
      return [`ALWAYS    ${title}  by ${list(plain.ways.map(({ policy }) => policy))}`]
    case 'if': {
      const known = JSON.stringify(plain.ways)
      // With approvals as well: only what they add.
      const more = approved?.ways.filter((way) => !known.includes(JSON.stringify(way))) ?? []
      return [
        `IF        ${title}`,
        ...conditions(plain),
        ...more.flatMap((way) => [
          `  or, with approval, ${way.words.join(' and ')}  (${way.policy})`,
        ]),
      ]
    }
    case 'approval': {
      const count = approvals === undefined ? '' : `${approvals} `
      return [
        `APPROVAL  ${title}  needs ${count}approval${approvals === 1 ? '' : 's'}`,
        ...conditions(approved),
      ]
    }
    default:
      return [`NEVER     ${title}: ${why(plain)}`]
  }
}

function why({ why: cause }: Judgement): string {
  switch (cause?.kind) {
    case 'no-flow':
      return 'no declared flow'
    case 'forbidden':
      return `forbidden by ${list(cause.policies)}`
    case 'error':
      return `${list(cause.policies)} cannot be evaluated`
    default:
      return 'nothing permits it'
  }
}

function conditions(judgement: Judgement | undefined): string[] {
  if (judgement === undefined) return []
  const ways = judgement.ways.map(
    ({ policy, words }) =>
      `${words.length === 0 ? 'in any case' : words.join(' and ')}  (${policy})`,
  )
  const stops = judgement.stops.map(({ policy, words }) => `${words.join(' and ')}  (${policy})`)
  return [
    ...ways.map((way, i) => `  ${i === 0 ? 'if    ' : 'or if '} ${way}`),
    ...stops.map((stop) => `  unless ${stop}`),
  ]
}

function fieldsText({ fields, obligations }: OperationAnswer): string[] {
  const byTreatment = new Map<string, string[]>()
  for (const field of fields) {
    const text = treatmentsText(field.treatments)
    byTreatment.set(text, [...(byTreatment.get(text) ?? []), field.field])
  }
  return [
    ...[...byTreatment].map(([treatment, names]) => `  fields ${treatment}: ${names.join(', ')}`),
    ...obligations.map((obligation) => `  owed   ${obligation}`),
  ]
}

function treatmentsText(treatments: FieldAnswer['treatments']): string {
  return treatments
    .map(({ treatment, judgement: { verdict, ways, stops } }) => {
      if (verdict === 'always') return treatment
      const when = ways.map(({ words }) => words.join(' and ')).filter((text) => text !== '')
      const unless = stops.map(({ words }) => words.join(' and '))
      const parts = [
        ...(when.length === 0 || when.length < ways.length ? [] : [`if ${when.join(', or if ')}`]),
        ...(unless.length === 0 ? [] : [`unless ${unless.join(', or ')}`]),
      ]
      return `${treatment} ${parts.join(' ')}`
    })
    .join(', else ')
}

/** What a reclassified field changes, as lines. */
export function whatIfText(answer: WhatIf): string {
  const of = ({ class: name, tags }: WhatIf['before']): string =>
    `${name}${tags.length === 0 ? '' : ` [${tags.join(', ')}]`}`
  const { treatments, decisions, labels, consequences } = answer
  const lines = [
    `${answer.field}: ${of(answer.before)} → ${of(answer.after)}`,
    ...treatments.map(
      ({ agent, operation, field, before, after }) =>
        `TREATMENT ${agent} → ${operation}  ${field}: ${treatmentsText(before)} → ${treatmentsText(after)}`,
    ),
    ...decisions.map(
      ({ before, after }) =>
        `DECISION  ${before.agent} → ${before.operation}: ${before.answer} → ${after.answer}`,
    ),
    ...labels.map(({ agent, operation, gained, lost }) => {
      const parts = [
        ...(gained.length === 0 ? [] : [`may now label the session ${list(gained)}`]),
        ...(lost.length === 0 ? [] : [`no longer labels the session ${list(lost)}`]),
      ]
      return `LABEL     ${agent} → ${operation}  ${parts.join(' and ')}`
    }),
    ...consequences.map(
      ({ agent, label, change, without, with: withIt }) =>
        `  ${change === 'gained' ? 'then' : 'so no longer'} ${agent} → ${withIt.operation} with \`${label}\`: ${without.answer} → ${withIt.answer}${withIt.answer === 'never' ? `, ${why(withIt.plain)}` : ''}`,
    ),
  ]
  return lines.length === 1 ? `${lines.join('')}\nnothing changes` : lines.join('\n')
}
