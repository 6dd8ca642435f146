import { parseSpiffeId } from '@sallyport/spiffe'
import type { NetworkIndex } from '@sallyport/network'
import type { DriftView } from './inventory.ts'

/** Names that mean the same in every YAML, bare. What else a gateway reported is quoted, or not suggested. */
const BARE = /^[A-Za-z][A-Za-z0-9_-]*$/
const WORDS = /^(?:y|n|yes|no|true|false|on|off|null)$/i
const NAME = /^[A-Za-z_][A-Za-z0-9_.:-]{0,63}$/

const quoted = (text: string): string =>
  BARE.test(text) && !WORDS.test(text) ? text : JSON.stringify(text)

/** What a person has to say; a declaration with it in place is refused. */
const OPEN = 'TODO'

type Wanted = Pick<DriftView, 'kind' | 'system' | 'name' | 'by'>

/**
 * What would declare something that was asked for: YAML in the shape of `network.yaml`, with as little authority as makes sense
 * and the word TODO wherever a person has to decide. It is never applied by itself.
 *
 * @returns null where nothing could be declared
 */
export function suggestion(index: NetworkIndex, wanted: Wanted): string | null {
  const { kind, system, name, by } = wanted
  if (name === '*' || name.endsWith('{}.{}')) return null
  switch (kind) {
    case 'caller':
      return caller(index, name)
    case 'destination':
      return destination(name)
    case 'flow':
      if (!NAME.test(system) || !NAME.test(name) || !index.findAgent(by)) return null
      return flow(index, by, system, name)
    case 'field':
      return field(index, system, name)
    case 'operation':
      return index.findSystem(system) ? operation(index, wanted) : null
  }
}

/** One more operation of the flow that leads there, or a flow of its own. */
function flow({ network }: NetworkIndex, by: string, system: string, operation: string): string {
  const there = network.flows.find(({ from, to }) => from === by && to === system)
  const operations = [...(there?.operations ?? []), operation].map(quoted).join(', ')
  return [
    'flows:',
    ...(there === undefined ? [] : [`  # in place of ${there.id}`]),
    `  - { from: ${quoted(by)}, to: ${quoted(system)}, operations: [${operations}], purpose: ${there?.purpose ?? OPEN} }`,
    '',
  ].join('\n')
}

function caller({ network }: NetworkIndex, id: string): string | null {
  if (!id.startsWith('spiffe://')) return null
  let parsed: ReturnType<typeof parseSpiffeId>
  try {
    parsed = parseSpiffeId(id)
  } catch {
    return null
  }
  const [kind, name] = parsed.segments
  if (parsed.trustDomain === network.trustDomain) {
    if (kind !== 'agent' || name === undefined || !NAME.test(name)) return null
    return [
      'agents:',
      `  ${quoted(name)}:`,
      `    description: ${OPEN}`,
      `    owner: ${OPEN}`,
      `    segment: ${OPEN}`,
      '    criticality: critical',
      '    roles: []',
      '',
    ].join('\n')
  }
  return [
    'federation:',
    `  ${quoted(parsed.trustDomain)}:`,
    '    agents:',
    `      ${OPEN}: { path: ${JSON.stringify(`/${parsed.segments.join('/')}`)}, owner: ${OPEN}, purpose: ${OPEN}, until: ${OPEN} }`,
    '',
  ].join('\n')
}

function destination(name: string): string | null {
  const host = /^(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::(\d{1,5}))?$/.exec(name)
  if (!host) return null
  const [, at = '', port] = host
  const outside = at.includes('.') || at.startsWith('[')
  return [
    'systems:',
    `  ${outside ? OPEN : quoted(at)}:`,
    `    description: ${OPEN}`,
    `    owner: ${OPEN}`,
    `    segment: ${OPEN}`,
    '    criticality: critical',
    '    protocol: http',
    `    openapi: ${OPEN}`,
    ...(outside
      ? [
          '    upstream:',
          `      url: ${JSON.stringify(`https://${at}${port === undefined || port === '443' ? '' : `:${port}`}`)}`,
          `      serverName: ${JSON.stringify(at)}`,
        ]
      : [`    upstream: { service: ${OPEN}, port: ${OPEN} }`]),
    '    operations: {}',
    '',
  ].join('\n')
}

function field(index: NetworkIndex, system: string, name: string): string | null {
  const inRecord = /^([^ $]+)\.([^.]+)$/.exec(name)
  const [, dataset = '', member = ''] = inRecord ?? []
  if (NAME.test(dataset) && NAME.test(member) && index.findDataset(dataset)) {
    // Until somebody says less, it is as secret as anything is, and no policy lets it leave.
    return [
      'datasets:',
      `  ${quoted(dataset)}:`,
      '    fields:',
      `      ${quoted(member)}: { class: restricted, tags: [] } # ${OPEN}: its class and tags`,
      '',
    ].join('\n')
  }
  const atPath = /^(\S+) \$\.?(\S+)$/.exec(name)
  const [, operation = '', path = ''] = atPath ?? []
  if (path === '' || path.includes('{}') || !index.findOperation(system, operation)) return null
  return [
    'systems:',
    `  ${quoted(system)}:`,
    '    operations:',
    `      ${quoted(operation)}:`,
    `        returns: { ${JSON.stringify(path)}: ${OPEN} } # a data set, or public`,
    '',
  ].join('\n')
}

function operation(index: NetworkIndex, { system, name, by }: Wanted): string | null {
  const [kind = '', what = ''] = name.split(' ')
  if (what.includes('…') || what === '{}') return null
  if (kind === 'tool' && NAME.test(what)) {
    return [
      'systems:',
      `  ${quoted(system)}:`,
      '    operations:',
      `      ${quoted(what)}: { kind: write, returns: {} } # its definition goes into the tools file, as reviewed`,
      ...flowOf(index, by, system, what),
    ].join('\n')
  }
  if (kind === 'model' && NAME.test(what)) {
    return [
      'systems:',
      `  ${quoted(system)}:`,
      '    llm:',
      '      models:',
      `        ${quoted(what)}: { maxOutputTokens: ${OPEN}, price: { input: ${OPEN}, output: ${OPEN} } }`,
      '',
    ].join('\n')
  }
  if (kind === 'table' && NAME.test(what)) {
    return [
      'systems:',
      `  ${quoted(system)}:`,
      '    postgres:',
      '      tables:',
      `        ${quoted(what)}: { dataset: ${OPEN}, key: ${OPEN}, columns: { ${OPEN}: ${OPEN} } }`,
      '',
    ].join('\n')
  }
  if (!/^(?:GET|POST|PUT|PATCH|DELETE)$/.test(kind) || !what.startsWith('/')) return null
  let gaps = 0
  const path = what.replaceAll('{}', () => `{id${++gaps === 1 ? '' : gaps}}`)
  return [
    `# in the OpenAPI description of ${system}`,
    'paths:',
    `  ${JSON.stringify(path)}:`,
    `    ${kind.toLowerCase()}: { operationId: ${OPEN}, responses: {} }`,
    '---',
    '# in network.yaml',
    'systems:',
    `  ${quoted(system)}:`,
    '    operations:',
    `      ${OPEN}: { kind: ${kind === 'GET' ? 'read' : 'write'}, returns: {} }`,
    ...flowOf(index, by, system, OPEN),
  ].join('\n')
}

const flowOf = (index: NetworkIndex, by: string, system: string, name: string): string[] =>
  index.findAgent(by) ? [flow(index, by, system, name)] : ['']
