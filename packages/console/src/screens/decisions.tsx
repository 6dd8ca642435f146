import { useVirtualizer } from '@tanstack/react-virtual'
import { useEffect, useMemo, useRef, useState } from 'react'
import type { KeyboardEvent, ReactNode } from 'react'
import { Link, useLocation, useSearchParams } from 'wouter'
import { useLive } from '../api/live.ts'
import { useResource } from '../api/resource.ts'
import type { DecisionRecord, NetworkInfo } from '../api/types.ts'
import { useDecisionPages } from '../lib/decision-pages.ts'
import type { DecisionFilter } from '../lib/decision-pages.ts'
import { count, instanceName, plural } from '../lib/format.ts'
import { useNarrow } from '../lib/narrow.ts'
import { DecisionBadge, Risk } from '../ui/badge.tsx'
import { Button } from '../ui/button.tsx'
import { Page } from '../ui/page.tsx'
import { Empty, Failure, Skeleton, Time } from '../ui/parts.tsx'

/** Heights of a row in pixels, as the styles have them. */
const ROW = 36
const NARROW_ROW = 56

/** The feed: newest first, filters in the address, live at the top unless paused. */
export function Decisions(): ReactNode {
  const [params, setParams] = useSearchParams()
  const filter: DecisionFilter = {
    agent: params.get('agent') ?? '',
    system: params.get('system') ?? '',
    decision: params.get('decision') ?? '',
  }
  const network = useResource<NetworkInfo>('/network').data?.network
  const choose = (name: keyof DecisionFilter, value: string): void => {
    setParams(
      (before) => {
        const next = new URLSearchParams(before)
        if (value === '') next.delete(name)
        else next.set(name, value)
        return next
      },
      { replace: true },
    )
  }
  const any = filter.agent !== '' || filter.system !== '' || filter.decision !== ''
  return (
    <Page
      title="Decisions"
      lead="Every call an agent made, and what came of it. Times are UTC."
      wide
    >
      <div className="filters" role="group" aria-label="Filters">
        <Choice
          label="Decision"
          value={filter.decision}
          options={['allow', 'deny', 'needs']}
          onChange={(value) => choose('decision', value)}
        />
        <Choice
          label="Agent"
          value={filter.agent}
          options={network?.agents.map(({ name }) => name) ?? []}
          onChange={(value) => choose('agent', value)}
        />
        <Choice
          label="System"
          value={filter.system}
          options={network?.systems.map(({ name }) => name) ?? []}
          onChange={(value) => choose('system', value)}
        />
        {any && (
          <Button kind="quiet" onPress={() => setParams({}, { replace: true })}>
            Clear
          </Button>
        )}
      </div>
      <Feed key={`${filter.agent} ${filter.system} ${filter.decision}`} filter={filter} any={any} />
    </Page>
  )
}

function Choice(props: {
  label: string
  value: string
  options: readonly string[]
  onChange: (value: string) => void
}): ReactNode {
  return (
    <label className="choice">
      <span>{props.label}</span>
      <select value={props.value} onChange={(event) => props.onChange(event.target.value)}>
        <option value="">any</option>
        {props.value !== '' && !props.options.includes(props.value) && (
          <option value={props.value}>{props.value}</option>
        )}
        {props.options.map((option) => (
          <option key={option}>{option}</option>
        ))}
      </select>
    </label>
  )
}

function Feed({ filter, any }: { filter: DecisionFilter; any: boolean }): ReactNode {
  const { older, error, loading, end, more } = useDecisionPages(filter)
  const [paused, setPaused] = useState(false)
  const live = useLive((state) => state.decisions)
  const [held, setHeld] = useState(live)
  const shownLive = paused ? held : live
  const rows = useMemo(() => {
    const matches = shownLive.filter(
      (record) =>
        (filter.agent === '' || record.agent === filter.agent) &&
        (filter.system === '' || record.system === filter.system) &&
        (filter.decision === '' || record.decision === filter.decision),
    )
    const known = new Set(older.map(({ id }) => id))
    return [...matches.filter(({ id }) => !known.has(id)), ...older].toSorted((a, b) => b.at - a.at)
  }, [shownLive, older, filter.agent, filter.system, filter.decision])
  const waiting = paused ? live.findIndex(({ id }) => id === held[0]?.id) : 0

  return (
    <section className="panel feed" aria-label="Decisions">
      <header className="feed-bar">
        <span className="muted num" aria-live="off">
          {loading && rows.length === 0 ? 'Loading' : `${plural(rows.length, 'decision')} loaded`}
        </span>
        <Button
          kind="quiet"
          icon={paused ? 'play' : 'pause'}
          onPress={() => {
            setHeld(live)
            setPaused(!paused)
          }}
        >
          {paused ? `Resume${waiting > 0 ? ` (${count(waiting)} new)` : ''}` : 'Pause'}
        </Button>
      </header>
      {error && <Failure error={error} retry={more} />}
      {rows.length === 0 && loading && <Skeleton lines={12} what="Loading decisions" />}
      {rows.length === 0 && !loading && !error && (
        <Empty title={any ? 'Nothing matches these filters' : 'No calls yet'}>
          {any ? (
            <p>Clear a filter, or wait: what matches appears here as it happens.</p>
          ) : (
            <p>
              Decisions appear here the moment an agent makes its first call. Start one with{' '}
              <code>sallyport run --as AGENT -- CMD</code>.
            </p>
          )}
        </Empty>
      )}
      {rows.length > 0 && <Rows rows={rows} end={end} more={more} />}
    </section>
  )
}

function Rows(props: {
  rows: readonly DecisionRecord[]
  end: boolean
  more: () => void
}): ReactNode {
  const { rows, end, more } = props
  const [, navigate] = useLocation()
  const box = useRef<HTMLDivElement>(null)
  const cursor = useRef(0)
  const narrow = useNarrow()
  // oxlint-disable-next-line react/incompatible-library -- that is with the React Compiler, which this build does not use
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => box.current,
    estimateSize: () => (narrow ? NARROW_ROW : ROW),
    overscan: 12,
    getItemKey: (index) => rows[index]?.id ?? index,
  })
  useEffect(() => virtual.measure(), [virtual, narrow])
  const items = virtual.getVirtualItems()
  const last = items.at(-1)?.index ?? 0
  useEffect(() => {
    if (!end && last >= rows.length - 20) more()
  }, [last, rows.length, end, more])

  const move = (event: KeyboardEvent<HTMLDivElement>): void => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12 }[event.key]
    if (step === undefined) return
    event.preventDefault()
    // Keys come faster than frames: the row to go to is kept here, and focused once it is drawn.
    cursor.current = Math.max(0, Math.min(rows.length - 1, cursor.current + step))
    virtual.scrollToIndex(cursor.current)
    focusRow(box.current, () => cursor.current, 10)
  }
  return (
    <div
      className="vtable"
      role="table"
      aria-label="Decisions"
      aria-rowcount={end ? rows.length + 1 : -1}
    >
      <div role="rowgroup" className="vhead-group">
        <div role="row" className="vrow vhead" aria-rowindex={1}>
          {['Time', 'Outcome', 'Agent', 'Call', 'Risk', 'Code'].map((name) => (
            <span key={name} role="columnheader">
              {name}
            </span>
          ))}
        </div>
      </div>
      {/* Focus moves between the links inside; the scroller itself only takes arrow keys. */}
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions */}
      <div className="vbody" ref={box} role="rowgroup" onKeyDown={move}>
        <div className="vspace" style={{ height: virtual.getTotalSize() }} role="presentation">
          {items.map((item) => {
            const record = rows[item.index]
            if (!record) return null
            return (
              <div
                key={item.key}
                role="row"
                aria-rowindex={item.index + 2}
                className={`vrow row-${record.decision}`}
                style={{ transform: `translateY(${item.start}px)` }}
              >
                <span role="cell">
                  <Time at={record.at} />
                </span>
                <span role="cell">
                  <DecisionBadge decision={record.decision} code={record.code} />
                </span>
                <span role="cell" className="clip" title={record.instance}>
                  {record.agent} <span className="muted">{instanceName(record.instance)}</span>
                </span>
                <span role="cell" className="clip">
                  <Link
                    href={`/decisions/${record.id}`}
                    data-row={item.index}
                    onFocus={() => {
                      cursor.current = item.index
                    }}
                    className="row-link"
                    onKeyDown={(event: KeyboardEvent) => {
                      if (event.key === ' ') {
                        event.preventDefault()
                        navigate(`/decisions/${record.id}`)
                      }
                    }}
                  >
                    <span className="call">
                      {record.system}.<b>{record.operation}</b>
                    </span>
                  </Link>
                </span>
                <span role="cell">
                  <Risk score={record.risk} />
                </span>
                <span role="cell" className="clip">
                  <code>{record.code}</code>
                </span>
              </div>
            )
          })}
        </div>
      </div>
    </div>
  )
}

/** Focuses the wanted row in one of the next `frames` frames: the virtual list draws it only after it has scrolled. */
function focusRow(box: HTMLElement | null, wanted: () => number, frames: number): void {
  requestAnimationFrame(() => {
    const row = box?.querySelector<HTMLElement>(`[data-row="${wanted()}"]`)
    if (row) row.focus({ preventScroll: true })
    else if (frames > 0) focusRow(box, wanted, frames - 1)
  })
}
