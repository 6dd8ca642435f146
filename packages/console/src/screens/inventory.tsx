import { useState } from 'react'
import type { ReactNode } from 'react'
import { Link, useSearchParams } from 'wouter'
import type { Use, UseKind } from '../api/inventory-types.ts'
import { useResource } from '../api/resource.ts'
import { count, plural } from '../lib/format.ts'
import { USE_WORDS, used } from '../lib/inventory.ts'
import { useReread } from '../lib/reread.ts'
import { Badge, ClassChip } from '../ui/badge.tsx'
import { More, STEP } from '../ui/more.tsx'
import { Page } from '../ui/page.tsx'
import { Ago, Empty, Failure, Panel, Skeleton } from '../ui/parts.tsx'
import { NotDeclared } from './drift.tsx'
import '../styles/inventory.css'

const SECTIONS = [
  ['drift', 'Not declared'],
  ['uses', 'Declared'],
] as const

/** What traffic asked for: what of it nobody declared, and what is declared and nobody uses. */
export function Inventory(): ReactNode {
  const [params] = useSearchParams()
  const section = params.get('section') === 'uses' ? 'uses' : 'drift'
  return (
    <Page
      title="Inventory"
      lead="What traffic asked for that nobody declared, and when what is declared was last used."
      wide
    >
      <nav className="subnav" aria-label="Inventory">
        {SECTIONS.map(([id, label]) => (
          <Link
            key={id}
            href={id === 'drift' ? '/inventory' : `/inventory?section=${id}`}
            className={id === section ? 'subnav-item here' : 'subnav-item'}
            {...(id === section && { 'aria-current': 'true' as const })}
          >
            {label}
          </Link>
        ))}
      </nav>
      {section === 'drift' ? <NotDeclared /> : <Declared />}
    </Page>
  )
}

function Declared(): ReactNode {
  useReread('/inventory', 15_000)
  const { data, error, reload } = useResource<readonly Use[]>('/inventory')
  const [kind, setKind] = useState<UseKind | ''>('')
  const [needle, setNeedle] = useState('')
  const [never, setNever] = useState(false)
  const [drawn, setDrawn] = useState(STEP)
  const rows = used(data ?? [], kind, needle, never)
  const unused = data?.filter(({ last }) => last === null).length ?? 0
  return (
    <>
      {error && <Failure error={error} retry={reload} />}
      <Panel
        title={
          data ? (
            <>
              {plural(data.length, 'name')} declared{' '}
              {unused > 0 && <Badge tone="needs">{count(unused)} never used</Badge>}
            </>
          ) : (
            'Declared'
          )
        }
        aside={
          <>
            <input
              className="filter-input"
              type="search"
              aria-label="Filter by name or owner"
              placeholder="Filter by name or owner"
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
                setKind(event.target.value as UseKind | '')
                setDrawn(STEP)
              }}
            >
              <option value="">Every kind</option>
              {Object.entries(USE_WORDS).map(([each, word]) => (
                <option key={each} value={each}>
                  {word}s
                </option>
              ))}
            </select>
            <div className="segmented" role="group" aria-label="Which">
              <button type="button" aria-pressed={!never} onClick={() => setNever(false)}>
                All
              </button>
              <button type="button" aria-pressed={never} onClick={() => setNever(true)}>
                Never used
              </button>
            </div>
          </>
        }
      >
        {!data && !error && <Skeleton lines={10} what="Loading what is declared" />}
        {data && (
          <p className="sr-only" role="status">
            {plural(rows.length, 'name')} shown
          </p>
        )}
        {data && rows.length === 0 && (
          <Empty title={never ? 'Nothing that matches was never used' : 'Nothing matches'}>
            <p>The filter looks at names and owners.</p>
          </Empty>
        )}
        {rows.length > 0 && (
          <div className="scroll-x">
            <table className="table">
              <thead>
                <tr>
                  <th scope="col">Kind</th>
                  <th scope="col">Name</th>
                  <th scope="col">Owner</th>
                  <th scope="col">Class</th>
                  <th scope="col" className="right">
                    Calls
                  </th>
                  <th scope="col">Last used</th>
                </tr>
              </thead>
              <tbody>
                {rows.slice(0, drawn).map((line) => (
                  <tr key={`${line.kind} ${line.name}`}>
                    <td>
                      <Badge>{USE_WORDS[line.kind]}</Badge>
                    </td>
                    <th scope="row" className="wrap">
                      {line.kind === 'agent' ? (
                        <Link href={`/agents/${line.name}`} className="row-link">
                          {line.name}
                        </Link>
                      ) : (
                        line.name
                      )}
                    </th>
                    <td>{line.owner}</td>
                    <td>{line.class !== undefined && <ClassChip level={line.class} />}</td>
                    <td className="right num">{count(line.calls)}</td>
                    <td className="nowrap">
                      {line.last === null ? (
                        <span className="tone-needs">never</span>
                      ) : (
                        <Ago at={line.last} />
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
        <More rows={rows.length} drawn={drawn} draw={setDrawn} />
      </Panel>
    </>
  )
}
