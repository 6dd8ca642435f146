import * as wasm from '@cedar-policy/cedar-wasm/nodejs'
import { SallyportError } from '@sallyport/base'
import {
  checkPolicies,
  EntityStore,
  loadPolicySet,
  loadSchema,
  splitPolicies,
} from '../src/index.ts'
import type { EntityJson, PolicySet, Request } from '../src/index.ts'
import { CORPUS, parseLossless, readCorpus } from './corpus.ts'
import { generateTrial } from './generate.ts'
import { mutate, shrink } from './mutate.ts'
import { compare, exact, prepareOracle, textOf } from './oracle.ts'
import { Random, some } from './vocabulary.ts'

/** One thing tried on both, small enough to keep. */
export type Case =
  | { readonly kind: 'trial'; readonly seed: number }
  | { readonly kind: 'policy' | 'template' | 'file' | 'schema'; readonly text: string }
  /** `[request, entities]` as JSON, asked of `policies`. */
  | { readonly kind: 'data'; readonly text: string; readonly policies: readonly string[] }

interface Material {
  readonly policies: readonly string[]
  readonly schemas: readonly string[]
}

let material: Material | undefined

/** Texts to start from: the corpus where there is one, and always what the generator writes. */
function readMaterial(): Material {
  const policies = Array.from({ length: 300 }, (_, i) => generateTrial(i, 0).input)
    .flatMap(({ policies, templates = [] }) => [...policies, ...templates])
    .map(({ source }) => source)
  const schemas = [
    'entity U in [G] { n: Long, s?: Set<String>, e: G } tags Long; entity G; type T = { a: Bool };\naction a, b appliesTo { principal: [U], resource: G, context: { t: T, ip: ipaddr } };',
    'namespace N { entity E enum ["a", "b"]; action "x y" in [z] appliesTo { principal: E, resource: E }; action z; }',
  ]
  if (CORPUS !== undefined) {
    for (const { policy, schema } of readCorpus(CORPUS)) {
      policies.push(policy)
      if (schemas.length < 400) schemas.push(schema)
    }
  }
  return { policies, schemas }
}

export function makeCase(seed: number): Case {
  const random = new Random(seed)
  const { policies, schemas } = (material ??= readMaterial())
  const mutated = (texts: readonly string[]): string =>
    mutate(random.pick(some(texts)), random.pick(some(texts)), random)
  return random.pick<() => Case>([
    () => ({ kind: 'trial', seed }),
    () => ({ kind: 'policy', text: mutated(policies) }),
    () => ({ kind: 'policy', text: mutated(policies) }),
    () => ({ kind: 'policy', text: mutated(policies) }),
    () => ({ kind: 'template', text: mutated(policies) }),
    () => {
      const file = Array.from({ length: 1 + random.below(5) }, () => random.pick(some(policies)))
      return { kind: 'file', text: mutate(file.join('\n'), random.pick(some(policies)), random) }
    },
    () => ({ kind: 'schema', text: mutated(schemas) }),
    () => {
      const { input, requests, entities } = generateTrial(seed, 1)
      const text = JSON.stringify(exact([requests[0], entities]))
      const policies = input.policies.map(({ source }) => source)
      return { kind: 'data', policies, text: mutate(text, text, random) }
    },
  ])()
}

/** What is wrong, if anything: a difference, an error without a code, or a time that is out of bounds. */
export async function runCase(tried: Case): Promise<string | undefined> {
  const start = performance.now()
  const wrong = await judge(tried).catch((error: unknown) => {
    if (!(error instanceof Error) || isOracleLost(error)) throw error
    return `threw ${error.stack}`
  })
  const ms = performance.now() - start
  return wrong ?? (ms > SLOW_MS ? `took ${Math.round(ms)} ms` : undefined)
}

/** WebAssembly that trapped or ran out of stack: nothing that it says from then on counts. */
const isOracleLost = (error: Error): boolean =>
  error.stack?.includes('cedar_wasm') === true && !error.stack.includes('worker.ts')

/** Generous: the machine may be busy with other things. */
const SLOW_MS = 20_000

/** As small as it comes while it is wrong in some way. */
export async function smaller(tried: Case): Promise<Case> {
  if (tried.kind === 'trial') return tried
  const still = async (text: string): Promise<boolean> =>
    (await runCase({ ...tried, text })) !== undefined
  return { ...tried, text: await shrink(tried.text, still) }
}

async function judge(tried: Case): Promise<string | undefined> {
  switch (tried.kind) {
    case 'trial': {
      const { differences } = await compare(generateTrial(tried.seed, 6))
      return differences.length === 0 ? undefined : JSON.stringify(differences[0])
    }
    case 'policy':
      return judgePolicy(tried.text)
    case 'template':
      return judgeTemplate(tried.text)
    case 'file':
      return judgeFile(tried.text)
    case 'schema':
      return judgeSchema(tried.text)
    default:
      return judgeData(tried.text, tried.policies)
  }
}

/** The value, or the code of the refusal; anything that has no code is thrown on. */
async function attempt<T>(make: () => T | Promise<T>): Promise<{ value: T } | { code: string }> {
  try {
    return { value: await make() }
  } catch (error) {
    if (!(error instanceof SallyportError) || !error.code.startsWith('SP_CEDAR_')) throw error
    if (error.code === 'SP_CEDAR_PARSER') throw error
    return { code: error.code }
  }
}

/** Refusals that are this package's own: bounds, and names and texts that JavaScript would garble. */
const isOwnRefusal = (code: string, text: string): boolean =>
  code === 'SP_CEDAR_LIMIT' || !text.isWellFormed() || /_proto_|\\[ux].*proto/.test(text)

function disagreement(ours: { value: unknown } | { code: string }, theirs: boolean): string {
  return `ours: ${'code' in ours ? ours.code : 'taken'}, theirs: ${theirs ? 'taken' : 'refused'}`
}

async function judgePolicy(text: string): Promise<string | undefined> {
  const policies = [{ id: 'p', source: text }]
  const ours = await attempt(() => loadPolicySet({ policies }))
  if ('code' in ours && isOwnRefusal(ours.code, text)) return undefined
  const theirs = wasm.preparsePolicySet('fuzz', { staticPolicies: { p: text } })
  if ('code' in ours || theirs.type === 'failure') {
    const agreed = 'code' in ours === (theirs.type === 'failure')
    return agreed ? undefined : disagreement(ours, theirs.type === 'success')
  }
  return decideBoth(ours.value, { policies }, text.length)
}

async function judgeTemplate(text: string): Promise<string | undefined> {
  const [principal, resource] = [text.includes('?principal'), text.includes('?resource')]
  const link = {
    id: 'l',
    templateId: 't',
    ...(principal ? { principal: { type: 'User', id: 'a' } } : {}),
    ...(resource ? { resource: { type: 'User', id: 'b' } } : {}),
  }
  const input = { policies: [], templates: [{ id: 't', source: text }], links: [link] }
  const ours = await attempt(() => loadPolicySet(input))
  if ('code' in ours && isOwnRefusal(ours.code, text)) return undefined
  const theirs = await attempt(() => {
    try {
      return prepareOracle(input)
    } catch (error) {
      if (error instanceof Error && error.message.startsWith('the oracle refused')) return undefined
      throw error
    }
  })
  const taken = 'value' in theirs && theirs.value !== undefined
  if ('code' in ours || !taken) {
    return 'code' in ours === !taken ? undefined : disagreement(ours, taken)
  }
  return decideBoth(ours.value, input, text.length)
}

/** A few requests over a small world, of the vocabulary of the generator and of the corpus. */
function decideBoth(
  set: PolicySet,
  input: Parameters<typeof prepareOracle>[0],
  seed: number,
): string | undefined {
  const oracle = prepareOracle(input)
  const { entities, requests } = generateTrial(seed, 4)
  const store = EntityStore.from(entities)
  for (const request of requests) {
    const { decision, reasons, errors } = set.decide(request, store)
    const ids = errors.map(({ policyId }) => policyId)
    const ours = textOf({ decision, reasons, errors: ids })
    const theirs = textOf(oracle(request, exact(entities)))
    if (ours !== theirs) return `ours ${ours}, theirs ${theirs}`
    set.explain(request, store)
  }
  return undefined
}

async function judgeFile(text: string): Promise<string | undefined> {
  if (text.includes('?principal') || text.includes('?resource')) return undefined
  const ours = await attempt(() => splitPolicies(text, 'f.cedar'))
  if ('code' in ours && isOwnRefusal(ours.code, text)) return undefined
  // One id twice is refused here, where ids come from the file.
  if ('code' in ours && /@\s*id\b/.test(text)) return undefined
  const theirs = wasm.policySetTextToParts(text)
  if ('code' in ours || theirs.type === 'failure') {
    const agreed = 'code' in ours === (theirs.type === 'failure')
    return agreed ? undefined : disagreement(ours, theirs.type === 'success')
  }
  const counts = [ours.value.length, theirs.policies.length]
  return counts[0] === counts[1] ? undefined : `policies: ours ${counts[0]}, theirs ${counts[1]}`
}

async function judgeSchema(text: string): Promise<string | undefined> {
  const policies = [{ id: 'p', source: 'permit(principal, action, resource);' }]
  const ours = await attempt(() => checkPolicies({ policies, schema: text }))
  if ('code' in ours && isOwnRefusal(ours.code, text)) return undefined
  if ('code' in ours) return `ours: ${ours.code}`
  const theirs = wasm.checkParseSchema(text)
  if (theirs.type === 'failure') return ours.value.ok ? 'ours: taken, theirs: refused' : undefined
  const loaded = await attempt(() => loadSchema(text))
  const resolved = wasm.schemaToJsonWithResolvedTypes(text)
  const agreed = 'code' in loaded === (resolved.type === 'failure')
  return agreed ? undefined : disagreement(loaded, resolved.type === 'success')
}

async function judgeData(text: string, sources: readonly string[]): Promise<string | undefined> {
  let data: unknown
  try {
    data = parseLossless(text)
  } catch {
    return undefined
  }
  // The binding dies of half a character, even in a member that neither reads.
  const halved = /\\u[dD][89a-fA-F]/.test(JSON.stringify(exact(data)))
  if (!Array.isArray(data) || halved) return undefined
  // Hostile data is not held by types.
  const [request, entities] = data as [Request, readonly EntityJson[]]
  const policies = sources.map((source, i) => ({ id: `p${i}`, source }))
  const set = await loadPolicySet({ policies })
  const ours = await attempt(() => {
    const { decision, reasons, errors } = set.decide(request, EntityStore.from(entities))
    return textOf({ decision, reasons, errors: errors.map(({ policyId }) => policyId) })
  })
  // What is refused here and taken there is strictness, and a deny either way.
  if ('code' in ours) return undefined
  const oracle = prepareOracle({ policies })
  try {
    const theirs = textOf(oracle(request, exact(entities)))
    return ours.value === theirs ? undefined : `ours ${ours.value}, theirs ${theirs}`
  } catch (error) {
    if (!(error instanceof Error) || !error.message.startsWith('the oracle refused')) throw error
    return `ours ${ours.value}, theirs ${error.message}`
  }
}
