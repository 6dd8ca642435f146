import type { Agent, DataClass, Declaration } from '@sallyport/network'
import { Analyst } from './analyst.ts'
import type { CallAnswer, FieldAnswer, OperationAnswer } from './types.ts'
import { unknownName } from './who-can.ts'

export interface Reclassified {
  /** `DATASET.FIELD` */
  readonly field: string
  readonly class?: DataClass
  readonly tags?: readonly string[]
}

export interface WhatIf {
  readonly field: string
  readonly before: { readonly class: DataClass; readonly tags: readonly string[] }
  readonly after: { readonly class: DataClass; readonly tags: readonly string[] }
  /** Fields that leave in another way, or under other conditions. */
  readonly treatments: readonly {
    readonly agent: string
    readonly operation: string
    readonly field: string
    readonly before: FieldAnswer['treatments']
    readonly after: FieldAnswer['treatments']
  }[]
  /** Calls that are judged in another way. */
  readonly decisions: readonly { readonly before: CallAnswer; readonly after: CallAnswer }[]
  /** Labels that a session may now get from a call, or no longer. */
  readonly labels: readonly {
    readonly agent: string
    readonly operation: string
    readonly gained: readonly string[]
    readonly lost: readonly string[]
  }[]
  /** What such a label does to later calls of the same session: without it, and with it. */
  readonly consequences: readonly {
    readonly agent: string
    readonly label: string
    readonly change: 'gained' | 'lost'
    readonly without: CallAnswer
    readonly with: CallAnswer
  }[]
}

/**
 * What would change if a field had another class, or other tags.
 *
 * @throws SallyportError `SP_USAGE_UNKNOWN_NAME`, `SP_CEDAR_*`
 */
export async function whatIf(declaration: Declaration, asked: Reclassified): Promise<WhatIf> {
  const { changed, before, after } = reclassify(declaration, asked)
  const [old, now] = [await Analyst.of(declaration), await Analyst.of(changed)]
  const treatments: WhatIf['treatments'][number][] = []
  const decisions: WhatIf['decisions'][number][] = []
  const labels: WhatIf['labels'][number][] = []
  const consequences: WhatIf['consequences'][number][] = []
  for (const agent of declaration.network.agents) {
    const moved = new Map<string, 'gained' | 'lost'>()
    for (const [system, operation] of operationsOf(declaration, agent)) {
      const [a, b] = [
        old.operation(agent, system, operation),
        now.operation(agent, system, operation),
      ]
      if (!same(callOf(a), callOf(b))) decisions.push({ before: callOf(a), after: callOf(b) })
      treatments.push(...changedFields(a, b))
      const [x, y] = [labelsOf(old, a), labelsOf(now, b)]
      const [gained, lost] = [
        y.filter((tag) => !x.includes(tag)),
        x.filter((tag) => !y.includes(tag)),
      ]
      if (gained.length + lost.length === 0) continue
      labels.push({ agent: agent.name, operation: a.operation, gained, lost })
      for (const label of gained) moved.set(label, 'gained')
      for (const label of lost) moved.set(label, 'lost')
    }
    for (const [label, change] of moved) {
      for (const [system, operation] of operationsOf(declaration, agent)) {
        const judged = (session: { labels: string[] }): CallAnswer =>
          now.call(agent, system, operation, { session })
        const [without, withIt] = [judged({ labels: [] }), judged({ labels: [label] })]
        if (same(without, withIt)) continue
        consequences.push({ agent: agent.name, label, change, without, with: withIt })
      }
    }
  }
  return { field: asked.field, before, after, treatments, decisions, labels, consequences }
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)

function operationsOf({ network }: Declaration, agent: Agent): (readonly [string, string])[] {
  return network.flows
    .filter(({ from }) => from === agent.name)
    .flatMap(({ to, operations }) => operations.map((operation) => [to, operation] as const))
}

/** By whichever policy. */
const bare = (treatments: FieldAnswer['treatments']): unknown =>
  treatments.map(({ treatment, judgement: { verdict, ways, stops } }) => {
    const text = (of: typeof ways): string[] => [...new Set(of.map(({ cedar }) => cedar))]
    return [treatment, verdict, text(ways), text(stops)]
  })

function callOf({
  fields: _fields,
  obligations: _obligations,
  ...call
}: OperationAnswer): CallAnswer {
  return call
}

function changedFields(a: OperationAnswer, b: OperationAnswer): WhatIf['treatments'][number][] {
  const drop: FieldAnswer['treatments'] = [
    { treatment: 'drop', judgement: { verdict: 'always', ways: [], stops: [] } },
  ]
  const byField = (of: OperationAnswer): Map<string, FieldAnswer['treatments']> =>
    new Map(of.fields.map(({ field, treatments }) => [field, treatments]))
  const [x, y] = [byField(a), byField(b)]
  return [...new Set([...x.keys(), ...y.keys()])].flatMap((field) => {
    const [before, after] = [x.get(field) ?? drop, y.get(field) ?? drop]
    const { agent, operation } = a
    return same(bare(before), bare(after)) ? [] : [{ agent, operation, field, before, after }]
  })
}

/** Tags of the fields that may leave in some form. */
function labelsOf({ index }: Analyst, { fields }: OperationAnswer): string[] {
  const tags = fields.flatMap(({ field, treatments }) => {
    const [dataset = '', name = ''] = field.split('.')
    if (treatments.every(({ treatment }) => treatment === 'drop')) return []
    return index.findField(dataset, name)?.tags ?? []
  })
  return [...new Set(tags)].sort()
}

function reclassify(
  { network, ...rest }: Declaration,
  asked: Reclassified,
): Pick<WhatIf, 'before' | 'after'> & { readonly changed: Declaration } {
  let found: { before: WhatIf['before']; after: WhatIf['after'] } | undefined
  const datasets = network.datasets.map((dataset) => ({
    ...dataset,
    fields: dataset.fields.map((field) => {
      if (`${dataset.name}.${field.name}` !== asked.field) return field
      const before = { class: field.class, tags: field.tags }
      const after = { class: asked.class ?? field.class, tags: asked.tags ?? field.tags }
      found = { before, after }
      return { ...field, ...after }
    }),
  }))
  if (found === undefined) {
    const names = network.datasets.flatMap(({ name, fields }) =>
      fields.map((field) => `${name}.${field.name}`),
    )
    throw unknownName('field', asked.field, names)
  }
  return { ...found, changed: { ...rest, network: { ...network, datasets } } }
}
