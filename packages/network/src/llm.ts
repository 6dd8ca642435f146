import type { Report } from './check.ts'
import { LLM_SURFACES } from './llm-types.ts'
import type { LlmBinding, LlmModel, LlmSystem, LlmVendor } from './llm-types.ts'
import { didYouMean } from './problem.ts'
import { escapePointer } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'
import { integer, list, NAME, named, object, oneOf, text } from './schema-parts.ts'
import type { Schema } from './schema-parts.ts'
import { classRank, DATA_CLASSES } from './types.ts'
import type { DataClass, InputSchema, Network } from './types.ts'

/** As vendors name them: `gpt-5-mini`, `meta-llama/Llama-4`, `qwen3:8b`. */
const MODEL = '^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}$'
const day = (description: string): Schema => ({
  type: 'string',
  pattern: '^\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])$',
  description,
})
const MONEY_MAX = 1_000_000_000

/** `llm` of a system in network.yaml. */
export const llmSchema: Schema = object(
  'The models behind it, who runs them, and what may be said to them (protocol llm).',
  ['dialect', 'vendor', 'mayRead', 'models'],
  {
    dialect: oneOf('Whose wire format it speaks; compatible servers are `openai`.', [
      'openai',
      'anthropic',
    ]),
    vendor: object(
      'The register’s entry of whoever runs the models. Once its review is over, no call is made.',
      ['name', 'region', 'retentionDays', 'reviewer', 'reviewed', 'reviewBy'],
      {
        name: text('Who runs them.', 128),
        region: text('Where prompts are processed.', 64),
        retentionDays: integer('Days that prompts are kept; 0 for none.', 0, 36_500),
        reviewer: text('An operator.', 128),
        reviewed: day('Day of the last review.'),
        reviewBy: day('The last day on which it holds, in UTC.'),
      },
    ),
    mayRead: oneOf('Highest class of data that may go there as it is.', DATA_CLASSES),
    above: oneOf(
      'What becomes of data above it: stand-ins, taken back in the answer, or a denial.',
      ['redact', 'deny'],
      'redact',
    ),
    standIns: oneOf(
      'How stand-ins look: words with the kind in them (`EMAIL_…`), or whatever has the form of the value and is nobody’s.',
      ['word', 'form'],
      'word',
    ),
    find: list(
      'What is taken for personal by its form, beside what the session has read; default: `identifiers`. Secrets always are.',
      { type: 'string', enum: ['identifiers', 'dates', 'names'] },
    ),
    answerTags: list('Labels that a session has once it was answered, e.g. `untrusted`.', {
      type: 'string',
      pattern: NAME,
    }),
    outputLimit: oneOf(
      'How a server of your own calls the most tokens of an answer, where it does not know `max_completion_tokens`.',
      ['max_tokens'],
    ),
    models: named(
      'Models that callers may name; there are no others.',
      object('A model.', ['maxOutputTokens'], {
        maxOutputTokens: integer('Tokens that one answer may have.', 1, 10_000_000),
        price: object('Minor units of the currency for a million tokens.', ['input', 'output'], {
          input: integer('Of the prompt.', 0, MONEY_MAX),
          output: integer('Of the answer.', 0, MONEY_MAX),
        }),
        fallback: list(
          '`SYSTEM/MODEL` to be asked where this one does not answer; none that may read less.',
          { type: 'string', pattern: `^[a-z][a-z0-9-]{0,62}/${MODEL.slice(1)}` },
          1,
        ),
      }),
      MODEL,
    ),
  },
)

export interface RawLlm {
  readonly dialect: LlmSystem['dialect']
  readonly vendor: LlmVendor
  readonly mayRead: DataClass
  readonly above?: LlmSystem['above']
  readonly standIns?: 'word' | 'form'
  readonly find?: LlmSystem['find']
  readonly answerTags?: readonly string[]
  readonly outputLimit?: 'max_tokens'
  readonly models: Readonly<Record<string, Omit<LlmModel, 'name'>>>
}

export function resolveLlm(raw: RawLlm): LlmSystem {
  return {
    dialect: raw.dialect,
    vendor: raw.vendor,
    mayRead: raw.mayRead,
    above: raw.above ?? 'redact',
    ...(raw.standIns === 'form' && { standIns: 'form' }),
    find: raw.find ?? ['identifiers'],
    answerTags: raw.answerTags ?? [],
    ...(raw.outputLimit && { outputLimit: raw.outputLimit }),
    models: Object.entries(raw.models).map(([name, model]) => ({ name, ...model })),
  }
}

const MAX_TOKENS = 1_000_000_000
const long = { type: 'long', minimum: 0, maximum: MAX_TOKENS } as const

/** What policies and limits read of a call to a model. */
const inputOf = ({ models }: LlmSystem): InputSchema => {
  const member = (schema: InputSchema['members'][string]['schema']) => ({ schema, required: true })
  return {
    type: 'record',
    members: {
      model: member({ type: 'string', maxLength: 128, enum: models.map(({ name }) => name) }),
      inputTokens: member(long),
      maxOutputTokens: member(long),
      tokens: member(long),
      cost: member({ type: 'long', minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
      stream: member({ type: 'boolean' }),
      tools: member({ type: 'set', items: { type: 'string', maxLength: 128 }, maxItems: 512 }),
      redacted: member(long),
    },
  }
}

/** What can be asked of declared models, as operations import it. */
export function modelOperations(llm: LlmSystem): {
  readonly names: readonly string[]
  find(name: string): { binding: LlmBinding; input: InputSchema }
} {
  const surfaces = LLM_SURFACES[llm.dialect]
  return {
    names: surfaces,
    find: (name) => {
      const surface = surfaces.find((one) => one === name)
      if (surface === undefined) throw new TypeError(`no operation ${name}`)
      return { binding: { kind: 'llm', surface }, input: inputOf(llm) }
    },
  }
}

/** Reviewers and fallbacks: what they name must be there, and must not widen anything. */
export function checkLlm(network: Network, located: Located, report: Report): void {
  for (const { name, llm } of network.systems) {
    if (!llm) continue
    const at = `/systems/${escapePointer(name)}/llm`
    const operators = network.operators.map((operator) => operator.name)
    const { reviewer, reviewed, reviewBy } = llm.vendor
    if (!operators.includes(reviewer)) {
      report(
        'SP_NETWORK_REFERENCE',
        located.at(`${at}/vendor/reviewer`),
        `there is no operator \`${reviewer}\`${didYouMean(reviewer, operators)}`,
        'a review that nobody answers for is none',
        'name an operator',
      )
    }
    if (reviewBy < reviewed || !isDay(reviewed) || !isDay(reviewBy)) {
      report(
        'SP_NETWORK_RULE',
        located.at(`${at}/vendor/reviewBy`),
        `the review of \`${reviewed}\` cannot hold until \`${reviewBy}\``,
        'a vendor is called for as long as its review holds',
        'state days of the calendar, the later one in `reviewBy`',
      )
    }
    llm.models.forEach((model) => {
      for (const [i, wanted] of (model.fallback ?? []).entries()) {
        const problem = fallbackProblem(network, name, llm, model, wanted)
        if (problem === undefined) continue
        report(
          'SP_NETWORK_RULE',
          located.at(`${at}/models/${escapePointer(model.name)}/fallback/${i}`),
          `\`${wanted}\` cannot stand in for \`${name}/${model.name}\`: ${problem}`,
          'where one vendor fails, a prompt must not reach one that it was not meant for',
          'name a model of the same dialect that may read at least as much',
        )
      }
    })
  }
}

function fallbackProblem(
  network: Network,
  name: string,
  llm: LlmSystem,
  model: LlmModel,
  wanted: string,
): string | undefined {
  const slash = wanted.indexOf('/')
  const [system, other] = [wanted.slice(0, slash), wanted.slice(slash + 1)]
  const standIn = network.systems.find((one) => one.name === system)
  const found = standIn?.llm
  if (!found?.models.some((one) => one.name === other)) return 'there is no such model'
  if (system === name && other === model.name) return 'it is the same'
  if (found.dialect !== llm.dialect) return 'it speaks another dialect'
  if (system !== name && standIn?.onBehalfOf !== undefined) return 'it demands a token of its own'
  return classRank(found.mayRead) < classRank(llm.mayRead) ? 'its vendor may read less' : undefined
}

const isDay = (text: string): boolean => {
  const at = new Date(`${text}T00:00:00Z`)
  return !Number.isNaN(at.getTime()) && at.toISOString().startsWith(text)
}
