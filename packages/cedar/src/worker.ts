/** Runs cedar-wasm where a crash of it costs one worker thread and nothing else. */
import { parentPort } from 'node:worker_threads'
import type { WorkerTask } from './parser.ts'
import { perform } from './task.ts'

parentPort?.on('message', ({ id, task }: { id: number; task: WorkerTask }) => {
  // A throw is not caught: it ends the worker, whose wasm instance is then not to be trusted.
  // eslint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  parentPort?.postMessage({ id, reply: perform(task) })
})
