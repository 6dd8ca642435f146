import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { bounded, stated } from '../row.ts'
import type { Row } from '../row.ts'

const ROOT = join(import.meta.dirname, '../..')
const CONSOLE = 'http://localhost:7400/'
const SETTLE_MS = 25_000

/** From `npm start` to a console that answers, and the memory of every process of the network. */
export async function benchStartup(note: (text: string) => void): Promise<Row[]> {
  note('npm start')
  const started = performance.now()
  const child = spawn('npm', ['start', '--silent'], {
    cwd: ROOT,
    detached: true,
    stdio: 'ignore',
  })
  let seconds = Number.NaN
  while (performance.now() - started < 60_000) {
    const ok = await fetch(CONSOLE).then(
      ({ ok: answered }) => answered,
      () => false,
    )
    if (ok) {
      seconds = (performance.now() - started) / 1000
      break
    }
    await sleep(50)
  }
  await sleep(SETTLE_MS)
  const tree = processTree(child.pid ?? 0)
  const mib = tree.reduce((sum, pid) => sum + proportionalKib(pid), 0) / 1024
  if (child.pid !== undefined) process.kill(-child.pid, 'SIGINT')
  await once(child, 'exit')
  return [
    bounded('start-up: npm start to console answering', seconds, 's', '<=', 20),
    stated('memory of the whole network (PSS, every process)', mib, 'MiB'),
    stated('processes of the whole network', tree.length, 'processes'),
  ]
}

/** A process and all its descendants. */
function processTree(root: number): number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
    } catch {
      // It ended meanwhile.
    }
  }
  const tree = [root]
  for (const pid of tree) {
    for (const [child, parent] of parents) if (parent === pid) tree.push(child)
  }
  return tree
}

/** Proportional set size: shared pages are counted once over all who share them. */
function proportionalKib(pid: number): number {
  try {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
    return Number(/^Pss:\s+(\d+)/m.exec(rollup)?.[1] ?? 0)
  } catch {
    return 0
  }
}
