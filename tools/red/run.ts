/** Runs one named test in a copy of the working tree, and says how it ended. */
import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { run } from 'node:test'

import type { Break, RedRow } from './types.ts'

interface Ended {
  readonly how: 'red' | 'green' | 'wrong reason' | 'no such test'
  /** What failed first, in one line. */
  readonly why?: string
}

/** A hang guard. A test that is stopped by it is not red: it did not say why. */
const LONGEST_MS = 180_000

/**
 * Copies the working tree, as it is, into `scratch`. Packages from elsewhere are linked; our own are the copy's, so that a
 * broken file is the one that runs.
 */
export function copyTree(top: string, scratch: string): void {
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], { cwd: top })
    .toString()
    .split('\0')
    .filter((file) => file !== '' && existsSync(join(top, file)))
  for (const file of files) {
    mkdirSync(dirname(join(scratch, file)), { recursive: true })
    cpSync(join(top, file), join(scratch, file), { verbatimSymlinks: true })
  }
  const modules = join(top, 'node_modules')
  mkdirSync(join(scratch, 'node_modules'))
  for (const name of readdirSync(modules)) {
    if (name !== '@sallyport') symlinkSync(join(modules, name), join(scratch, 'node_modules', name))
  }
  // Relative links: they lead into the copy.
  cpSync(join(modules, '@sallyport'), join(scratch, 'node_modules', '@sallyport'), {
    recursive: true,
    verbatimSymlinks: true,
  })
  const built = 'packages/console/dist'
  if (existsSync(join(top, built))) symlinkSync(join(top, built), join(scratch, built))
}

/** How often a text occurs in a file. */
function occurrences(text: string, part: string): number {
  return text.split(part).length - 1
}

/** The breaks of a row: its own, and those behind it. */
function breaksOf(row: RedRow): readonly Break[] {
  return [row, ...(row.and ?? [])]
}

/** Rows whose texts do not stand exactly once where they say, each in one line. */
export function staleRows(top: string, rows: readonly RedRow[]): readonly string[] {
  return rows.flatMap((row) => {
    const files = new Map<string, string>()
    return breaksOf(row).flatMap(({ file, from, to }) => {
      const text = files.get(file) ?? readFileSync(join(top, file), 'utf8')
      files.set(
        file,
        text.replace(from, () => to),
      )
      const holds = occurrences(text, from) === 1 && from !== to
      return holds ? [] : [`${row.id}: ${file}: not exactly once: ${from}`]
    })
  })
}

/**
 * Breaks the check of a row.
 *
 * @returns what puts the files back
 */
export function breakCheck(scratch: string, row: RedRow): () => void {
  const whole = new Map<string, string>()
  for (const { file, from, to } of breaksOf(row)) {
    const path = join(scratch, file)
    const text = readFileSync(path, 'utf8')
    if (!whole.has(path)) whole.set(path, text)
    if (occurrences(text, from) !== 1) throw new Error(`${file}: not exactly once: ${from}`)
    writeFileSync(
      path,
      text.replace(from, () => to),
    )
  }
  return () => {
    for (const [path, text] of whole) writeFileSync(path, text)
  }
}

interface TestEvent {
  readonly type: string
  readonly data?: {
    readonly name?: string
    readonly skip?: unknown
    readonly details?: {
      readonly type?: string
      readonly error?: { readonly failureType?: string; readonly cause?: unknown }
    }
  }
}

interface Failed {
  readonly name: string
  readonly assertion: boolean
  readonly message: string
}

/** Runs the row's test alone. Red is a failed assertion; a syntax error, a hook, a time-out or any other error is not. */
export async function runNamed(scratch: string, row: RedRow): Promise<Ended> {
  const failed: Failed[] = []
  let ran = 0
  const events: AsyncIterable<TestEvent> = run({
    files: [resolve(scratch, row.test)],
    cwd: scratch,
    testNamePatterns: [pattern(row.name)],
    timeout: LONGEST_MS,
    concurrency: false,
    // What a broken check leaves open must not keep the process alive.
    execArgv: ['--test-force-exit'],
    signal: AbortSignal.timeout(2 * LONGEST_MS),
  })
  for await (const { type, data } of events) {
    if (type === 'test:pass' && data?.details?.type !== 'suite' && data?.skip === undefined) ran++
    if (type !== 'test:fail') continue
    ran++
    const { failureType, cause } = data?.details?.error ?? {}
    if (failureType === 'subtestsFailed') continue
    failed.push({
      name: data?.name ?? '',
      assertion: failureType === 'testCodeFailure' && isAssertion(cause),
      message: oneLine(cause),
    })
  }
  const [first] = failed
  if (ran === 0) return { how: 'no such test' }
  if (first === undefined) return { how: 'green' }
  const { says } = row
  const told = (one: Failed): boolean =>
    one.assertion && (says === undefined || `${one.name}\n${one.message}`.includes(says))
  const reason = failed.find(told)
  const { name, message } = reason ?? first
  return { how: first.assertion && reason ? 'red' : 'wrong reason', why: `${name}: ${message}` }
}

function pattern(name: string): RegExp {
  const text = name.endsWith('…') ? name.slice(0, -1) : name
  return new RegExp(`^${text.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')}${text === name ? '$' : ''}`)
}

function isAssertion(cause: unknown): boolean {
  return (
    typeof cause === 'object' && cause !== null && 'code' in cause && cause.code === 'ERR_ASSERTION'
  )
}

function oneLine(cause: unknown): string {
  const text = cause instanceof Error ? cause.message : String(cause)
  const line = text.replaceAll(/\s+/g, ' ').trim()
  return line.length > 160 ? `${line.slice(0, 159)}…` : line
}
