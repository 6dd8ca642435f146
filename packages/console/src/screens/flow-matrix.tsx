import type { ReactNode } from 'react'
import { Link } from 'wouter'
import type { Flow, Network } from '../api/network-types.ts'
import { Panel } from '../ui/parts.tsx'

/** Who may reach what: agents down, systems across; R and W are the kinds of operation that the flows carry. */
export function FlowMatrix({ network }: { network: Network }): ReactNode {
  const kinds = new Map(
    network.systems.flatMap((system) =>
      system.operations.map(({ name, kind }) => [`${system.name}.${name}`, kind] as const),
    ),
  )
  return (
    <>
      <Panel
        title="Who may reach what"
        aside={
          <span className="muted">
            <b className="mx-r">R</b> reads <b className="mx-w">W</b> writes · an empty cell is
            refused at every layer
          </span>
        }
      >
        {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls */}
        <div className="scroll-x" tabIndex={0} role="region" aria-label="Flow matrix">
          <table className="matrix">
            <thead>
              <tr>
                <th scope="col">from ↓ to →</th>
                {network.systems.map(({ name }) => (
                  <th key={name} scope="col">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {network.agents.map((agent) => (
                <tr key={agent.name}>
                  <th scope="row">
                    <Link href={`/agents/${agent.name}`}>{agent.name}</Link>{' '}
                    <span className="muted">{agent.segment}</span>
                  </th>
                  {network.systems.map((system) => (
                    <Cell
                      key={system.name}
                      flows={network.flows.filter(
                        ({ from, to }) => from === agent.name && to === system.name,
                      )}
                      kindOf={(operation) => kinds.get(`${system.name}.${operation}`) ?? 'write'}
                    />
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Panel>
      <Panel title="Flows">
        <div className="scroll-x">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Flow</th>
                <th scope="col">From</th>
                <th scope="col">To</th>
                <th scope="col">Operations</th>
                <th scope="col">Purpose</th>
              </tr>
            </thead>
            <tbody>
              {network.flows.map((flow) => (
                <tr key={flow.id}>
                  <th scope="row" className="mono">
                    {flow.id}
                  </th>
                  <td>{flow.from}</td>
                  <td>{flow.to}</td>
                  <td>{flow.operations.join(', ')}</td>
                  <td className="muted">{flow.purpose}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Panel>
    </>
  )
}

function Cell(props: {
  flows: readonly Flow[]
  kindOf: (operation: string) => 'read' | 'write'
}): ReactNode {
  if (props.flows.length === 0) return <td className="mx-none" aria-label="nothing" />
  const operations = props.flows.flatMap(({ operations: each }) => each)
  const reads = operations.filter((operation) => props.kindOf(operation) === 'read')
  const writes = operations.filter((operation) => props.kindOf(operation) === 'write')
  return (
    <td
      className="mx-some"
      title={[...props.flows.map(({ purpose }) => purpose), operations.join(', ')].join('\n')}
    >
      {reads.length > 0 && (
        <b className="mx-r">
          R<span className="num">{reads.length}</span>
        </b>
      )}
      {writes.length > 0 && (
        <b className="mx-w">
          W<span className="num">{writes.length}</span>
        </b>
      )}
    </td>
  )
}
