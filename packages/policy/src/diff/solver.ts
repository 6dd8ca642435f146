import { spawn } from 'node:child_process'
import type { ChildProcessWithoutNullStreams } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseModel, scriptOf } from './script.ts'
import type { Model } from './script.ts'
import type { Term } from './terms.ts'

export type Answer =
  | { readonly status: 'unsat' }
  | { readonly status: 'sat'; readonly model: Model }
  | { readonly status: 'unknown'; readonly why: string }

/** Time after its own bound in which the solver may still answer before it is ended. */
const GRACE_MS = 2000
export interface Program {
  readonly file: string
  /** Milliseconds, which no question pays for. */
  readonly startMs: number
}

const Z3: Program = { file: fileURLToPath(new URL('./z3.ts', import.meta.url)), startMs: 30_000 }

/** Z3 in a process that is ended where it does not keep to its time, and started again for the next question. */
export class Solver {
  readonly #boundMs: number
  readonly #program: Program
  #child: ChildProcessWithoutNullStreams | undefined
  #lines: AsyncIterator<string> | undefined
  #warm = false

  /**
   * @param boundMs milliseconds that one question may take
   * @param program what answers, as `z3.ts` does, and how long its start may take
   */
  constructor(boundMs: number, program: Program = Z3) {
    this.#boundMs = boundMs
    this.#program = program
  }

  /** Whether all of these can hold at once. Never throws. */
  async solve(asserted: readonly Term[]): Promise<Answer> {
    const script = scriptOf(asserted, this.#boundMs)
    const answer = await this.#ask(
      script,
      this.#boundMs + GRACE_MS + (this.#warm ? 0 : this.#program.startMs),
    )
    if (answer === undefined) return { status: 'unknown', why: OUT_OF_TIME }
    this.#warm = true
    const [status = ''] = answer.split('\n', 1)
    // Without a model there are no values to ask for, which the solver calls an error.
    if (status === 'unsat') return { status }
    if (status === 'unknown') return { status, why: OUT_OF_TIME }
    if (status !== 'sat' || answer.includes('(error')) {
      return { status: 'unknown', why: `the solver failed: ${answer.slice(0, 200)}` }
    }
    return { status, model: parseModel(answer) }
  }

  async close(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child?.exitCode !== null) return
    const gone = Promise.withResolvers<void>()
    child.once('exit', () => {
      gone.resolve()
    })
    child.kill('SIGKILL')
    await gone.promise
  }

  async #ask(script: string, withinMs: number): Promise<string | undefined> {
    const lines = this.#started()
    this.#child?.stdin.write(`${JSON.stringify(script)}\n`)
    const late = Promise.withResolvers<undefined>()
    const timer = setTimeout(() => {
      late.resolve(undefined)
    }, withinMs)
    try {
      const line = await Promise.race([lines.next(), late.promise])
      // The process writes one JSON text a line.
      if (line && line.done !== true) return JSON.parse(line.value) as string
    } catch {
      // A process that broke is one that did not answer.
    } finally {
      clearTimeout(timer)
    }
    this.#warm = false
    await this.close()
    return undefined
  }

  #started(): AsyncIterator<string> {
    if (this.#child && this.#lines) return this.#lines
    const child = spawn(process.execPath, [this.#program.file], { stdio: ['pipe', 'pipe', 'pipe'] })
    // What it says and its end show as no answer; a broken pipe must not end this process.
    child.stdin.on('error', () => undefined)
    child.on('error', () => undefined)
    child.stderr.resume()
    this.#child = child
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    return this.#lines
  }
}

const OUT_OF_TIME = 'the solver did not come to an end within its time'
