/** Runs cedar-wasm where a crash of it costs one worker thread and nothing else. */
import { parentPort } from 'node:worker_threads'
import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import type { WorkerReply, WorkerTask } from './parser.ts'

parentPort?.on('message', ({ id, task }: { id: number; task: WorkerTask }) => {
  // A throw is not caught: it ends the worker, whose wasm instance is then not to be trusted.
  // eslint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  parentPort?.postMessage({ id, reply: run(task) })
})

function run(task: WorkerTask): WorkerReply {
  switch (task.kind) {
    case 'parse':
      return { kind: 'parse', answers: task.sources.map((source) => cedar.policyToJson(source)) }
    case 'parse-templates':
      return { kind: 'parse', answers: task.sources.map((source) => cedar.templateToJson(source)) }
    case 'validate':
      return {
        kind: 'validate',
        answer: cedar.validate({
          schema: task.schema,
          policies: {
            staticPolicies: Object.fromEntries(task.policies),
            templates: Object.fromEntries(task.templates),
            templateLinks: task.links.map((link) => ({ ...link, values: { ...link.values } })),
          },
        }),
      }
    default:
      return { kind: 'schema', answer: cedar.schemaToJsonWithResolvedTypes(task.schema) }
  }
}
