import type { ReactNode } from 'react'
import { count } from '../lib/format.ts'

/**
 * A call's arguments, every one of them and whole, with nothing rendered as anything but text: letters that reorder or hide
 * text are spelled out, so that what is read is what is signed.
 */
export function Arguments({ input }: { input: unknown }): ReactNode {
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
              {typeof value === 'number' && Math.abs(value) >= 10_000 && (
                <span className="num argument-grouped"> ({count(value)})</span>
              )}
            </td>
            <td className="muted">{typeOf(value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  )
}

function typeOf(value: unknown): string {
  if (Array.isArray(value)) return 'set'
  return value === null ? 'null' : typeof value
}

/** Spells out control, bidirectional and invisible characters as `\u{202e}`. */
function visible(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) =>
    c === '\n' ? c : `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`,
  )
}
