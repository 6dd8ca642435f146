import { SallyportError } from '@sallyport/base'
import type { SourceSpan } from '@sallyport/base'
import type { Report } from './check.ts'
import { grpcFrom } from './grpc.ts'
import type { GrpcApi } from './grpc.ts'
import { mcpOfferFrom } from './mcp.ts'
import { MCP_CONTENT } from './mcp-types.ts'
import { openApiFrom } from './openapi.ts'
import type { ParseOptions } from './parse.ts'
import { resolveA2a } from './a2a.ts'
import type { A2aPeer } from './a2a.ts'
import { modelOperations, resolveLlm } from './llm.ts'
import type { LlmSystem } from './llm-types.ts'
import { OPAQUE_OPERATION, resolveOpaque } from './opaque.ts'
import { resolvePostgres, tableOperations } from './postgres.ts'
import type { PostgresSystem } from './postgres-types.ts'
import { didYouMean, Halt } from './problem.ts'
import { escapePointer, readYaml } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'
import { readDescription } from './read-description.ts'
import type { RawSystem } from './raw.ts'
import type { InputSchema, Operation, System, Upstream } from './types.ts'

interface Imported {
  readonly description: string
  readonly binding: Operation['binding']
  readonly input: InputSchema
  /** Where the description itself says what comes back. */
  readonly returns?: Operation['returns']
}

interface Importer {
  readonly names: readonly string[]
  /** @throws Halt */
  import(name: string): Imported
  /** Where the operation is described, when that can be told. */
  place(name: string): SourceSpan | undefined
}

/** A system with its operations imported from its API description. What cannot be imported is reported and left out. */
export function resolveSystem(
  name: string,
  raw: RawSystem,
  located: Located,
  pointer: string,
  options: ParseOptions,
  report: Report,
): System {
  const postgres =
    raw.postgres &&
    resolvePostgres(
      raw.postgres,
      `${pointer}/postgres`,
      (file, at) => readText(file, located.at(at), options, report) ?? '',
    )
  const llm = raw.llm && resolveLlm(raw.llm)
  const peer = raw.a2a && peerOf(raw.a2a, located, `${pointer}/a2a`, options, report)
  const grpc =
    raw.descriptors === undefined
      ? undefined
      : apiOf(raw.descriptors, located.at(`${pointer}/descriptors`), options, report)
  const importer = postgres
    ? tableImporter(postgres)
    : llm
      ? modelImporter(llm)
      : raw.opaque
        ? OPAQUE
        : raw.a2a
          ? peer && skillImporter(peer)
          : raw.descriptors !== undefined
            ? grpc && methodImporter(grpc)
            : importerOf(raw, located, pointer, options, report)
  const operations: Operation[] = []
  for (const [operationName, given] of Object.entries(raw.operations)) {
    if (!importer) break
    const place = `${pointer}/operations/${escapePointer(operationName)}`
    const source = given.from ?? operationName
    if (!importer.names.includes(source)) {
      report(
        'SP_NETWORK_REFERENCE',
        located.keyAt(place),
        `the API description has no operation \`${source}\`${didYouMean(source, importer.names)}`,
        'an operation exists only with a description that types its input',
        'correct the name, state the original in `from`, or add it to the description',
      )
      continue
    }
    const imported = attempt(
      () => importer.import(source),
      importer.place(source) ?? located.keyAt(place),
      report,
    )
    if (!imported) continue
    const { binding } = imported
    const { content, hosts } = given
    checkMcpParts(raw, given, binding, (part, message, fix) => {
      const why = 'a reader would believe in a rule that is not there'
      report('SP_NETWORK_RULE', located.keyAt(`${place}/${part}`), message, why, fix)
    })
    operations.push({
      name: operationName,
      description: given.description ?? imported.description,
      kind: given.kind,
      binding: hosts && binding.kind === 'mcp-service' ? { ...binding, hosts } : binding,
      input: imported.input,
      ...(given.subject !== undefined && { subject: given.subject }),
      returns: {
        ...(imported.returns ?? given.returns),
        ...(content !== undefined && { [MCP_CONTENT]: content }),
      },
    })
  }
  return {
    name,
    description: raw.description ?? '',
    owner: raw.owner,
    segment: raw.segment,
    criticality: raw.criticality ?? 'medium',
    protocol: raw.protocol,
    upstream: upstreamOf(raw.upstream, located, `${pointer}/upstream`, options, report),
    operations,
    ...(postgres && { postgres }),
    ...(llm && { llm }),
    ...(peer && { a2a: peer.system }),
    ...(grpc && { grpc: grpc.system(operations) }),
    ...(raw.opaque && { opaque: resolveOpaque(raw.opaque) }),
    ...(raw.attributes && { attributes: raw.attributes }),
    ...(raw.onBehalfOf && { onBehalfOf: raw.onBehalfOf }),
  }
}

/** What only some operations of MCP can have must not stand at another. */
function checkMcpParts(
  { protocol }: RawSystem,
  { content, hosts }: RawSystem['operations'][string],
  binding: Operation['binding'],
  report: (part: 'content' | 'hosts', message: string, fix: string) => void,
): void {
  if (content !== undefined && protocol !== 'mcp') {
    report('content', '`content` is of systems that speak MCP', 'use `returns`')
  }
  const elicits = binding.kind === 'mcp-service' && binding.service === 'elicitation'
  if (hosts !== undefined && !elicits) {
    report('hosts', '`hosts` is of `mcp:elicitation` alone', 'leave it out')
  }
}

function tableImporter(postgres: PostgresSystem): Importer {
  const tables = tableOperations(postgres)
  return {
    names: tables.names,
    import: (name) => {
      const { binding, input, dataset } = tables.find(name)
      return { description: '', binding, input, returns: { $: dataset } }
    },
    place: () => undefined,
  }
}

function modelImporter(llm: LlmSystem): Importer {
  const models = modelOperations(llm)
  return {
    names: models.names,
    import: (name) => ({ description: '', ...models.find(name) }),
    place: () => undefined,
  }
}

function peerOf(
  raw: NonNullable<RawSystem['a2a']>,
  located: Located,
  pointer: string,
  options: ParseOptions,
  report: Report,
): A2aPeer | undefined {
  const read = (file: string, member: string): string | undefined =>
    readText(file, located.at(`${pointer}/${member}`), options, report)
  return attempt(() => resolveA2a(raw, read), located.at(pointer), report)
}

const OPAQUE: Importer = {
  names: [OPAQUE_OPERATION.name],
  import: () => ({ description: '', ...OPAQUE_OPERATION }),
  place: () => undefined,
}

const methodImporter = (api: GrpcApi): Importer => ({
  names: api.names,
  import: (name) => api.method(name),
  place: () => undefined,
})

function apiOf(
  file: string,
  span: SourceSpan,
  options: ParseOptions,
  report: Report,
): GrpcApi | undefined {
  const bytes = readBeside(
    () => {
      if (options.readBytes) return options.readBytes(file)
      throw new SallyportError('SP_NETWORK_FILE', `\`${file}\` is no text, and cannot be read here`)
    },
    span,
    report,
  )
  return bytes && attempt(() => grpcFrom(bytes), { file, line: 1, column: 1 }, report)
}

const skillImporter = (peer: A2aPeer): Importer => ({
  names: peer.skills,
  import: (name) => peer.skill(name),
  place: () => undefined,
})

function upstreamOf(
  raw: RawSystem['upstream'],
  located: Located,
  pointer: string,
  options: ParseOptions,
  report: Report,
): Upstream {
  if ('service' in raw) return { kind: 'service', ...raw }
  if ('command' in raw) {
    const { command, args = [], env = {} } = raw
    return { kind: 'program', command, args, env }
  }
  if ('plaintext' in raw) return { kind: 'plain', ...raw }
  const { caFile, ...rest } = raw
  if (caFile === undefined) return { kind: 'external', ...rest }
  const pem = readPem(caFile, located.at(`${pointer}/caFile`), options, report)
  return { kind: 'external', ...rest, caFile: pem }
}

/** The CA certificate in a file beside the declaration; empty, and reported, where it is none. */
export function readPem(
  file: string,
  span: SourceSpan,
  options: ParseOptions,
  report: Report,
): string {
  const pem = readText(file, span, options, report)
  if (pem !== undefined && !pem.includes('-----BEGIN CERTIFICATE-----')) {
    report(
      'SP_NETWORK_FILE',
      span,
      `\`${file}\` holds no PEM certificate`,
      'without its CA the system’s certificate could not be checked',
      'put the CA certificate there in PEM form',
    )
  }
  return pem ?? ''
}

function importerOf(
  raw: RawSystem,
  located: Located,
  pointer: string,
  options: ParseOptions,
  report: Report,
): Importer | undefined {
  const key = raw.protocol === 'http' ? 'openapi' : 'tools'
  const file = raw[key]
  // The JSON Schema requires the one that belongs to the protocol.
  if (file === undefined) return undefined
  const text = readText(file, located.at(`${pointer}/${key}`), options, report)
  if (text === undefined) return undefined
  const top: SourceSpan = { file, line: 1, column: 1 }
  if (key === 'tools') {
    const { pins } = raw
    const pinned =
      pins === undefined
        ? undefined
        : readText(pins, located.at(`${pointer}/pins`), options, report)
    if (pins !== undefined && pinned === undefined) return undefined
    const offer = attempt(() => mcpOfferFrom(text, pinned), top, report)
    if (!offer) return undefined
    const { located: json } = readYaml(text, file)
    return {
      names: offer.names,
      import: (name) => offer.import(name),
      place: (name) => {
        const at = offer.pointer(name)
        return at === undefined ? undefined : json?.at(at)
      },
    }
  }
  const { located: description, problems } = readDescription(text, file)
  for (const { code, span, message, why, fix } of problems) report(code, span, message, why, fix)
  if (!description) return undefined
  const api = attempt(() => openApiFrom(description), top, report)
  if (!api) return undefined
  return {
    names: api.operationIds,
    import: (name) => api.operation(name),
    place: (name) => {
      const at = api.pointer(name)
      return at === undefined ? undefined : description.keyAt(at)
    },
  }
}

/** The text of a file beside the declaration; undefined, and reported, where it cannot be read. */
export function readText(
  file: string,
  span: SourceSpan,
  options: ParseOptions,
  report: Report,
): string | undefined {
  return readBeside(() => options.readFile(file), span, report)
}

function readBeside<T>(read: () => T, span: SourceSpan, report: Report): T | undefined {
  try {
    return read()
  } catch (error) {
    // Anything but our own refusal is a defect and must surface.
    if (!(error instanceof SallyportError)) throw error
    report(
      'SP_NETWORK_FILE',
      span,
      error.message,
      'a declaration reads only files inside its own folder, so that it can be reviewed as a whole',
      error.fix ?? 'put the file beside network.yaml and name it by its relative path',
    )
    return undefined
  }
}

function attempt<T>(act: () => T, span: SourceSpan, report: Report): T | undefined {
  try {
    return act()
  } catch (error) {
    if (!(error instanceof Halt)) throw error
    report(error.code, span, error.message, error.why, error.fix)
    return undefined
  }
}
