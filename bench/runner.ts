import { execFileSync } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import type { Row } from './row.ts'

/** A benchmark module: measures and returns its rows; says on stderr what it does. */
interface Bench {
  readonly run: (args: readonly string[]) => Promise<readonly Row[]>
}

/** Runs the named benchmark and prints `{name, commit, node, cpus, load, rows}` on stdout. Returns the exit code. */
export async function runModule(
  argv: readonly string[],
  known: readonly string[],
): Promise<number> {
  const json = argv.includes('--json')
  const [name = '', ...args] = argv.filter((arg) => arg !== '--json')
  if (!known.includes(name)) {
    process.stderr.write(
      `there is no such benchmark: \`${name}\`; there are: ${known.join(', ')}\n`,
    )
    return 2
  }
  const load = loadavg().map((value) => Number(value.toFixed(2)))
  // Every module named above exports `run` of this shape.
  const bench = (await import(`./${name}.ts`)) as Bench
  const rows = await bench.run(args)
  const result = {
    name,
    commit: commit(),
    node: process.version,
    cpus: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`,
    load,
    rows,
  }
  if (json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
  else {
    process.stdout.write(`${name} at ${result.commit}, node ${result.node}, ${result.cpus}\n`)
    for (const { what, value, unit, asked, holds } of rows) {
      process.stdout.write(
        `${holds ? 'holds' : 'MISSED'}  ${what}: ${value} ${unit} (asked ${asked})\n`,
      )
    }
  }
  return rows.every(({ holds }) => holds) ? 0 : 1
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  } catch {
    return 'unknown'
  }
}
