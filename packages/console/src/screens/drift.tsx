import { useState } from 'react'
import type { ReactNode } from 'react'
import { Link } from 'wouter'
import type { Drift, DriftKind } from '../api/inventory-types.ts'
import { useResource } from '../api/resource.ts'
import type { NetworkInfo } from '../api/types.ts'
import { count, plural } from '../lib/format.ts'
import { DRIFT_WORDS, drifted, driftKey, driftName, isAgent, ownerOf } from '../lib/inventory.ts'
import { useReread } from '../lib/reread.ts'
import { visible } from '../lib/visible.ts'
import { Badge } from '../ui/badge.tsx'
import { CopyBlock } from '../ui/copy-block.tsx'
import { Icon } from '../ui/icon.tsx'
import { More, STEP } from '../ui/more.tsx'
import { Ago, Empty, Failure, Panel, Skeleton } from '../ui/parts.tsx'

/** What traffic asked for and nobody declared, the newest first, each with what would declare it. */
export function NotDeclared(): ReactNode {
  useReread('/inventory/drift', 10_000)
  const { data, error, reload } = useResource<readonly Drift[]>('/inventory/drift')
  const network = useResource<NetworkInfo>('/network').data?.network
  const [kind, setKind] = useState<DriftKind | ''>('')
  const [needle, setNeedle] = useState('')
  const [drawn, setDrawn] = useState(STEP)
  const [open, setOpen] = useState<ReadonlySet<string>>(new Set())
  const rows = drifted(data ?? [], kind, needle)
  const toggle = (key: string): void => {
    const next = new Set(open)
    if (!next.delete(key)) next.add(key)
    setOpen(next)
  }
  return (
    <>
      {error && <Failure error={error} retry={reload} />}
      {data && data.length > 0 && (
        <p className="inventory-note muted">
          All of it was refused or dropped. It may be something to declare, or somebody who tries
          doors: read who asked first. A suggestion grants as little as makes sense, says{' '}
          <code>TODO</code> where a person has to decide, and changes nothing by itself.
        </p>
      )}
      <Panel
        title={data ? `${plural(data.length, 'name')} that nobody declared` : 'Not declared'}
        aside={
          <>
            <input
              className="filter-input"
              type="search"
              aria-label="Filter by name, system or caller"
              placeholder="Filter by name or caller"
              value={needle}
              onChange={(event) => {
                setNeedle(event.target.value)
                setDrawn(STEP)
              }}
            />
            <select
              aria-label="Kind"
              value={kind}
              onChange={(event) => {
                // The options are the kinds.
                setKind(event.target.value as DriftKind | '')
                setDrawn(STEP)
              }}
            >
              <option value="">Every kind</option>
              {Object.entries(DRIFT_WORDS).map(([each, word]) => (
                <option key={each} value={each}>
                  {word}s
                </option>
              ))}
            </select>
          </>
        }
      >
        {!data && !error && <Skeleton lines={8} what="Loading what is not declared" />}
        {data && (
          <p className="sr-only" role="status">
            {plural(rows.length, 'name')} shown
          </p>
        )}
        {data?.length === 0 && (
          <Empty title="Nothing that is not declared was asked for">
            <p>
              Callers, operations, fields, destinations and flows that nobody declared are listed
              here once a gateway sees them.
            </p>
          </Empty>
        )}
        {data && data.length > 0 && rows.length === 0 && (
          <Empty title="Nothing matches">
            <p>The filter looks at names, systems and callers.</p>
          </Empty>
        )}
        {rows.length > 0 && (
          <div className="scroll-x drift-scroll">
            <table className="table drift">
              <thead>
                <tr>
                  <th scope="col">Kind</th>
                  <th scope="col">Name</th>
                  <th scope="col">Asked by</th>
                  <th scope="col" className="right">
                    Times
                  </th>
                  <th scope="col">First</th>
                  <th scope="col">Last</th>
                  <th scope="col">Owner</th>
                  <th scope="col">
                    <span className="sr-only">What would declare it</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {rows.slice(0, drawn).map((line) => {
                  const key = driftKey(line)
                  return (
                    <DriftRow
                      key={key}
                      line={line}
                      network={network}
                      open={open.has(key)}
                      toggle={() => toggle(key)}
                    />
                  )
                })}
              </tbody>
            </table>
          </div>
        )}
        <More rows={rows.length} drawn={drawn} draw={setDrawn} />
      </Panel>
    </>
  )
}

function DriftRow(props: {
  line: Drift
  network: NetworkInfo['network'] | undefined
  open: boolean
  toggle: () => void
}): ReactNode {
  const { line, network, open, toggle } = props
  const { kind, system, by, calls, first, last, suggestion } = line
  const owner = ownerOf(line, network)
  return (
    <>
      <tr className={open ? 'drift-open' : ''}>
        <td>
          <Badge {...(kind === 'caller' || kind === 'destination' ? { tone: 'needs' } : {})}>
            {DRIFT_WORDS[kind]}
          </Badge>
        </td>
        <th scope="row" className="wrap">
          <span className={line.name === '*' ? 'muted' : 'mono'}>{visible(driftName(line))}</span>
          {system !== '' && <span className="cell-note">of {visible(system)}</span>}
        </th>
        <td className="drift-by">
          {by === '' ? (
            <span className="muted">—</span>
          ) : by === '*' ? (
            <span className="muted">many</span>
          ) : isAgent(by, network) ? (
            <Link href={`/agents/${by}`} className="row-link">
              {by}
            </Link>
          ) : (
            <span className="mono">{visible(by)}</span>
          )}
        </td>
        <td className="right num">{count(calls)}</td>
        <td className="muted nowrap">
          <Ago at={first} />
        </td>
        <td className="nowrap">
          <Ago at={last} />
        </td>
        <td className="nowrap">
          {owner === undefined ? <span className="muted">—</span> : visible(owner)}
        </td>
        <td className="right nowrap">
          {suggestion === null ? (
            <span className="muted">no suggestion</span>
          ) : (
            <button type="button" className="link" aria-expanded={open} onClick={toggle}>
              {open ? 'Hide' : 'Suggest'}
              <span className="sr-only"> what would declare {visible(driftName(line))}</span>
              <Icon name={open ? 'down' : 'chevron'} size={12} />
            </button>
          )}
        </td>
      </tr>
      {open && suggestion !== null && (
        <tr className="drift-suggestion">
          <td colSpan={8}>
            <span className="sr-only">It would be declared so:</span>
            <div className="drift-view">
              <CopyBlock
                text={visible(suggestion.trimEnd())}
                label={`What would declare ${visible(driftName(line))}`}
              >
                It goes into <code>network.yaml</code>, or where it says. Then run{' '}
                <code>sallyport check</code>, and propose it as any other change.
              </CopyBlock>
            </div>
          </td>
        </tr>
      )}
    </>
  )
}
