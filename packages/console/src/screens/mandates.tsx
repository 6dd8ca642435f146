import { useMemo, useState } from 'react'
import type { ReactNode } from 'react'
import { Link } from 'wouter'
import { useSession } from '../api/session.ts'
import type { MandateView } from '../api/mandate-types.ts'
import { count, plural } from '../lib/format.ts'
import { LISTED, useCut, useMandates } from '../lib/held.ts'
import { placed, stateOf } from '../lib/mandate-tree.ts'
import type { MandateState, Placed } from '../lib/mandate-tree.ts'
import { partyName } from '../lib/mandate-words.ts'
import { whyNotGive } from '../lib/may.ts'
import { visible } from '../lib/visible.ts'
import { Badge, MandateBadge } from '../ui/badge.tsx'
import { Icon } from '../ui/icon.tsx'
import { Page } from '../ui/page.tsx'
import { Countdown, Empty, Failure, Panel, Skeleton, Time } from '../ui/parts.tsx'
import '../styles/mandates.css'

/** Rows drawn at first, and added by each press. */
const STEP = 100

/** Who delegated what to whom: a tree, so that each part stands below what it is a part of. */
export function Mandates(): ReactNode {
  const { data, error, reload } = useMandates()
  const why = whyNotGive(useSession())
  return (
    <Page
      title="Mandates"
      lead="Task grants that people gave to agents, and what agents passed on of them. A mandate adds no right that policy does not give."
      aside={
        <Link
          href="/mandates/give"
          className={why === '' ? 'button primary' : 'button plain'}
          title={why}
        >
          <Icon name="stamp" size={14} /> Give a mandate
        </Link>
      }
    >
      {error && <Failure error={error} retry={reload} />}
      {!data && !error && (
        <Panel>
          <Skeleton lines={8} what="Loading mandates" />
        </Panel>
      )}
      {data?.length === 0 && (
        <Panel>
          <Empty title="No mandate is held">
            <p>
              Give one where policies demand it, for one task: which agent, which calls, how often,
              how much and until when.
            </p>
          </Empty>
        </Panel>
      )}
      {data && data.length > 0 && <Tree mandates={data} />}
    </Page>
  )
}

function Tree({ mandates }: { mandates: readonly MandateView[] }): ReactNode {
  const [all, setAll] = useState(false)
  const [needle, setNeedle] = useState('')
  const [drawn, setDrawn] = useState(STEP)
  const cut = useCut()
  const known = useMemo(() => new Map(mandates.map((one) => [one.id, one])), [mandates])
  const rows = useMemo(() => placed(mandates), [mandates])
  const states = rows.map((row) => stateOf(row, known, cut))
  const wanted = rows.filter(
    (row, i) => (all || states[i] === 'active') && matches(row, needle.trim().toLowerCase()),
  )
  const active = states.filter((state) => state === 'active').length
  return (
    <Panel
      title={`${plural(active, 'mandate')} in force`}
      aside={
        <>
          <input
            className="filter-input"
            type="search"
            aria-label="Filter by task, name or id"
            placeholder="Filter by task, name or id"
            value={needle}
            onChange={(event) => {
              setNeedle(event.target.value)
              setDrawn(STEP)
            }}
          />
          <div className="segmented" role="group" aria-label="Which">
            <button type="button" aria-pressed={!all} onClick={() => setAll(false)}>
              In force
            </button>
            <button type="button" aria-pressed={all} onClick={() => setAll(true)}>
              All {count(rows.length)}
            </button>
          </div>
        </>
      }
    >
      <p className="sr-only" role="status">
        {plural(wanted.length, 'mandate')} shown
      </p>
      {wanted.length === 0 ? (
        <Empty title={needle.trim() === '' ? 'None is in force' : 'Nothing matches'}>
          <p>
            {needle.trim() === ''
              ? 'Those that ended are under “All” for a day.'
              : 'The filter looks at tasks, agents, people and ids.'}
          </p>
        </Empty>
      ) : (
        <div className="scroll-x">
          <table className="table mandates">
            <thead>
              <tr>
                <th scope="col">Task</th>
                <th scope="col">From</th>
                <th scope="col">To</th>
                <th scope="col">State</th>
                <th scope="col" className="right">
                  Calls left
                </th>
                <th scope="col">Ends</th>
              </tr>
            </thead>
            <tbody>
              {wanted.slice(0, drawn).map((row) => (
                <Row key={row.mandate.id} row={row} state={stateOf(row, known, cut)} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {wanted.length > drawn && (
        <p className="panel-text">
          <button type="button" className="link" onClick={() => setDrawn(drawn + STEP)}>
            Show {count(Math.min(STEP, wanted.length - drawn))} more of{' '}
            {count(wanted.length - drawn)}
          </button>
        </p>
      )}
      {mandates.length >= LISTED && (
        <p className="panel-text muted">
          These are the newest {count(LISTED)}; <code>sallyport mandate show ID</code> finds any
          other.
        </p>
      )}
    </Panel>
  )
}

function matches({ mandate }: Placed, needle: string): boolean {
  const { task, delegator, delegate } = mandate.statement
  return [mandate.id, task, delegator, delegate].some((text) => text.toLowerCase().includes(needle))
}

function Row({ row, state }: { row: Placed; state: MandateState }): ReactNode {
  const { mandate, level, orphan, usesLeft } = row
  const { statement } = mandate
  return (
    <tr className={state === 'active' ? undefined : 'mandate-over'}>
      <th scope="row">
        <span className={`mandate-task mandate-level-${Math.min(level, 4)}`}>
          {level > 0 && (
            <span className="mandate-branch">
              <Icon name="branch" size={14} />
            </span>
          )}
          <span className="mandate-what">
            <Link href={`/mandates/${mandate.id}`} className="row-link wrap">
              {visible(statement.task)}
            </Link>
            {level > 0 && (
              <span className="sr-only">
                , passed on, {level === 1 ? 'one step' : `${level} steps`} below
              </span>
            )}
            {orphan && <span className="cell-note">part of one that is not listed here</span>}
          </span>
        </span>
      </th>
      <td className="wrap" title={visible(statement.delegator)}>
        {partyName(statement.delegator)}
        {statement.delegator.startsWith('operator:') && (
          <>
            {' '}
            <Badge icon="person">person</Badge>
          </>
        )}
      </td>
      <td className="wrap" title={visible(statement.delegate)}>
        {partyName(statement.delegate)}
      </td>
      <td>
        <MandateBadge state={state} />
      </td>
      <td className="right num">
        {state === 'active' ? `${count(usesLeft)} of ${count(statement.uses)}` : 'none'}
      </td>
      <td className="nowrap">
        {state === 'active' ? (
          <Countdown
            at={statement.expiresAt}
            of={statement.expiresAt - statement.notBefore}
            done="over"
          />
        ) : (
          <span className="muted">
            <Time at={mandate.revoked?.at ?? statement.expiresAt} full />
          </span>
        )}
      </td>
    </tr>
  )
}
