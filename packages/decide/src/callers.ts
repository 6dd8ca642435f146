import { loadPolicySet } from '@sallyport/cedar'
import type { PolicyAst, ScopeAst } from '@sallyport/cedar'
import { foreignAgentsOf } from '@sallyport/network'
import type { Declaration, PolicySource } from '@sallyport/network'

/** Which policies decide the calls of whom. */
export interface PoliciesByCaller {
  /** Calls of our own agents. */
  readonly own: readonly PolicySource[]
  /** Calls of declared agents of other trust domains; undefined where none is declared. */
  readonly foreign?: readonly PolicySource[]
}

const FOREIGN: ReadonlySet<string> = new Set(['ForeignInstance', 'ForeignAgent', 'ForeignDomain'])

/**
 * Tells policies apart by whom their scope names. What permits agents of other trust domains has to say so in its scope: a permit that
 * names nobody, or ours, is never theirs by accident. A forbid that names nobody holds for everybody.
 *
 * @throws SallyportError `SP_CEDAR_*` for a policy that cannot be read
 */
export async function policiesByCaller({
  network,
  policies,
}: Declaration): Promise<PoliciesByCaller> {
  if (foreignAgentsOf(network).length === 0) return { own: policies }
  const asts = (await loadPolicySet({ policies, sliceMemo: 0 })).policies()
  const byId = new Map(asts.map((ast) => [ast.id, ast]))
  const about = (policy: PolicySource): Who => whoOf(byId.get(policy.id))
  return {
    own: policies.filter((policy) => about(policy) !== 'foreign'),
    foreign: policies.filter(
      (policy) =>
        about(policy) === 'foreign' ||
        (about(policy) === 'anybody' && byId.get(policy.id)?.effect === 'forbid'),
    ),
  }
}

type Who = 'own' | 'foreign' | 'anybody'

function whoOf(policy: PolicyAst | undefined): Who {
  const type = policy && typeOf(policy.principal)
  if (type === undefined) return 'anybody'
  return FOREIGN.has(type) ? 'foreign' : 'own'
}

/** Undefined where the scope names nobody. */
function typeOf(scope: ScopeAst): string | undefined {
  switch (scope.kind) {
    case 'all':
      return undefined
    case 'is':
      return scope.type
    case 'eq':
      return scope.entity.type
    default:
      // Cedar's grammar has exactly one entity there for a principal.
      return scope.type ?? scope.entities[0]?.type
  }
}
