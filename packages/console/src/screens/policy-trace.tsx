import type { ReactNode } from 'react'
import { Link } from 'wouter'
import type { ClauseTrace, PolicyTrace } from '../api/types.ts'
import { plural } from '../lib/format.ts'
import { Badge } from '../ui/badge.tsx'
import { Icon } from '../ui/icon.tsx'

const failing = (policy: PolicyTrace): readonly ClauseTrace[] =>
  [...policy.scope, ...policy.conditions].filter(({ result }) => result !== 'true')

const outside = ({ scope }: PolicyTrace): boolean => scope.some(({ result }) => result !== 'true')

/** Policies that decided, then those that nearly did, clause by clause with the values they read. */
export function Policies(props: {
  policies: readonly PolicyTrace[]
  determining: readonly string[]
}): ReactNode {
  const decided = props.policies.filter(
    ({ policyId, outcome }) => outcome !== 'unsatisfied' || props.determining.includes(policyId),
  )
  // The sort keeps the order they came in, nearest first; those made for such a call go before the rest.
  const near = props.policies
    .filter((policy) => !decided.includes(policy))
    .toSorted((a, b) => Number(outside(a)) - Number(outside(b)))
  return (
    <div className="traces">
      {decided.map((policy) => (
        <Trace key={policy.policyId} policy={policy} open />
      ))}
      {near.length > 0 && (
        <h3 className="traces-near">Near misses, the nearest first: they did not apply</h3>
      )}
      {near.map((policy, i) => (
        <Trace
          key={policy.policyId}
          policy={policy}
          open={decided.length === 0 && (i === 0 || !outside(policy))}
        />
      ))}
    </div>
  )
}

function Trace({ policy, open }: { policy: PolicyTrace; open: boolean }): ReactNode {
  const short = failing(policy).length
  return (
    <details className="trace" open={open}>
      <summary>
        <Icon name="chevron" size={12} />
        <span className="trace-id">{policy.policyId}</span>
        <Badge tone={policy.effect === 'forbid' ? 'deny' : 'allow'}>{policy.effect}</Badge>
        <span className="muted">{summary(policy, short)}</span>
      </summary>
      {policy.annotations['description'] !== undefined && (
        <p className="trace-note">{policy.annotations['description']}</p>
      )}
      <ul className="clauses">
        {policy.scope.map((clause) => (
          <Clause key={`s ${clause.text}`} clause={clause} />
        ))}
        {policy.conditions.map((clause) => (
          <Clause key={`c ${clause.text}`} clause={clause} />
        ))}
      </ul>
      <p className="trace-link">
        <Link href={`/network?section=policies#policy-${policy.policyId}`}>Read the policy</Link>
      </p>
    </details>
  )
}

function summary(policy: PolicyTrace, short: number): string {
  if (policy.outcome === 'error') return 'could not be evaluated'
  if (policy.outcome === 'satisfied') return 'every clause holds'
  return `${plural(short, 'clause')} short`
}

const RESULT = {
  true: { icon: 'allow', word: 'holds' },
  false: { icon: 'deny', word: 'fails' },
  error: { icon: 'broken', word: 'could not be evaluated' },
} as const

function Clause({ clause }: { clause: ClauseTrace }): ReactNode {
  const { icon, word } = RESULT[clause.result]
  const values = Object.entries(clause.values)
  return (
    <li className={`clause clause-${clause.result}`}>
      <Icon name={icon} size={14} />
      <div>
        <code>{clause.text}</code>
        <span className="clause-word">{word}</span>
        {clause.error !== undefined && <p className="clause-error">{clause.error}</p>}
        {values.length > 0 && (
          <p className="clause-values">
            {values.map(([name, value]) => (
              <span key={name}>
                <code>{name}</code> was <code className="value">{value}</code>
              </span>
            ))}
          </p>
        )}
      </div>
    </li>
  )
}
