import { styleText } from 'node:util'

/** Data goes to stdout, everything else to stderr; with `json`, stdout is exactly one JSON document. */
export interface Output {
  readonly json: boolean
  /** The result of the command: as JSON, or as the text that `human` makes of it. */
  data<T>(value: T, human: (value: T) => string): void
  /** Progress and remarks, for people. */
  note(text: string): void
}

export function createOutput(json: boolean): Output {
  return {
    json,
    data(value, human) {
      process.stdout.write(json ? `${JSON.stringify(value, null, 2)}\n` : `${human(value)}\n`)
    },
    note(text) {
      process.stderr.write(`${text}\n`)
    },
  }
}

/** A plain table; columns as wide as their widest cell. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, i) =>
    Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)),
  )
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd()
  return [styleText('bold', line(head)), ...rows.map(line)].join('\n')
}

/** Milliseconds since the epoch as UTC, to the second. */
export function utc(at: number): string {
  return new Date(at).toISOString().replace(/\.\d+Z$/, 'Z')
}
