import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { inspect } from 'node:util'

/** An index that no child could finish, twice over. */
interface Lost {
  readonly index: number
  readonly why: 'crashed' | 'hung'
  readonly detail: string
}

interface Work<R> {
  /** A module that calls `serve` when it is run with these arguments. */
  readonly module: string
  readonly args: readonly string[]
  readonly indexes: Iterator<number>
  readonly processes: number
  /** Indexes that one child does before another takes its place. */
  readonly perChild: number
  /** An index that takes longer counts as hung, on a machine that may be busy. */
  readonly hangMs: number
  readonly onResult: (index: number, result: R) => void
  readonly onLost: (lost: Lost) => void
}

interface Reply {
  readonly index: number
  readonly result?: unknown
  readonly failed?: string
}

/**
 * Does each index in a child process. The oracle loses stack whenever it throws and can be lost for good, so what a child
 * fails at is tried once more in a fresh one: only what fails there too is lost.
 */
export async function inChildren<R>(work: Work<R>): Promise<void> {
  await Promise.all(Array.from({ length: work.processes }, () => lane(work)))
}

async function lane<R>(work: Work<R>): Promise<void> {
  let child: ChildProcess | undefined
  let done = 0
  const end = (): void => {
    child?.kill('SIGKILL')
    child = undefined
    done = 0
  }
  const attempt = async (index: number): Promise<Lost | undefined> => {
    child ??= fork(work.module, work.args, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    const answer = await ask(child, index, work.hangMs)
    if ('why' in answer) {
      end()
      return answer
    }
    // INVARIANT: `serve` of the same module answers with what `onResult` takes.
    work.onResult(index, answer.result as R)
    if (++done >= work.perChild) end()
    return undefined
  }
  process.once('exit', end)
  try {
    for (let next = work.indexes.next(); next.done !== true; next = work.indexes.next()) {
      const lost = (await attempt(next.value)) && (await attempt(next.value))
      if (lost) work.onLost(lost)
    }
  } finally {
    process.off('exit', end)
    end()
  }
}

function ask(child: ChildProcess, index: number, hangMs: number): Promise<Reply | Lost> {
  let said = ''
  return new Promise((resolve) => {
    const settle = (answer: Reply | Lost): void => {
      clearTimeout(timer)
      child.removeAllListeners()
      child.stderr?.removeAllListeners('data')
      resolve(answer)
    }
    const lost = (why: Lost['why'], detail: string): void => settle({ index, why, detail })
    const timer = setTimeout(() => lost('hung', `after ${hangMs} ms`), hangMs)
    child.stderr?.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-2000)))
    child.on('error', (error) => lost('crashed', error.message))
    child.on('exit', (code, signal) => lost('crashed', `${signal ?? `exit ${code}`}: ${said}`))
    child.on('message', (reply: Reply) => {
      if (reply.failed === undefined) settle(reply)
      else lost('crashed', reply.failed)
    })
    child.send({ index })
  })
}

/** The child's side: answers each index with what `run` gives. */
export function serve(run: (index: number) => Promise<unknown>): void {
  process.on('disconnect', () => process.exit())
  process.on('message', ({ index }: { index: number }) => {
    const answer = (reply: Reply): void => void process.send?.(reply)
    run(index).then(
      (result) => answer({ index, result }),
      (error: unknown) => answer({ index, failed: inspect(error) }),
    )
  })
}
