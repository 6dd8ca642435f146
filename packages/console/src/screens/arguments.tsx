import type { ReactNode } from 'react'
import { count } from '../lib/format.ts'
import { moneyOf } from '../lib/money.ts'
import { visible } from '../lib/visible.ts'

/**
 * A call's arguments, every one of them and whole, with nothing rendered as anything but text: letters that reorder or hide
 * text are spelled out, so that what is read is what is signed.
 */
export function Arguments({
  input,
  wholeNumbers,
}: {
  input: unknown
  wholeNumbers: readonly string[]
}): ReactNode {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    return <pre className="block">{visible(JSON.stringify(input, null, 2))}</pre>
  }
  const rows = Object.entries(input)
  if (rows.length === 0) return <p className="panel-text muted">The call has no arguments.</p>
  return (
    <table className="arguments">
      <thead>
        <tr>
          <th scope="col">Argument</th>
          <th scope="col">Value</th>
          <th scope="col">Type</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(([name, value]: [string, unknown]) => (
          <tr key={name}>
            <th scope="row">{visible(name)}</th>
            <td>
              {typeof value === 'object' && value !== null ? (
                <pre>{visible(JSON.stringify(value, null, 2))}</pre>
              ) : (
                <span className={typeof value === 'number' ? 'num argument' : 'argument'}>
                  {visible(String(value))}
                </span>
              )}
              <Reading name={name} value={value} input={input} wholeNumbers={wholeNumbers} />
            </td>
            <td className="muted">{typeOf(value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}

/** A number as people read it, beside the exact one, never in its place. */
function Reading(props: {
  name: string
  value: unknown
  input: object
  wholeNumbers: readonly string[]
}): ReactNode {
  const { name, value, input, wholeNumbers } = props
  const amount = moneyOf(name, input, wholeNumbers)
  if (amount !== undefined) {
    return (
      <span className="argument-money">
        <span className="muted">minor units, that is </span>
        <strong className="num">{amount}</strong>
      </span>
    )
  }
  if (typeof value !== 'number' || Math.abs(value) < 10_000) return null
  return <span className="num argument-grouped"> ({count(value)})</span>
}

function typeOf(value: unknown): string {
  if (Array.isArray(value)) return 'set'
  return value === null ? 'null' : typeof value
}
