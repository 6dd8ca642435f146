import { Worker } from 'node:worker_threads'
import type {
  DetailedError,
  SchemaToJsonWithResolvedTypesAnswer,
  ValidationAnswer,
} from '@cedar-policy/cedar-wasm/nodejs'
import { SallyportError } from '@sallyport/base'
import type { EntityUid } from './types.ts'

type PolicyTexts = readonly (readonly [id: string, source: string])[]

export interface WorkerLink {
  readonly templateId: string
  readonly newId: string
  readonly values: Readonly<Record<string, EntityUid>>
}

export type WorkerTask =
  | { readonly kind: 'parse'; readonly sources: readonly string[] }
  | { readonly kind: 'parse-templates'; readonly sources: readonly string[] }
  | {
      readonly kind: 'validate'
      readonly schema: string
      readonly policies: PolicyTexts
      readonly templates: PolicyTexts
      readonly links: readonly WorkerLink[]
    }
  | { readonly kind: 'schema'; readonly schema: string }

/**
 * What the parser makes of a policy. The JSON stays text until somebody needs it: a set is thousands of small objects, and
 * whatever collects the garbage of the thread that decides would have to move them all at once.
 */
export type ParseAnswer =
  | { readonly type: 'success'; readonly json: string }
  | { readonly type: 'failure'; readonly errors: readonly DetailedError[] }

export type WorkerReply =
  | { readonly kind: 'parse'; readonly answers: readonly ParseAnswer[] }
  | { readonly kind: 'validate'; readonly answer: ValidationAnswer }
  | { readonly kind: 'schema'; readonly answer: SchemaToJsonWithResolvedTypesAnswer }

/** The parser is a third party's: it gets this long for a whole set, on a machine that may be busy. */
const TIMEOUT_MS = 60_000

/**
 * Policies, and UTF-16 code units of them, that one message asks to be parsed. Reading an answer holds this thread, the one that
 * decides, and waits for no one: answers are kept short, and one is asked for after the other.
 */
const SLICE = { policies: 32, length: 16_384 } as const

let worker: Worker | undefined
let queue: Promise<unknown> = Promise.resolve()
let lastId = 0

/**
 * Parses policies (without schema, entities or requests) to Cedar's JSON format.
 *
 * @throws SallyportError `SP_CEDAR_PARSER` when the parser crashed or ran out of time
 */
export async function parsePolicies(
  sources: readonly string[],
  templates = false,
): Promise<readonly ParseAnswer[]> {
  const answers: ParseAnswer[] = []
  const deadline = performance.now() + TIMEOUT_MS
  for (let at = 0; at < sources.length;) {
    const slice = sliceOf(sources, at)
    at += slice.length
    const kind = templates ? 'parse-templates' : 'parse'
    const reply = await inWorker({ kind, sources: slice }, deadline - performance.now())
    if (reply.kind !== 'parse') throw failed('answered something else')
    answers.push(...reply.answers)
  }
  return answers
}

function sliceOf(sources: readonly string[], at: number): readonly string[] {
  let end = at
  let length = 0
  do length += sources[end++]?.length ?? 0
  while (end < sources.length && end - at < SLICE.policies && length < SLICE.length)
  return sources.slice(at, end)
}

/** Type-checks policies against a schema. @throws SallyportError `SP_CEDAR_PARSER` */
export async function validatePolicies(
  task: Omit<Extract<WorkerTask, { kind: 'validate' }>, 'kind'>,
): Promise<ValidationAnswer> {
  const reply = await inWorker({ kind: 'validate', ...task })
  if (reply.kind !== 'validate') throw failed('answered something else')
  return reply.answer
}

/** A schema in Cedar's JSON form, names resolved. @throws SallyportError `SP_CEDAR_PARSER` */
export async function parseSchema(schema: string): Promise<SchemaToJsonWithResolvedTypesAnswer> {
  const reply = await inWorker({ kind: 'schema', schema })
  if (reply.kind !== 'schema') throw failed('answered something else')
  return reply.answer
}

/** Ends the worker; a later call starts another. */
export async function closeCedar(): Promise<void> {
  await queue
  const ended = worker
  worker = undefined
  await ended?.terminate()
}

/** One task at a time, so that a crash or a timeout belongs to the task that caused it. */
function inWorker(task: WorkerTask, timeoutMs: number = TIMEOUT_MS): Promise<WorkerReply> {
  const result = queue.then(() => ask(task, timeoutMs))
  queue = result.catch(() => undefined)
  return result
}

interface Pending {
  readonly id: number
  resolve(reply: WorkerReply): void
  reject(error: SallyportError): void
}
let pending: Pending | undefined

function start(): Worker {
  const started = new Worker(new URL('./worker.ts', import.meta.url), {
    // Flags of the parent, such as --input-type, need not make sense for a worker.
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: 512 },
  })
  started.on('message', (message: { id: number; reply: WorkerReply }) => {
    if (message.id === pending?.id) pending.resolve(message.reply)
  })
  const discard = (what: string, cause?: unknown): void => {
    if (worker !== started) return
    worker = undefined
    pending?.reject(failed(what, cause))
    void started.terminate()
  }
  started.on('error', (error) => discard('crashed', error))
  started.on('messageerror', (error) => discard('gave an unreadable answer', error))
  started.on('exit', () => discard('ended'))
  return started
}

async function ask(task: WorkerTask, timeoutMs: number): Promise<WorkerReply> {
  const current = (worker ??= start())
  const id = ++lastId
  // Only a task under way keeps the process alive.
  current.ref()
  let timer: NodeJS.Timeout | undefined
  try {
    return await new Promise<WorkerReply>((resolve, reject) => {
      pending = { id, resolve, reject }
      timer = setTimeout(() => {
        worker = undefined
        void current.terminate()
        reject(failed(`took longer than ${TIMEOUT_MS} ms`))
      }, timeoutMs)
      // eslint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      current.postMessage({ id, task })
    })
  } finally {
    clearTimeout(timer)
    pending = undefined
    current.unref()
  }
}

function failed(what: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_CEDAR_PARSER', 'the Cedar parser could not process the policies', {
    detail: `the parser ${what}${cause instanceof Error ? `: ${cause.message}` : ''}`,
    fix: 'make the policy smaller or less nested',
    cause,
  })
}
