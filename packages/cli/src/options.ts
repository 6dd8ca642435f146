import { resolve } from 'node:path'
import { Option } from 'commander'

/** The data directory, as every command names it. */
export const dataOption = (): Option =>
  new Option('--data <dir>', 'data directory').env('SALLYPORT_DATA_DIR').default('.sallyport')

export const jsonOption = (): Option => new Option('--json', 'one JSON document on stdout')

export interface CommonOptions {
  readonly data: string
  readonly json?: boolean
}

export const dataDir = (options: { readonly data: string }): string => resolve(options.data)

/** A whole number of a given range, or a usage error that says what was expected. */
export function parseDuration(text: string): number {
  const match = /^(\d+)(ms|s|m)?$/.exec(text)
  if (!match) throw new Error('a duration is a whole number with `ms`, `s` or `m`, e.g. `60s`')
  const unit = match[2] === 'ms' ? 1 : match[2] === 'm' ? 60_000 : 1000
  return Number(match[1]) * unit
}
