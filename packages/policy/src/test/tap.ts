import { verdicts } from './report.ts'
import type { TestReport, Verdict } from './report.ts'

/** TAP version 14: a test point a row, a YAML block for each that failed. */
export function tapReport(report: TestReport): string {
  const all = verdicts(report)
  return ['TAP version 14', `1..${all.length}`, ...all.map(testPoint)].join('\n')
}

function testPoint({ suite, name, line, passed, lines }: Verdict, i: number): string {
  const place = line === undefined ? suite : `${suite}:${line}`
  const head = `${passed ? 'ok' : 'not ok'} ${i + 1} - ${escapeTap(`${place} ${name}`)}`
  if (passed) return head
  // JSON strings are YAML 1.2, and `visible` has left nothing in them that YAML would not show.
  return [
    head,
    '  ---',
    `  at: ${JSON.stringify(place)}`,
    '  message:',
    ...lines.map((text) => `    - ${JSON.stringify(text)}`),
    '  ...',
  ].join('\n')
}

/** In a description `#` begins a directive, and `\` escapes it. */
const escapeTap = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('#', '\\#')
