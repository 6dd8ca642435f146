import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import type { ParseAnswer, WorkerReply, WorkerTask } from './parser.ts'

/** Does what a worker is asked. Throws where cedar-wasm crashes, whose instance is then not to be trusted. */
export function perform(task: WorkerTask): WorkerReply {
  switch (task.kind) {
    case 'parse':
      return { kind: 'parse', answers: task.sources.map((one) => textOf(cedar.policyToJson(one))) }
    case 'parse-templates':
      return {
        kind: 'parse',
        answers: task.sources.map((one) => textOf(cedar.templateToJson(one))),
      }
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

const textOf = (answer: cedar.PolicyToJsonAnswer): ParseAnswer =>
  answer.type === 'success' ? { type: 'success', json: JSON.stringify(answer.json) } : answer
