import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
} from 'node:fs'
import { basename, dirname, isAbsolute, join, relative, sep } from 'node:path'
import { SallyportError } from '@sallyport/base'
import { splitPolicies } from '@sallyport/cedar'
import { parseNetwork } from './parse.ts'
import { NetworkProblems } from './problem.ts'
import type { Problem } from './problem.ts'
import type { Declaration, PolicySource } from './types.ts'

/** API descriptions of banks run to megabytes; the declaration itself has its own, lower bound. */
const MAX_FILE_BYTES = 16_777_216
const MAX_POLICY_FILES = 500

/**
 * Reads a declaration: `network.yaml`, the API descriptions it names, and `policies/*.cedar` beside it. Nothing
 * outside that folder is read, whatever a path or a symbolic link says.
 *
 * @throws NetworkProblems with everything found wrong
 */
export async function loadDeclaration(input: {
  readonly networkFile: string
}): Promise<Declaration> {
  const folder = dirname(input.networkFile)
  const file = basename(input.networkFile)
  const readFile = (path: string): string => readInside(folder, path)
  const { network, problems } = parseNetwork(
    atTop(file, () => readFile(file)),
    { file, readFile, readBytes: (path) => bytesInside(folder, path) },
  )
  const found: Problem[] = [...problems]
  const policies = await readPolicies(folder, found)
  if (!network || found.length > 0) throw new NetworkProblems(found)
  return { network, policies }
}

async function readPolicies(folder: string, problems: Problem[]): Promise<PolicySource[]> {
  const report = (file: string, line: number, error: SallyportError): void => {
    problems.push({
      code: 'SP_NETWORK_POLICY',
      message: error.message,
      why: error.detail ?? 'without its policies the network would decide differently',
      fix: error.fix ?? 'correct the policy file',
      span: error.span ?? { file, line, column: 1 },
    })
  }
  const policies: PolicySource[] = []
  const ids = new Map<string, PolicySource>()
  for (const file of policyFiles(folder)) {
    try {
      for (const policy of await splitPolicies(readInside(folder, file), file)) {
        const other = ids.get(policy.id)
        if (other) {
          report(
            file,
            policy.line,
            new SallyportError('SP_NETWORK_POLICY', `two policies are called \`${policy.id}\``, {
              detail: `the other stands at ${other.file}:${other.line}; decisions name policies by id`,
              fix: 'give one of them another `@id`',
            }),
          )
        }
        ids.set(policy.id, policy)
        policies.push(policy)
      }
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error
      report(file, 1, error)
    }
  }
  return policies
}

/** `policies/*.cedar`, sorted, so that the digest of a declaration does not depend on the file system. */
function policyFiles(folder: string): string[] {
  let names: string[]
  try {
    names = readdirSync(join(folder, 'policies'))
  } catch {
    // No folder, no policies: everything is denied, which is safe and shows at once.
    return []
  }
  const files = names.filter((name) => name.endsWith('.cedar')).toSorted()
  if (files.length > MAX_POLICY_FILES) {
    throw new NetworkProblems([
      {
        code: 'SP_NETWORK_TOO_LARGE',
        message: `there are more than ${MAX_POLICY_FILES} policy files`,
        why: 'an unbounded folder could exhaust the machine that checks it',
        fix: 'put several policies into one file',
        span: { file: 'policies', line: 1, column: 1 },
      },
    ])
  }
  return files.map((name) => `policies/${name}`)
}

function atTop<T>(file: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error
    throw new NetworkProblems([
      {
        code: 'SP_NETWORK_FILE',
        message: error.message,
        why: 'there is no declaration to enforce',
        fix: error.fix ?? 'name an existing network.yaml',
        span: { file, line: 1, column: 1 },
      },
    ])
  }
}

/**
 * Reads a text file as `bytesInside` reads files.
 *
 * @throws SallyportError `SP_NETWORK_FILE`
 */
function readInside(folder: string, path: string): string {
  const bytes = bytesInside(folder, path)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw unreadable(
      `the file \`${path.slice(0, 200)}\` is not readable UTF-8`,
      'save it as UTF-8 text',
    )
  }
}

const unreadable = (message: string, fix: string): SallyportError =>
  new SallyportError('SP_NETWORK_FILE', message, { fix })

/**
 * Reads a regular file of at most 16 MiB whose real path lies inside the folder.
 *
 * @throws SallyportError `SP_NETWORK_FILE`
 */
function bytesInside(folder: string, path: string): Uint8Array {
  const shown = path.slice(0, 200)
  let real: string
  try {
    if (isAbsolute(path) || path.includes('\0')) throw new Error('outside')
    real = realpathSync(join(folder, path))
  } catch {
    throw unreadable(`the file \`${shown}\` cannot be found`, 'name it relative to network.yaml')
  }
  const inside = relative(realpathSync(folder), real)
  if (inside === '' || inside === '..' || inside.startsWith(`..${sep}`) || isAbsolute(inside)) {
    throw unreadable(
      `the file \`${shown}\` lies outside the folder of network.yaml`,
      'copy it into the folder; links out of it are not followed',
    )
  }
  // Non-blocking, so that a named pipe put in its place cannot hang the reader.
  const handle = openSync(real, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW)
  try {
    const stat = fstatSync(handle)
    if (!stat.isFile()) throw unreadable(`\`${shown}\` is not a file`, 'name a regular file')
    if (stat.size > MAX_FILE_BYTES) {
      throw unreadable(
        `the file \`${shown}\` has ${stat.size} bytes, the limit is ${MAX_FILE_BYTES}`,
        'split it',
      )
    }
    return readFileSync(handle)
  } catch (error) {
    if (error instanceof SallyportError) throw error
    throw unreadable(`the file \`${shown}\` cannot be read`, 'let whoever runs this read it')
  } finally {
    closeSync(handle)
  }
}
