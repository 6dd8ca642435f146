import { Ajv2020 } from 'ajv/dist/2020.js'
import type { ErrorObject, ValidateFunction } from 'ajv/dist/2020.js'
import { networkJsonSchema } from './json-schema.ts'
import { didYouMean } from './problem.ts'
import type { Problem } from './problem.ts'
import { escapePointer } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'

const MAX_ERRORS = 1000

/** Everything about the text's shape that the JSON Schema does not accept, in the order of the text. */
export const checkStructure: (located: Located) => readonly Problem[] = structureChecker(
  networkJsonSchema,
  'the declaration',
)

/**
 * A check of YAML texts against a JSON Schema (draft 2020-12), with the place of whatever does not fit.
 *
 * @param subject what messages call the whole text
 */
export function structureChecker(
  schema: Readonly<Record<string, unknown>>,
  subject: string,
): (located: Located) => readonly Problem[] {
  let compiled: ValidateFunction | undefined
  return (located) => {
    // Compiled on first use: gateways import this package and never parse a declaration.
    compiled ??= new Ajv2020({
      allErrors: true,
      strict: true,
      strictRequired: false,
      allowUnionTypes: true,
      verbose: true,
    }).compile(schema)
    return compiled(located.value) ? [] : problemsOf(compiled, located, subject)
  }
}

function problemsOf(validate: ValidateFunction, located: Located, subject: string): Problem[] {
  // Telling the branches apart compares errors with each other: a bounded number of them.
  const errors = (validate.errors ?? []).slice(0, MAX_ERRORS)
  const problems: Problem[] = []
  const seen = new Set<string>()
  for (const error of errors) {
    if (isNoise(error, errors)) continue
    const problem = problemOf(error, located, subject)
    const key = `${problem.span.line}:${problem.span.column}:${problem.code}:${problem.message}`
    if (!seen.has(key)) problems.push(problem)
    seen.add(key)
  }
  return problems
}

/** Alternatives report each branch that did not fit; only the branch the author meant is worth reading. */
function isNoise(error: ErrorObject, all: readonly ErrorObject[]): boolean {
  if (error.keyword === 'if' || error.keyword === 'propertyNames') return true
  if (error.keyword === 'oneOf') {
    // `within` first: it is cheap and nearly always false, and asking about noise reads all errors again.
    return all.some((other) => other !== error && within(other, error) && !isNoise(other, all))
  }
  if (error.schemaPath.includes('/fields/') && error.schemaPath.includes('/oneOf/')) {
    const branch = error.schemaPath.includes('/oneOf/0/') ? 'string' : 'object'
    const data = dataAt(error, all)
    return branch === 'string' ? typeof data !== 'string' : typeof data !== 'object'
  }
  if (error.schemaPath.includes('/upstream/oneOf/')) {
    const data = dataAt(error, all)
    return !error.schemaPath.includes(`/upstream/oneOf/${branchOf(data)}/`)
  }
  return false
}

/** Which kind of upstream the author meant, by its place among the alternatives: a service, what is outside, a program, plain TCP. */
function branchOf(data: unknown): 0 | 1 | 2 | 3 {
  if (typeof data !== 'object' || data === null) return 1
  if ('service' in data) return 0
  if ('command' in data) return 2
  const isPlain = 'url' in data && typeof data.url === 'string' && data.url.startsWith('tcp:')
  return isPlain ? 3 : 1
}

const within = (inner: ErrorObject, outer: ErrorObject): boolean =>
  inner.schemaPath.startsWith(`${outer.schemaPath}/`) &&
  (inner.instancePath === outer.instancePath ||
    inner.instancePath.startsWith(`${outer.instancePath}/`))

/** The value that the alternatives were tried on: that of the `oneOf` error around this one. */
function dataAt(error: ErrorObject, all: readonly ErrorObject[]): unknown {
  return all.find((other) => other.keyword === 'oneOf' && within(error, other))?.data
}

function problemOf(error: ErrorObject, located: Located, subject: string): Problem {
  const { instancePath, keyword } = error
  // ajv types `params` per keyword; each member read below belongs to the keyword of its branch.
  const params = error.params as Readonly<Record<string, unknown>>
  const place = instancePath === '' ? subject : `\`${readable(instancePath)}\``
  if (keyword === 'additionalProperties') {
    const key = String(params['additionalProperty'])
    const properties = (error.parentSchema as { properties?: object } | undefined)?.properties ?? {}
    return {
      code: 'SP_NETWORK_UNKNOWN_KEY',
      message: `${place} has no member \`${key.slice(0, 80)}\`${didYouMean(key, Object.keys(properties))}`,
      why: 'a misspelt key would silently lose what it was meant to restrict',
      fix: `use one of ${Object.keys(properties)
        .map((name) => `\`${name}\``)
        .join(', ')}`,
      span: located.keyAt(`${instancePath}/${escapePointer(key)}`),
    }
  }
  const shape = (message: string, fix: string, pointer = instancePath): Problem => ({
    code: 'SP_NETWORK_SHAPE',
    message,
    why: `${subject} must have one reading only`,
    fix,
    span: error.propertyName === undefined ? located.at(pointer) : located.keyAt(pointer),
  })
  const what = describe(error.parentSchema)
  if (error.propertyName !== undefined) {
    return shape(
      `the name \`${error.propertyName.slice(0, 80)}\` in ${place} is not accepted`,
      `a name here matches \`${String(params['pattern'])}\``,
      `${instancePath}/${escapePointer(error.propertyName)}`,
    )
  }
  switch (keyword) {
    case 'required':
      return {
        ...shape(`${place} lacks \`${String(params['missingProperty'])}\``, 'add it'),
        span: located.keyAt(instancePath),
      }
    case 'false schema':
      return {
        ...shape(`${place} does not fit the protocol of its system`, 'remove it'),
        span: located.keyAt(instancePath),
      }
    case 'enum':
      return shape(
        `${place} is \`${String(error.data).slice(0, 80)}\`, which is not one of its values${didYouMean(String(error.data), params['allowedValues'] as string[])}`,
        `use one of ${(params['allowedValues'] as string[]).map((v) => `\`${v}\``).join(', ')}`,
      )
    case 'pattern':
      return shape(
        `${place} is \`${String(error.data).slice(0, 80)}\`, which is not accepted there`,
        `it must match \`${String(params['pattern'])}\`${what}`,
      )
    case 'uniqueItems':
      return shape(`${place} lists the same thing twice`, 'keep one')
    default:
      return shape(`${place} ${error.message ?? 'does not fit'}`, `correct it${what}`)
  }
}

function describe(schema: unknown): string {
  const text =
    typeof schema === 'object' && schema !== null && 'description' in schema
      ? String(schema.description)
      : ''
  return text === '' ? '' : `: ${text.charAt(0).toLowerCase()}${text.slice(1).replace(/\.$/, '')}`
}

const readable = (pointer: string): string =>
  pointer
    .slice(1)
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .join('.')
    .slice(0, 200)
