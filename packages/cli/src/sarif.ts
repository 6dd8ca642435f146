import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { Option } from 'commander'
import { SallyportError } from '@sallyport/base'
import type { SourceSpan } from '@sallyport/base'
import type { Finding } from '@sallyport/policy'

const PAGES = join(import.meta.dirname, '../../../docs/errors')

export const sarifOption = (): Option =>
  new Option('--sarif <file>', 'write findings as SARIF 2.1.0, for annotations')

/** A path as whoever runs the command finds it, with `/` whatever the platform. */
export const shown = (path: string): string => relative(process.cwd(), path).split(sep).join('/')

/** Turns spans relative to the folder of a declaration into ones relative to where the command runs. */
export const within =
  (networkFile: string) =>
  (span: SourceSpan): SourceSpan => ({
    ...span,
    file: shown(join(dirname(networkFile), span.file)),
  })

/**
 * Writes findings as SARIF 2.1.0; none is a log too, which takes the annotations of the run before away.
 *
 * @throws SallyportError `SP_USAGE_SARIF`
 */
export async function writeSarif(
  file: string | undefined,
  category: string,
  findings: readonly Finding[],
): Promise<void> {
  if (file === undefined) return
  const { sarifLog } = await import('@sallyport/policy')
  const log = sarifLog(findings, { category, version: '0.1.0', helpOf })
  try {
    writeFileSync(file, `${JSON.stringify(log, null, 2)}\n`)
  } catch (cause) {
    throw new SallyportError('SP_USAGE_SARIF', `\`${file}\` cannot be written`, {
      fix: 'give `--sarif` a file in a folder that exists',
      cause,
    })
  }
}

/** The page of a code in this repository. */
function helpOf(code: string): { summary: string; page: string } | undefined {
  try {
    const page = readFileSync(join(PAGES, `${code}.md`), 'utf8')
    return { summary: page.split('\n').find((line) => /^[^#\s]/.test(line)) ?? code, page }
  } catch {
    return undefined
  }
}
