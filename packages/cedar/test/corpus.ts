import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'

const ROOT = process.env['SALLYPORT_DATA'] ?? join(import.meta.dirname, '../../../../shared/data')

/** Cedar's integration corpus where it lies, or undefined where this machine has none. */
export const CORPUS: string | undefined = existsSync(join(ROOT, 'cedar-corpus'))
  ? join(ROOT, 'cedar-corpus')
  : undefined

export interface CorpusRequest {
  readonly principal: { type: string; id: string }
  readonly action: { type: string; id: string }
  readonly resource: { type: string; id: string }
  readonly context: Record<string, never>
  readonly decision: 'allow' | 'deny'
  readonly reason: readonly string[]
  readonly errors: readonly string[]
}

export interface CorpusCase {
  readonly name: string
  readonly policy: string
  readonly schema: string
  readonly entities: readonly {
    uid: { type: string; id: string }
    attrs: Record<string, never>
    parents: { type: string; id: string }[]
    tags?: Record<string, never>
  }[]
  readonly requests: readonly CorpusRequest[]
}

/** JSON in which integers beyond 2⁵³ become bigints. */
export function parseLossless(text: string): unknown {
  return JSON.parse(text, (_key, value: unknown, context?: { source?: string }) =>
    typeof value === 'number' &&
    !Number.isSafeInteger(value) &&
    /^-?\d+$/.test(context?.source ?? '')
      ? BigInt(context?.source ?? '')
      : value,
  )
}

/** The files of a gzipped tar (POSIX ustar, which is all the corpus uses), by base name. */
function readTar(file: string): Map<string, string> {
  const tar = gunzipSync(readFileSync(file))
  const files = new Map<string, string>()
  for (let at = 0; at + 512 <= tar.length;) {
    const header = tar.subarray(at, at + 512)
    const end = header.indexOf(0)
    if (end === 0) break
    const name = header.subarray(0, Math.min(end < 0 ? 100 : end, 100)).toString()
    const size = Number.parseInt(header.subarray(124, 136).toString(), 8)
    files.set(name.replace(/^.*\//, ''), tar.subarray(at + 512, at + 512 + size).toString())
    at += 512 + Math.ceil(size / 512) * 512
  }
  return files
}

/** Every case of `corpus-tests.tar.gz`; each has one policy. */
export function readCorpus(root: string): CorpusCase[] {
  const files = readTar(join(root, 'corpus-tests.tar.gz'))
  const cases: CorpusCase[] = []
  for (const [name, text] of files) {
    if (!name.endsWith('.json') || name.endsWith('.entities.json')) continue
    const base = name.slice(0, -'.json'.length)
    const { requests } = parseLossless(text) as Pick<CorpusCase, 'requests'>
    cases.push({
      name: base,
      policy: files.get(`${base}.cedar`) ?? '',
      schema: files.get(`${base}.cedarschema`) ?? '',
      entities: parseLossless(files.get(`${base}.entities.json`) ?? '') as CorpusCase['entities'],
      requests,
    })
  }
  return cases
}
