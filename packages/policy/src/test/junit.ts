import { verdicts } from './report.ts'
import type { TestReport, Verdict } from './report.ts'

/** JUnit XML as CI servers read it: a suite a file, a case a row. */
export function junitReport(report: TestReport): string {
  const all = verdicts(report)
  const suites = [...new Set(all.map(({ suite }) => suite))].map((name) => {
    const cases = all.filter(({ suite }) => suite === name)
    return [
      `  <testsuite ${attributes({ name, ...counts(cases) })}>`,
      ...cases.map(testcase),
      '  </testsuite>',
    ].join('\n')
  })
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites ${attributes({ name: 'sallyport policy test', ...counts(all) })}>`,
    ...suites,
    '</testsuites>',
  ].join('\n')
}

const counts = (cases: readonly Verdict[]): Record<string, string> => ({
  tests: String(cases.length),
  failures: String(cases.filter(({ passed }) => !passed).length),
  errors: '0',
})

function testcase({ suite, name, line, passed, lines }: Verdict): string {
  const place = line === undefined ? {} : { file: suite, line: String(line) }
  const head = `    <testcase ${attributes({ classname: suite, name, ...place })}`
  if (passed) return `${head}/>`
  const [message = ''] = lines
  return `${head}>
      <failure ${attributes({ message, type: 'failure' })}>${escapeXml(lines.join('\n'))}</failure>
    </testcase>`
}

const attributes = (values: Readonly<Record<string, string>>): string =>
  Object.entries(values)
    .map(([name, value]) => `${name}="${escapeXml(value)}"`)
    .join(' ')

/** Characters that XML 1.0 cannot hold at all are written out before they come here. */
const escapeXml = (text: string): string =>
  text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&apos;')
