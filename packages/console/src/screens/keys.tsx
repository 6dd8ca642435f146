import { useMemo, useState } from 'react'
import type { ReactNode } from 'react'
import { Link, useSearchParams } from 'wouter'
import { useResource } from '../api/resource.ts'
import type { RegisterEntry } from '../api/key-types.ts'
import { count, plural } from '../lib/format.ts'
import { useNow } from '../lib/now.ts'
import { exportableWord, filtered, NO_FILTER, sorted } from '../lib/register.ts'
import type { RegisterFilter, SortBy } from '../lib/register.ts'
import { useReread } from '../lib/reread.ts'
import { visible } from '../lib/visible.ts'
import { Badge } from '../ui/badge.tsx'
import { Icon } from '../ui/icon.tsx'
import { Page } from '../ui/page.tsx'
import { Countdown, Empty, Failure, Panel, Skeleton, Time } from '../ui/parts.tsx'
import { Authority } from './authority.tsx'
import { Leases } from './leases.tsx'
import '../styles/keys.css'

const SECTIONS = [
  ['register', 'Register'],
  ['authority', 'Signing certificates'],
  ['leases', 'Leases and rotations'],
] as const
/** Rows drawn at first, and added by each press. */
const STEP = 100

/** Every key and certificate of the network, and what signs identities. */
export function Keys(): ReactNode {
  const [params] = useSearchParams()
  const section = params.get('section') ?? 'register'
  return (
    <Page
      title="Keys"
      lead="Every key, certificate and secret that the control plane knows of: whose, what for, how old, and when it has to go."
      wide
    >
      <nav className="subnav" aria-label="Keys">
        {SECTIONS.map(([id, label]) => (
          <Link
            key={id}
            href={id === 'register' ? '/keys' : `/keys?section=${id}`}
            className={id === section ? 'subnav-item here' : 'subnav-item'}
            {...(id === section && { 'aria-current': 'true' as const })}
          >
            {label}
          </Link>
        ))}
      </nav>
      {section === 'authority' && <Authority />}
      {section === 'leases' && <Leases />}
      {section !== 'authority' && section !== 'leases' && <Register />}
    </Page>
  )
}

function Register(): ReactNode {
  useReread('/register', 30_000)
  const { data, error, reload } = useResource<readonly RegisterEntry[]>('/register')
  return (
    <>
      {error && <Failure error={error} retry={reload} />}
      {!data && !error && (
        <Panel>
          <Skeleton lines={10} what="Loading the register" />
        </Panel>
      )}
      {data?.length === 0 && (
        <Panel>
          <Empty title="Nothing is registered" />
        </Panel>
      )}
      {data && data.length > 0 && <Entries entries={data} />}
    </>
  )
}

function Entries({ entries }: { entries: readonly RegisterEntry[] }): ReactNode {
  const [filter, setFilter] = useState<RegisterFilter>(NO_FILTER)
  const [order, setOrder] = useState<{ by: SortBy; down: boolean }>({ by: 'urgency', down: false })
  const [drawn, setDrawn] = useState(STEP)
  // The order follows the data, not each second: rows that jump under the hand help nobody.
  // oxlint-disable-next-line react/purity -- read once for each answer
  const at = useMemo(() => (entries.length > 0 ? Date.now() : 0), [entries])
  const rows = useMemo(
    () => sorted(filtered(entries, filter), order.by, order.down, at),
    [entries, filter, order, at],
  )
  const set = (part: Partial<RegisterFilter>): void => {
    setFilter({ ...filter, ...part })
    setDrawn(STEP)
  }
  const expired = entries.filter(({ state }) => state === 'expired').length
  const due = entries.filter(({ state }) => state === 'due').length
  const column = (by: SortBy, label: string): ReactNode => (
    <SortHead
      label={label}
      sort={order.by === by ? (order.down ? 'descending' : 'ascending') : undefined}
      onSort={() => setOrder({ by, down: order.by === by && !order.down })}
    />
  )
  return (
    <Panel
      title={
        <>
          {plural(entries.length, 'entry', 'entries')}{' '}
          {expired + due === 0 ? (
            <Badge tone="allow" icon="allow">
              nothing overdue
            </Badge>
          ) : (
            <>
              {expired > 0 && (
                <Badge tone="deny" icon="incident">
                  {count(expired)} expired
                </Badge>
              )}{' '}
              {due > 0 && (
                <Badge tone="needs" icon="needs">
                  {count(due)} due
                </Badge>
              )}
            </>
          )}
        </>
      }
      aside={
        <>
          <input
            className="filter-input"
            type="search"
            aria-label="Filter by name, owner or use"
            placeholder="Filter by name, owner or use"
            value={filter.needle}
            onChange={(event) => set({ needle: event.target.value })}
          />
          <select
            aria-label="Kind"
            value={filter.kind}
            onChange={(event) => {
              // The options are the kinds.
              set({ kind: event.target.value as RegisterFilter['kind'] })
            }}
          >
            <option value="">Every kind</option>
            <option value="certificate">Certificates</option>
            <option value="key">Keys</option>
            <option value="secret">Secrets</option>
          </select>
          <select
            aria-label="Whether it can be copied"
            value={filter.exportable}
            onChange={(event) => {
              // The options are these words.
              set({ exportable: event.target.value as RegisterFilter['exportable'] })
            }}
          >
            <option value="">Copied or not</option>
            <option value="yes">Can be copied</option>
            <option value="no">Cannot be copied</option>
            <option value="unknown">Not known</option>
          </select>
          <div className="segmented" role="group" aria-label="Which">
            <button
              type="button"
              aria-pressed={!filter.overdue}
              onClick={() => set({ overdue: false })}
            >
              All
            </button>
            <button
              type="button"
              aria-pressed={filter.overdue}
              onClick={() => set({ overdue: true })}
            >
              Overdue
            </button>
          </div>
        </>
      }
    >
      <p className="sr-only" role="status">
        {plural(rows.length, 'entry', 'entries')} shown
      </p>
      {rows.length === 0 ? (
        <Empty title={filter.overdue ? 'Nothing overdue matches' : 'Nothing matches'}>
          <p>The filter looks at names, owners, uses, algorithms and holders.</p>
        </Empty>
      ) : (
        <div className="scroll-x">
          <table className="table register">
            <thead>
              <tr>
                {column('name', 'Name')}
                {column('urgency', 'State')}
                {column('owner', 'Owner')}
                {column('age', 'Age')}
                {column('ends', 'Ends')}
                {column('rotation', 'Rotation due')}
                <th scope="col">Can be copied</th>
              </tr>
            </thead>
            <tbody>
              {rows.slice(0, drawn).map((entry) => (
                <Entry key={`${entry.kind} ${entry.name}`} entry={entry} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {rows.length > drawn && (
        <p className="panel-text">
          <button type="button" className="link" onClick={() => setDrawn(drawn + STEP)}>
            Show {count(Math.min(STEP, rows.length - drawn))} more of {count(rows.length - drawn)}
          </button>
        </p>
      )}
    </Panel>
  )
}

function SortHead(props: {
  label: string
  sort: 'ascending' | 'descending' | undefined
  onSort: () => void
}): ReactNode {
  const { label, sort, onSort } = props
  return (
    <th scope="col" {...(sort !== undefined && { 'aria-sort': sort })}>
      <button type="button" className={`sort ${sort ?? ''}`} onClick={onSort}>
        {label} {sort !== undefined && <Icon name="down" size={12} />}
      </button>
    </th>
  )
}

const EXPORT = { yes: 'needs', no: 'allow', unknown: 'neutral' } as const

function Entry({ entry }: { entry: RegisterEntry }): ReactNode {
  const word = exportableWord(entry)
  return (
    <tr>
      <th scope="row" className="wrap">
        {visible(entry.name)}
        <span className="cell-note">
          {visible(entry.use)} · {visible(entry.algorithm)}
        </span>
      </th>
      <td>
        <EntryState entry={entry} />
      </td>
      <td className="register-owner">{visible(entry.owner)}</td>
      <td className="num nowrap">
        {entry.ageDays === null
          ? '—'
          : entry.ageDays === 0
            ? 'today'
            : plural(entry.ageDays, 'day')}
      </td>
      <td className="nowrap">
        <End at={entry.expiresAt} from={entry.createdAt} over="tone-deny" />
      </td>
      <td className="nowrap">
        <End at={entry.rotateBy} from={entry.createdAt} over="tone-needs" />
      </td>
      <td>
        <Badge tone={EXPORT[word]}>{word === 'unknown' ? 'not known' : word}</Badge>
        <span className="cell-note">held by: {visible(entry.heldBy)}</span>
      </td>
    </tr>
  )
}

function EntryState({ entry: { state, kind } }: { entry: RegisterEntry }): ReactNode {
  if (state === 'expired') {
    return (
      <Badge tone="deny" icon="incident">
        Expired
      </Badge>
    )
  }
  if (state === 'due') {
    return (
      <Badge tone="needs" icon="needs">
        {kind === 'secret' ? 'Rotation due' : 'Due'}
      </Badge>
    )
  }
  return <Badge icon="allow">Good</Badge>
}

/** A moment, and how far it is; nothing where there is none. */
function End(props: { at: number | null; from: number | null; over: string }): ReactNode {
  const { at, from, over } = props
  const now = useNow()
  if (at === null) return <span className="muted">—</span>
  if (at <= now) {
    return (
      <strong className={over}>
        <Time at={at} full />
      </strong>
    )
  }
  return <Countdown at={at} done="now" {...(from !== null && { of: at - from })} />
}
