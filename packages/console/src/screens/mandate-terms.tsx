import type { ReactNode } from 'react'
import type { MandateDraft } from '../api/mandate-types.ts'
import { conditionsOf, spanWords, summaryOf } from '../lib/mandate-words.ts'
import { visible } from '../lib/visible.ts'
import { Time } from '../ui/parts.tsx'

/**
 * What a mandate says, in plain words: every member of it and nothing else. Text of others is spelled out where it would
 * reorder or hide.
 */
export function MandateTerms(props: {
  delegator: string
  terms: MandateDraft
  /** Absent while it is not drawn up yet. */
  until?: number
}): ReactNode {
  const { delegator, terms, until } = props
  return (
    <div className="panel-text mandate-terms">
      <p>
        <strong className="wrap">{summaryOf(delegator, terms)}</strong>,{' '}
        {until === undefined ? (
          <>for {spanWords(terms.lifetimeSeconds)} from the signature on</>
        ) : (
          <>
            until <Time at={until} full /> UTC ({spanWords(terms.lifetimeSeconds)} in all)
          </>
        )}
        .
      </p>
      <p>
        The task, in the words that policies read:{' '}
        <q className="wrap">{visible(terms.task === '' ? '…' : terms.task)}</q>
      </p>
      <ul className="mandate-grants">
        {terms.grants.map((grant, i) => {
          const conditions = conditionsOf(grant)
          return (
            // Two grants may say the same, and stand in the order that is signed.
            // oxlint-disable-next-line react/no-array-index-key
            <li key={i}>
              {grant.operations.length === 0 ? (
                <span className="muted">{visible(grant.system)}: no operation yet</span>
              ) : (
                <span className="call wrap">
                  {grant.operations.map((operation, n) => (
                    <span key={operation}>
                      {n > 0 && ', '}
                      {visible(grant.system)}.<b>{visible(operation)}</b>
                    </span>
                  ))}
                </span>
              )}
              {conditions.length === 0 ? (
                <p className="muted">with any arguments that policy lets through</p>
              ) : (
                <>
                  <p className="muted">only where</p>
                  <ul className="mandate-conditions">
                    {conditions.map((condition) => (
                      <li key={condition} className="wrap">
                        {condition}
                      </li>
                    ))}
                  </ul>
                </>
              )}
            </li>
          )
        })}
      </ul>
      <p className="muted">
        It adds no right: policy decides every call as before. The agent may pass parts of it on to
        other agents, never more than it has; their calls count here too. Ending it ends all of
        that.
      </p>
    </div>
  )
}
