import { SallyportError } from '@sallyport/base'
import { ENFORCEMENT_ABILITIES } from '@sallyport/network'
import type { EnforcementAbility, NetworkIndex, Operation } from '@sallyport/network'
import type { Outcome } from '@sallyport/decide'
import { kindOf } from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'

/** Who asks: a declared enforcement point, proven by its certificate. */
export interface Pep {
  /** SPIFFE id of the instance. */
  readonly id: string
  readonly serial: string
  readonly systems: ReadonlySet<string>
  readonly can: ReadonlySet<EnforcementAbility>
}

/**
 * The enforcement point behind a certificate, by the declaration in force.
 *
 * @throws SallyportError `SP_PEP_UNDECLARED`: everybody else's questions would make this an oracle
 */
export function pepOf(caller: VerifiedSvid | undefined, { network }: NetworkIndex): Pep {
  const kind = caller && kindOf(caller.id)
  const point =
    kind?.kind === 'service'
      ? network.services.find(({ name }) => name === kind.name)?.enforcementPoint
      : undefined
  if (!caller || !point) {
    throw new SallyportError('SP_PEP_UNDECLARED', 'the caller is no declared enforcement point', {
      fix: 'declare `enforcementPoint` under the service in network.yaml',
    })
  }
  const { systems, can } = point
  return { id: caller.id.uri, serial: caller.serial, systems: new Set(systems), can: new Set(can) }
}

/** What it cannot do at all: nobody saw that of its calls. */
export function lacks({ can }: Pep): readonly EnforcementAbility[] {
  return ENFORCEMENT_ABILITIES.filter((ability) => !can.has(ability))
}

/**
 * What an allow needs of whoever enforces it and this one cannot do; undefined where it can do everything.
 *
 * @param fresh labels that the call would put on the session
 */
export function incapable(
  { can }: Pep,
  operation: Operation,
  outcome: Outcome,
  fresh: readonly string[],
): string | undefined {
  const { limits, projection } = outcome
  if (limits.length > 0) return 'it falls under a limit, which only a gateway reserves'
  if (readsBody(operation) && !can.has('body')) return 'it has input in its body'
  if (!can.has('project')) {
    if (Object.keys(operation.returns).length === 0) return 'nothing of its response may pass'
    const whole = Object.values(projection).every((fields) =>
      Object.values(fields).every((treatment) => treatment === 'whole'),
    )
    if (!whole) return 'fields of its response may not pass whole'
  }
  if (fresh.length > 0 && !can.has('label')) return 'its response puts labels on the session'
  return undefined
}

function readsBody({ binding, input }: Operation): boolean {
  if (binding.kind !== 'http') return Object.keys(input.members).length > 0
  return Object.values(binding.parameters).includes('body')
}
