import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { closeCedar } from '@sallyport/cedar'
import { loadDeclaration } from '@sallyport/network'
import { junitReport, readTests, runTests, tapReport, textReport } from '../src/index.ts'
import type { TestReport } from '../src/index.ts'

const STARTER = join(import.meta.dirname, '../../cli/templates/starter/network.yaml')

/** A name that would break out of an attribute, a comment, a directive or a terminal. */
const HOSTILE =
  "\"]]>&<x y='1'> # SKIP \\# \u0000\u001b[2J\n1..0\r\nBail out! \ud800 \uffff \u202e é 😀"

after(closeCedar)

let report: TestReport
before(async () => {
  const rows = [
    { name: 'passes', agent: 'assistant', call: 'invoices.getInvoice', input: { invoiceId: 'I1' } },
    { name: HOSTILE, agent: 'assistant', call: 'invoices.getInvoice', input: { [HOSTILE]: 'I1' } },
    { name: HOSTILE, agent: 'assistant', call: 'invoices.getInvoice', input: { invoiceId: 'I1' } },
  ].map((row) => ({ ...row, code: 'SP_ALLOWED' }))
  const file = readTests(JSON.stringify({ rows }), HOSTILE)
  const run = await runTests([file], await loadDeclaration({ networkFile: STARTER }))
  report = {
    suites: [{ file: HOSTILE, results: run.results }],
    coverage: [{ network: 'network.yaml', report: run.coverage }],
    minCoverage: 100,
  }
})

/** Checks XML 1.0 well-formedness of what has no comments, CDATA, doctype or processing instructions but the first. */
function elements(xml: string): string[] {
  // Production [2] Char, without what `visible` never leaves.
  assert.doesNotMatch(
    xml,
    /[^\n\u0020-\u007e\u0085\u00a0-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u,
  )
  const rest = xml.replace(/^<\?xml version="1\.0" encoding="UTF-8"\?>\n/, '')
  assert.notEqual(rest, xml)
  const open: string[] = []
  const names: string[] = []
  const TOKEN =
    /<(?<name>[a-z]+)(?<attributes>(?: [a-z]+="(?:[^<&"]|&(?:amp|lt|gt|quot|apos);)*")*)(?<empty>\/?)>|<\/(?<end>[a-z]+)>|(?<text>(?:[^<&>]|&(?:amp|lt|gt|quot|apos);)+)/y
  let at = 0
  for (; at < rest.length; at = TOKEN.lastIndex) {
    TOKEN.lastIndex = at
    const groups = TOKEN.exec(rest)?.groups
    assert.ok(groups, `not well-formed at ${JSON.stringify(rest.slice(at, at + 80))}`)
    const { name, attributes = '', empty, end, text } = groups
    if (end !== undefined) assert.equal(open.pop(), end)
    else if (name !== undefined) {
      const keys = [...attributes.matchAll(/ ([a-z]+)="[^"]*"/g)].map(([, key]) => key)
      assert.equal(new Set(keys).size, keys.length, 'an attribute stands twice')
      names.push(name)
      if (empty === '') open.push(name)
    } else if (open.length === 0) assert.match(text ?? '', /^\s*$/, 'text outside the root')
  }
  assert.deepEqual(open, [])
  return names
}

describe('JUnit XML', () => {
  it('is well-formed whatever names hold, with one case a row and one for the threshold', () => {
    const xml = junitReport(report)
    const names = elements(xml)
    assert.equal(names.filter((name) => name === 'testcase').length, 4)
    assert.equal(names.filter((name) => name === 'failure').length, 2)
    assert.equal(names.filter((name) => name === 'testsuite').length, 2)
    assert.match(xml, /<testsuites name="sallyport policy test" tests="4" failures="2" errors="0">/)
  })

  it('the checker above refuses what is not', () => {
    const good = '<?xml version="1.0" encoding="UTF-8"?>\n<a b="1">x</a>'
    assert.deepEqual(elements(good), ['a'])
    for (const [from, to] of [
      ['x', '&'],
      ['x', '<'],
      ['x', '\u0001'],
      ['"1"', '"<"'],
      ['"1"', '"1" b="2"'],
      ['</a>', ''],
      ['x', '<c>'],
      ['</a>', '</a>y'],
    ] as const) {
      assert.throws(() => elements(good.replace(from, to)), { name: 'AssertionError' }, to)
    }
  })

  it('is read by Expat, where Python is there to ask it', (t) => {
    const script =
      'import sys, xml.etree.ElementTree as e; r = e.fromstring(sys.stdin.buffer.read()); print([c.get("name") for c in r.iter("testcase")][1])'
    const python = spawnSync('python3', ['-c', script], {
      input: junitReport(report),
      encoding: 'utf8',
      env: { ...process.env, PYTHONIOENCODING: 'utf8' },
    })
    if (python.error) return t.skip('no python3')
    assert.equal(python.status, 0, python.stderr)
    assert.ok(
      python.stdout.startsWith(`"]]>&<x y='1'> # SKIP \\# \\u{0}\\u{1b}[2J\\u{a}1..0`),
      python.stdout,
    )
  })
})

describe('TAP', () => {
  it('has one point a row, nothing that a name could slip in, and readable reasons', () => {
    const lines = tapReport(report).split('\n')
    assert.deepEqual(lines.slice(0, 2), ['TAP version 14', '1..4'])
    const points = lines.filter((line) => !line.startsWith('  ')).slice(2)
    assert.equal(points.length, 4)
    for (const [i, point] of points.entries()) {
      assert.match(point, new RegExp(`^(not )?ok ${i + 1} - `))
      // A `#` that nothing escapes would begin a directive.
      assert.doesNotMatch(point.replaceAll('\\\\', '').replaceAll('\\#', ''), /#/)
      // eslint-disable-next-line no-control-regex -- control characters are what must not be there
      assert.doesNotMatch(point, /[\u0000-\u001f\u007f\u202e]/)
    }
    assert.deepEqual(
      points.map((point) => point.startsWith('ok')),
      [true, false, true, false],
    )
    const blocks = tapReport(report).match(/^ {2}---\n(?: {2,4}[^\n]*\n)*? {2}\.\.\.$/gm) ?? []
    assert.equal(blocks.length, 2)
    assert.match(
      blocks[0] ?? '',
      /message:\n {4}- "code: expected SP_ALLOWED, got SP_INPUT_UNKNOWN"/,
    )
  })
})

it('the text for people names file and line, and shows no control character', () => {
  const text = textReport(report)
  // eslint-disable-next-line no-control-regex -- as above
  assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f\u202e]/)
  assert.match(text, /^✗ .*:1 /)
  assert.match(text, /coverage of network\.yaml: 62\.5 %|coverage of network\.yaml: \d+(\.\d)? %/)
  assert.match(text, /never true: when context\.evidence\.approvals >= 1/)
  assert.ok(text.endsWith('2 of 3 rows passed'))
})
