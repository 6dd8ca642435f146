/**
 * `node tools/red.ts [ROW…] [--json]`: sees the tests of docs/identity/must-reject.md red. For each row it breaks the one check that the
 * row is about, in a copy of the working tree, and runs the row's test alone: it has to fail, by an assertion of its own. Before
 * that the same test has to pass, unless `--no-control` is given. `4` stands for all rows `4.…`; without rows, all are tried.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'

import { ROWS } from './red/rows.ts'
import { breakCheck, copyTree, runNamed, staleRows } from './red/run.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean' }, 'no-control': { type: 'boolean' } },
})
const wanted = ROWS.filter(
  ({ id }) =>
    positionals.length === 0 || positionals.some((one) => id === one || id.startsWith(`${one}.`)),
)
if (wanted.length === 0) {
  process.stderr.write(`no row is named ${positionals.map((one) => `\`${one}\``).join(', ')}\n`)
  process.exit(2)
}

const top = dirname(import.meta.dirname)
const stale = staleRows(top, wanted)
if (stale.length > 0) {
  process.stderr.write(`${stale.join('\n')}\n`)
  process.exit(1)
}
const scratch = mkdtempSync(join(tmpdir(), 'sallyport-red-'))
const passes = new Map<string, boolean>()
let missed = 0
try {
  copyTree(top, scratch)
  for (const row of wanted) {
    const { id, file, test, name } = row
    const key = `${test}\n${name}`
    if (!values['no-control'] && !passes.has(key)) {
      passes.set(key, (await runNamed(scratch, row)).how === 'green')
    }
    const mend = breakCheck(scratch, row)
    const { how, why } = await runNamed(scratch, row).finally(mend)
    const result = how === 'red' && passes.get(key) === false ? 'fails unbroken' : how
    if (result !== 'red') missed++
    process.stdout.write(
      values.json
        ? `${JSON.stringify({ row: id, threat: row.threat, file, test, name, result, why })}\n`
        : `${result.padEnd(14)} ${id.padEnd(24)} ${name}${why === undefined ? '' : `  [${why}]`}\n`,
    )
  }
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
process.stderr.write(`${wanted.length - missed} of ${wanted.length} rows seen red\n`)
process.exitCode = missed === 0 ? 0 : 1
