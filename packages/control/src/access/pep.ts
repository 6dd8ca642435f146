import { SallyportError } from '@sallyport/base'
import type { EnforcementAbility, NetworkIndex } from '@sallyport/network'
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
