import { ENFORCEMENT_ABILITIES } from '@sallyport/network'
import type { EnforcementAbility, Operation } from '@sallyport/network'
import type { Outcome } from './types.ts'

type Abilities = ReadonlySet<EnforcementAbility>

/** What an enforcement point of somebody else's make cannot do at all: nobody saw that of its calls. */
export function unobserved(can: Abilities): readonly EnforcementAbility[] {
  return ENFORCEMENT_ABILITIES.filter((ability) => !can.has(ability))
}

/** What whoever answers an enforcement point does itself, and then need not ask of it. */
export interface DoneElsewhere {
  /** Reserves under the limits of a call. */
  readonly limits: boolean
  /** Labels that nobody has put on the session yet. */
  readonly labels: readonly string[]
}

/** What an allow needs of whoever enforces it and this one cannot do; undefined where it can do everything. */
export function incapable(
  can: Abilities,
  operation: Operation,
  outcome: Outcome,
  done: DoneElsewhere,
): string | undefined {
  const { limits, projection } = outcome
  if (limits.length > 0 && !done.limits) {
    return 'it falls under a limit, which only a gateway reserves'
  }
  if (readsBody(operation) && !can.has('body')) return 'it has input in its body'
  if (operation.binding.kind === 'http' && operation.binding.bytes) {
    return 'its response is bytes, which only a gateway holds to what is declared of them'
  }
  if (!can.has('project')) {
    if (Object.keys(operation.returns).length === 0) return 'nothing of its response may pass'
    const whole = Object.values(projection).every((fields) =>
      Object.values(fields).every((treatment) => treatment === 'whole'),
    )
    if (!whole) return 'fields of its response may not pass whole'
  }
  if (done.labels.length > 0 && !can.has('label')) return 'its response puts labels on the session'
  return undefined
}

function readsBody({ binding, input }: Operation): boolean {
  if (binding.kind !== 'http') return Object.keys(input.members).length > 0
  return Object.values(binding.parameters).includes('body')
}
