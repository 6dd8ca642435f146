import type { DetailedError } from '@cedar-policy/cedar-wasm/nodejs'
import { SallyportError } from '@sallyport/base'
import { liftIntegers } from './est.ts'
import type { LiftedSource } from './est.ts'
import { boundPolicy, boundSchema, POLICY_LIMITS } from './lex.ts'
import { parsePolicies, validatePolicies } from './parser.ts'
import type { ParseAnswer, WorkerLink } from './parser.ts'
import type { PolicyInput, TemplateLink } from './policy-set.ts'
import { Slicer } from './slicer.ts'
import type { Diagnostic } from './types.ts'

/**
 * Parses policies and, given a schema, type-checks them. Problems in the input are diagnostics, not throws;
 * warnings do not make it not ok.
 *
 * @throws SallyportError `SP_CEDAR_LIMIT`, `SP_CEDAR_SYNTAX` for what is not even handed to the parser,
 *   `SP_CEDAR_PARSER` when the parser crashed
 */
export async function checkPolicies(
  input: PolicyInput,
): Promise<{ ok: boolean; diagnostics: Diagnostic[] }> {
  await boundAll(input)
  const { diagnostics } = await parseAndCheck(input)
  return {
    ok: diagnostics.every(({ severity }) => severity !== 'error'),
    diagnostics: [...diagnostics],
  }
}

/** As `checkPolicies` once the bounds are kept, with what the parser made of each policy and each template. */
export async function parseAndCheck(input: PolicyInput): Promise<{
  readonly diagnostics: readonly Diagnostic[]
  readonly policies: readonly ParseAnswer[]
  readonly templates: readonly ParseAnswer[]
}> {
  const diagnostics: Diagnostic[] = []
  const parse = async (
    texts: PolicyInput['policies'],
    asTemplates: boolean,
  ): Promise<readonly ParseAnswer[]> => {
    const answers = await parsePolicies(
      texts.map(({ source }) => source),
      asTemplates,
    )
    for (const [i, answer] of answers.entries()) {
      const policy = texts[i]
      if (answer.type === 'failure' && policy) {
        diagnostics.push(...answer.errors.map((error) => toDiagnostic(error, 'error', policy)))
      }
    }
    return answers
  }
  const policies = await parse(input.policies, false)
  const templates = await parse(input.templates ?? [], true)
  if (input.schema !== undefined && diagnostics.length === 0) {
    diagnostics.push(...(await validate(input, input.schema)))
  }
  return { diagnostics, policies, templates }
}

async function validate(input: PolicyInput, schema: string): Promise<Diagnostic[]> {
  const { policies, templates = [], links = [] } = input
  const byId = new Map([...policies, ...templates].map((policy) => [policy.id, policy]))
  const answer = await validatePolicies({
    schema,
    policies: policies.map(({ id, source }) => [id, source] as const),
    templates: templates.map(({ id, source }) => [id, source] as const),
    links: links.map(toWorkerLink),
  })
  if (answer.type === 'failure') {
    // Policies were parsed before: what is left to be wrong is the schema.
    return answer.errors.map((error) => toDiagnostic(error, 'error', { source: schema }))
  }
  return [
    ...answer.validationErrors.map(({ policyId, error }) =>
      toDiagnostic(error, 'error', byId.get(policyId)),
    ),
    ...answer.validationWarnings.map(({ policyId, error }) =>
      toDiagnostic(error, 'warning', byId.get(policyId)),
    ),
    ...answer.otherWarnings.map((error) => toDiagnostic(error, 'warning')),
  ]
}

/** Slots are named with their question mark. */
function toWorkerLink({ id, templateId, principal, resource }: TemplateLink): WorkerLink {
  return {
    templateId,
    newId: id,
    values: {
      ...(principal ? { '?principal': principal } : {}),
      ...(resource ? { '?resource': resource } : {}),
    },
  }
}

function toDiagnostic(
  error: DetailedError,
  severity: Diagnostic['severity'],
  of?: { readonly id?: string; readonly source: string },
): Diagnostic {
  const [place] = error.sourceLocations ?? []
  const label = place?.label ? ` (${place.label})` : ''
  return {
    severity,
    message: `${error.message}${label}`,
    ...(error.help === null ? {} : { help: error.help }),
    ...(of?.id === undefined ? {} : { policyId: of.id }),
    ...(of && place
      ? { start: toUtf16(of.source, place.start), end: toUtf16(of.source, place.end) }
      : {}),
  }
}

/** The parser counts UTF-8 bytes. */
function toUtf16(text: string, bytes: number): number {
  return Buffer.from(text).subarray(0, bytes).toString().length
}

/**
 * Keeps the bounds of the parser and the ids sane; gives each policy as the parser reads it exactly, then each template.
 *
 * @throws SallyportError `SP_CEDAR_LIMIT`, `SP_CEDAR_SYNTAX`
 */
export async function boundAll(
  input: PolicyInput,
  slicer: Slicer = new Slicer(),
): Promise<LiftedSource[]> {
  const { schema, templates = [], links = [] } = input
  const policies = [...input.policies, ...templates, ...links.map(({ id }) => ({ id, source: '' }))]
  if (policies.length > POLICY_LIMITS.policies) {
    throw new SallyportError('SP_CEDAR_LIMIT', `there are ${policies.length} policies`)
  }
  let total = 0
  const ids = new Set<string>()
  for (const { id, source } of policies) {
    if (slicer.over) await slicer.rest()
    total += source.length
    // eslint-disable-next-line no-control-regex -- control characters are what is refused
    if (!/^[^\u0000-\u001f\u007f]{1,256}$/.test(id) || id === '__proto__' || !id.isWellFormed()) {
      throw new SallyportError('SP_CEDAR_SYNTAX', `\`${id.slice(0, 60)}\` cannot be a policy id`)
    }
    if (ids.has(id))
      throw new SallyportError('SP_CEDAR_SYNTAX', `two policies have the id \`${id}\``)
    ids.add(id)
  }
  if (total > POLICY_LIMITS.totalLength) {
    throw new SallyportError('SP_CEDAR_LIMIT', `the policies have ${total} characters`)
  }
  if (schema !== undefined) await boundSchema(schema, slicer)
  const lifted: LiftedSource[] = []
  for (const { id, source } of policies) {
    if (slicer.over) await slicer.rest()
    lifted.push(liftIntegers(source, boundPolicy(id, source)))
  }
  return lifted
}
